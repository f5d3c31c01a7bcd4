"""Branches of a model's Python that its sizes decide: a program for each way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tc

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")

Asks = Callable[..., Any]


class _Asking(nn.Module):
    """Goes one way or another by what it asks of its inputs."""

    def __init__(self, asks: Asks) -> None:
        super().__init__()
        self.asks = asks

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.sum() + y.sum() if self.asks(x, y) else x.sum() - y.sum()


class _Ids(nn.Module):
    """One whose input has a name that tells what its dims are."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        square = input_ids.shape[0] == input_ids.shape[1]
        return input_ids * 2 if square else input_ids + 1


_ASKED: dict[str, Asks] = {
    "equal": lambda x, _: x.shape[0] == x.shape[1],
    "less": lambda x, y: x.shape[0] < y.shape[0],
    "count": lambda x, _: x.numel() > 40,
    "above": lambda x, _: x.shape[1] > 7,
}
_SIZES = (((3, 4), (5, 2)), ((9, 9), (5, 2)), ((6, 9), (4, 3)), ((2, 5), (7, 3)))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("asked", ["equal", "less", "count", "above"])
def test_each_way_has_a_program(asked: str, first: int) -> None:
    model = _Asking(_ASKED[asked])
    made = tc.compile(model, threads=1, fallback="error")
    order = _SIZES if first == 0 else (_SIZES[1], _SIZES[0], *_SIZES[2:])
    for sizes in order:
        args = [torch.randn(size) for size in sizes]
        torch.testing.assert_close(made(*args), model(*args), rtol=1e-4, atol=1e-4)
    assert made.stats()["compilations"] == 2


class _Counting(nn.Module):
    """Does what a number that is made of its sizes tells it."""

    def __init__(self, counts: Asks) -> None:
        super().__init__()
        self.counts = counts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.counts(x)  # type: ignore[no-any-return]


_COUNTED: dict[str, Asks] = {
    "pairs": lambda x: sum(x[:, 2 * i : 2 * i + 2].sum(1) for i in range(x.shape[1] // 2)),
    "rounded": lambda x: x * len(range(int(x.shape[1] / 4))),
    "index": lambda x: x * [1.0, 2.0, 3.0, 4.0, 5.0][x.shape[1] // 3],
    "float": lambda x: x * float(x.shape[1] // 4),
    "rest": lambda x: x * 2 if (x.shape[1] - 5) % 3 == 1 else x[:, 3:],  # of a negative size
    "diagonal": lambda x: x.diagonal(x.shape[1] // 4),
}


@pytest.mark.parametrize("counted", _COUNTED)
def test_each_number_has_a_program(counted: str) -> None:
    """A number made of a sum or a quotient of sizes is no size that the signature fixes."""
    model = _Counting(_COUNTED[counted])
    made = tc.compile(model, threads=1)
    for length in (6, 9, 5, 12, 7):
        x = torch.randn(3, length)
        torch.testing.assert_close(made(x), model(x))
    assert made.stats()["compilations"] <= 5


def test_sizes_of_named_inputs() -> None:
    """A trace with sizes of its own choice finds one answer alone."""
    model = _Ids()
    made = tc.compile(model, threads=1, fallback="error")
    for size in ((2, 5), (4, 4), (3, 3), (3, 7)):
        ids = torch.ones(size, dtype=torch.long)
        assert torch.equal(made(ids), model(ids))


def test_a_saved_program_refuses_the_other_way(tmp_path: Path) -> None:
    model = _Asking(_ASKED["less"])
    made = tc.compile(model, threads=1, fallback="error")
    made(torch.ones(3, 4), torch.ones(5, 2))
    made.save(tmp_path / "model.tc")
    loaded = tc.load(tmp_path / "model.tc", threads=1)
    assert float(loaded(torch.ones(2, 4), torch.ones(6, 2))) == 20
    with pytest.raises(tc.TcError, match=r"x\.shape\[0\].*y\.shape\[0\].*x\.shape\[0\] is 5"):
        loaded(torch.ones(5, 4), torch.ones(5, 2))
