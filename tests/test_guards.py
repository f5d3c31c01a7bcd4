"""Programs of the analytical default over memory between guard pages: the bits are the same."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as everyone calls it)
from torch import nn

import tc
from tc.frontend.accuracy import error
from tc.frontend.layers_kept import BOUNDS
from tests.guards import apart, in_a_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


class Text(nn.Module):
    """Attention and what is around it, where nothing is a multiple of anything."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(37, 33), nn.LayerNorm(33)
        self.into, self.up, self.down = nn.Linear(33, 99), nn.Linear(33, 53), nn.Linear(53, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        q, k, v = self.into(self.norm(x)).unflatten(-1, (3, 3, 11)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + y.transpose(1, 2).flatten(2)
        return self.down(F.gelu(self.up(x))) + x.softmax(-1)


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 13, 3, padding=1), nn.BatchNorm2d(13), nn.ReLU(),
        nn.Conv2d(13, 13, 3, padding=1, groups=13), nn.MaxPool2d(3, 2), nn.Conv2d(13, 7, 1),
    )  # fmt: skip


def deep() -> nn.Module:
    """Sums that are cut into blocks, and more columns than a block of them has."""
    return nn.Linear(391, 513)


MODELS = {"text": Text, "images": images, "deep": deep}
CASES = [*((name, precision) for precision in BOUNDS for name in ("text", "deep")),
         *((name, "fp32") for name in MODELS)]  # fmt: skip
SIZES = {  # batches with lengths, images, and alone
    "text": ((1, 1), (2, 7), (3, 17), (1, 31)),
    "images": ((1, 3, 9, 9), (2, 3, 10, 13), (1, 3, 31, 17)),
    "deep": ((1, 391), (2, 391), (7, 391), (37, 391)),
}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_no_program_leaves_its_buffers(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    made = tc.compile(model, precision=precision, threads=1, fallback="error")
    with torch.no_grad():
        given = [torch.randint(37, s) if name == "text" else torch.randn(s) for s in SIZES[name]]
        wanted = [made(x) for x in given]
        for x, found in zip(given, wanted, strict=True):
            assert error(found, model(x)) <= BOUNDS.get(precision, 1e-5)

    def work() -> None:
        run = apart(made, monkeypatch)
        for x, whole in zip(given, wanted, strict=True):
            (found,) = run([x])
            assert torch.equal(found, whole), list(x.shape)

    in_a_child(work)
