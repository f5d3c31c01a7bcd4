"""Writes to a part of an input: which are made in its own memory, and that all are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.device.artifact import KernelCall, Place
from tc.errors import InternalError
from tc.ir.expr import Const, Var
from tc.ir.lower import lower
from tc.ir.tensor import Compute, Placeholder, Scatter
from tc.ir.types import F32

Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Module(nn.Module):
    """A function of memory [2, 3, n, 4], rows [2, 3, m, 4] and something of a length."""

    def __init__(self, function: Call) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
        return self.function(x, rows, reach)


def inputs(n: int = 9, m: int = 2, reach: int = 7) -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(n)
    x = torch.randn(2, 3, n, 4, generator=made)
    return x, torch.randn(2, 3, m, 4, generator=made), torch.zeros(reach)


def bounds(rows: torch.Tensor, reach: torch.Tensor) -> tuple[int, int]:
    return reach.shape[0] - rows.shape[2], reach.shape[0]


def appended(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Rows put behind those that are used, which are then read."""
    start, end = bounds(rows, reach)
    new = torch.slice_scatter(x, rows * 2, 2, start, end)
    x.copy_(new)
    return new[:, :, :end].sum(2)


def indexed(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """The same by an index that is data."""
    start, end = bounds(rows, reach)
    new = torch.index_copy(x, 2, torch.arange(start, end), rows * 2)
    x.copy_(new)
    return new[:, :, :end].sum(2)


def old_wanted(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """What the memory held before is read too."""
    start, end = bounds(rows, reach)
    new = torch.slice_scatter(x, rows, 2, start, end)
    before = x.sum(2)
    x.copy_(new)
    return new.sum(2) + before * 10


def new_given(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """The new version is the result, which is fresh memory."""
    new = torch.slice_scatter(x, rows, 2, *bounds(rows, reach))
    x.copy_(new)
    return new


def of_itself(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """What is written is read from the memory itself."""
    start, end = bounds(rows, reach)
    new = torch.slice_scatter(x, x[:, :, : rows.shape[2]] + 1, 2, start, end)
    x.copy_(new)
    return new.sum(2)


def from_the_end(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """A place that counts from the end."""
    new = torch.slice_scatter(x, rows[:, :, :1], 2, -1)
    x.copy_(new)
    return new.sum(2) + reach.shape[0]


def every_other(x: torch.Tensor, rows: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """A part with gaps."""
    new = torch.slice_scatter(x, rows, 2, 0, 2 * rows.shape[2], 2)
    x.copy_(new)
    return new.sum(2) + reach.shape[0]


PLACED: tuple[Call, ...] = (appended, indexed)
COPIED: tuple[Call, ...] = (old_wanted, new_given, of_itself, from_the_end, every_other)


def run(function: Call) -> Any:
    """Compile and compare at several sizes; the program."""
    module = Module(function)
    made: Any = tc.compile(module, threads=1)
    for sizes in ((9, 2, 7), (9, 2, 9), (5, 1, 1), (17, 3, 4), (6, 2, 2)):
        x, rows, reach = inputs(*sizes)
        mine = x.clone()
        address = mine.data_ptr()
        torch.testing.assert_close(made(mine, rows, reach), module(x, rows, reach))
        assert torch.equal(mine, x)
        assert mine.data_ptr() == address
    return made._tc_dispatcher.programs[0].runner.program


def whole(program: Any) -> list[str]:
    """Kernels that write memory as large as the input, and are not the write itself."""
    artifact = program.artifact
    count = artifact.inputs[0].shape[2]
    found = []
    for step in artifact.main:
        assert isinstance(step, KernelCall)
        places = [artifact.storages[s] for s in step.buffers]
        name = artifact.kernels[step.kernel].name
        back = "copy" in name and places[-1].place is Place.INPUT
        if back or any(p.place is not Place.INPUT and count in p.shape for p in places):
            found.append(name)
    return found


@pytest.mark.parametrize("function", PLACED)
def test_rows_alone_are_written(function: Call) -> None:
    assert not whole(run(function))


@pytest.mark.parametrize("function", COPIED)
def test_where_it_would_be_wrong_the_memory_is_copied(function: Call) -> None:
    assert whole(run(function))


def scatter(base: Placeholder | Compute) -> Scatter:
    i = Var("i")
    rows = Placeholder("rows", (Const(2),), F32)
    return Scatter("out", base, (i,), rows.shape, (i + 3,), rows[i], in_place=True)


def test_such_a_kernel_has_no_other_buffer() -> None:
    base = Placeholder("base", (Const(9),), F32)
    func = lower((scatter(base),))
    assert [p.name for p in func.params] == ["p0", "p1"]
    assert func.outputs == ("p0",)
    assert "out0" not in str(func)


def test_only_an_input_is_written_in_place() -> None:
    i = Var("i")
    source = Placeholder("source", (Const(9),), F32)
    with pytest.raises(InternalError, match="in place, but not to an input"):
        lower((scatter(Compute("twice", (i,), source.shape, source[i] * 2.0)),))
