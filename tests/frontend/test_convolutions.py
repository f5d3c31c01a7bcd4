"""Convolutions and windows of every form, compiled, beside eager and float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import tc

# (module, sizes of inputs that one program serves)
CASES: dict[str, tuple[nn.Module, list[tuple[int, ...]]]] = {
    "3x3": (nn.Conv2d(5, 18, 3, padding=1), [(2, 5, 9, 17), (3, 5, 7, 8), (2, 5, 3, 2)]),
    "strides": (nn.Conv2d(3, 16, 7, stride=2, padding=3), [(2, 3, 19, 33), (3, 3, 8, 9)]),
    "dilation": (nn.Conv2d(4, 9, 3, padding=(2, 4), dilation=(2, 4)), [(2, 4, 9, 18)]),
    "groups": (nn.Conv2d(12, 8, 3, padding=1, groups=4), [(2, 12, 6, 33), (3, 12, 5, 7)]),
    "depthwise": (nn.Conv2d(6, 6, 7, padding=3, groups=6), [(2, 6, 9, 35), (3, 6, 4, 5)]),
    "depthwise in strides": (
        nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=6), [(2, 6, 9, 70), (3, 6, 4, 5)],
    ),
    "pointwise": (nn.Conv2d(7, 20, 1, bias=False), [(2, 7, 5, 6), (3, 7, 9, 2)]),
    "same": (nn.Conv1d(3, 10, 4, padding="same"), [(2, 3, 19), (3, 3, 7)]),
    "1d": (nn.Conv1d(8, 8, 5, padding=2, groups=8), [(2, 8, 40), (3, 8, 3)]),
    "3d": (nn.Conv3d(2, 5, 3, padding=1), [(2, 2, 3, 4, 9)]),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), [(2, 4, 5, 9), (3, 4, 3, 4)]),
    "transposed, windows apart": (nn.ConvTranspose2d(4, 6, 2, stride=3), [(2, 4, 5, 9)]),
    "transposed, with more at the end": (
        nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, output_padding=1, dilation=2),
        [(2, 4, 9), (3, 4, 5)],
    ),
    "transposed, with much taken away": (nn.ConvTranspose1d(3, 5, 2, padding=2), [(2, 3, 9)]),
    "transposed in groups": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), [(2, 4, 5, 6)]),
    "transposed, 3d": (nn.ConvTranspose3d(2, 3, 3, stride=2, padding=1), [(2, 2, 3, 4, 5)]),
    "mirrored": (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), [(2, 3, 6, 9)]),
    "in a chain": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.GELU(), nn.Conv2d(8, 5, 1),
        ),
        [(2, 3, 9, 11), (3, 3, 5, 4)],
    ),
    "maxima": (nn.MaxPool2d(3, 2, 1), [(2, 3, 9, 70), (3, 3, 5, 4)]),
    "maxima side by side": (nn.MaxPool2d(2), [(2, 3, 9, 70), (3, 3, 6, 4)]),
    "means": (nn.AvgPool2d(3, 1, 1), [(2, 3, 9, 37), (3, 3, 5, 4)]),
    "means with the edge left out": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), [(2, 3, 9, 37), (3, 3, 5, 4)],
    ),
    "means of a line": (nn.AvgPool1d(4), [(2, 3, 70), (3, 3, 9)]),
}  # fmt: skip


@pytest.mark.parametrize(("module", "shapes"), CASES.values(), ids=CASES)
def test_as_eager(module: Any, shapes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    model = module.eval().requires_grad_(False)
    exact = copy.deepcopy(model).double()
    made: Any = tc.compile(model, threads=2, fallback="error")
    for shape in shapes:
        x = torch.randn(shape)
        found, eager, want = made(x), model(x), exact(x.double())
        scale = want.abs().max()
        allowed = max(1e-5 * scale, 2 * (eager - want).abs().max())
        assert found.shape == eager.shape
        assert (found - want).abs().max() <= allowed
    assert made.stats()["compilations"] == 1
    special = torch.randn(shapes[0])
    special.flatten()[::7] = float("inf")
    special.flatten()[3::11] = float("nan")
    assert torch.equal(made(special).isnan(), model(special).isnan())


def test_rows_of_all_places_but_the_first() -> None:
    """How many there are, batch times (length - 1), is no product of sizes of the inputs."""

    class Rest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(600, 24)

        def forward(self, x: torch.Tensor) -> Any:
            return self.linear(x[:, 1:])

    model = Rest().eval().requires_grad_(False)
    made: Any = tc.compile(model, threads=2, fallback="error")
    for batch, length in ((2, 3), (3, 70), (2, 1)):
        x = torch.randn(batch, length, 600)
        torch.testing.assert_close(made(x), model(x), rtol=1e-5, atol=1e-5)
