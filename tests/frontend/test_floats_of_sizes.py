"""Floats that a model makes of sizes: right at every size, through one compilation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

import tc
from tc.frontend.capture import capture
from tc.frontend.importer import import_graph


class Model(nn.Module):
    def __init__(self, fn: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(x)


def _filled(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.size(1)).fill_(x.size(1) / 2) + x


CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "root": lambda x: x / x.size(1) ** 0.5,
    "powers": lambda x: x * x.size(0) ** -0.5 + x.size(1) ** 0.25,
    "root of math": lambda x: x / math.sqrt(x.size(1)) * math.sqrt(4),
    "places": lambda x: x + torch.linspace(-1, 2, x.size(1)),
    "bound": lambda x: x.clamp(max=x.size(1) / 10, min=-1 / x.size(1)),
    "integers": lambda x: x.long() * (x.size(1) / 3),
    "range": lambda x: x + torch.arange(x.size(1)) / x.size(1) * (2 * math.pi),
    "created": lambda x: torch.full((x.size(0),), 1.0 / x.size(1)),
    "filled": _filled,
    "chosen": lambda x: torch.where(x > 0, x, 3 / x.size(1) - x.size(0) / 7),
    "exponent": lambda x: x.abs() ** (1 / x.size(1)),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_what_eager_computes(name: str) -> None:
    model = Model(CASES[name])
    compiled = tc.compile(model, fallback="error", threads=1)
    for shape in ((2, 13), (5, 17), (3, 19)):
        x = torch.randn(shape)
        found, wanted = compiled(x), model(x)
        assert found.dtype is wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert compiled.stats()["compilations"] == 1


def test_places_of_one_row_and_of_pixels() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        theta = x.sum() * torch.ones(2, 2, 3)
        size = (2, 1, x.size(0), x.size(1))
        inner = functional.affine_grid(theta, size, align_corners=False)
        return inner + functional.affine_grid(theta, size, align_corners=True)

    compiled = tc.compile(Model(fn), fallback="error", threads=1)
    for shape in ((3, 5), (7, 2)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), fn(x), rtol=1e-5, atol=1e-5)
    assert compiled.stats()["compilations"] == 1
    ends = tc.compile(Model(lambda x: torch.linspace(3, 4, x.size(0))), threads=1)
    for rows in (1, 2, 5):
        assert torch.equal(ends(torch.zeros(rows)), torch.linspace(3, 4, rows))


def test_a_range_that_counts_in_floats_down() -> None:
    """The positions of relative attention, from the longest distance to minus the shortest."""
    model = Model(lambda x: torch.arange(x.size(1), -x.size(0), -1.0))
    compiled = tc.compile(model, fallback="error", threads=1)
    for shape in ((2, 5), (3, 17)):
        assert torch.equal(compiled(torch.zeros(shape)), model(torch.zeros(shape)))


def test_an_operator_that_needs_the_number_is_refused() -> None:
    model, x = Model(lambda x: functional.leaky_relu(x, 1 / x.size(1))), torch.randn(2, 13)
    graph = capture(model, (x,), {})
    with pytest.raises(tc.TcError, match="a float that follows from sizes; give a number"):
        import_graph(graph)
    compiled = tc.compile(model, threads=1, fallback="error")  # a program for each set of sizes
    torch.testing.assert_close(compiled(x), model(x))
