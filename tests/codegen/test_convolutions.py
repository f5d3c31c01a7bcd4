"""The inner loops that LLVM makes of a convolution's default schedule."""

from __future__ import annotations

import pytest

from tc import te
from tc.codegen.assembly.counts import LoopCounts, count_loops
from tc.codegen.llvm.library import library
from tc.ir.lower import lower
from tc.ir.passes import run_passes
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.target import Target

TARGET = Target.parse("x86-64-v3")


def inner_loop(
    channels: int, size: int, kernel: tuple[int, int], stride: int, groups: int
) -> LoopCounts:
    """The loop with most products, of a convolution of an image that is padded already."""
    x = te.placeholder((1, channels * groups, size, size))
    w = te.placeholder((48, channels, *kernel))
    c, *taps = (te.reduce_axis(n) for n in (channels, *kernel))
    shape = (1, 48, *((size - k) // stride + 1 for k in kernel))

    def element(b: te.Expr, o: te.Expr, i: te.Expr, j: te.Expr) -> te.Expr:
        at = (n * stride + k for n, k in zip((i, j), taps, strict=True))
        part = o // (48 // groups) * channels if groups > 1 else 0
        return te.sum(x[(b, part + c, *at)] * w[(o, c, *taps)], axis=(c, *taps))

    out = te.compute(shape, element)
    schedule = default_schedule((out,), (x, w), frozenset({w.name}), TARGET)
    flat = {"kernel": run_passes(apply(lower((out,), (x, w)), schedule))}
    arch = TARGET.llvm_triple.split("-")[0]
    loops = count_loops(library(flat, TARGET).assembly(comments=True), arch)
    return max(loops, key=lambda loop: loop.products)


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride", "groups"),
    [
        (64, 58, (3, 3), 1, 1),
        (128, 30, (3, 3), 1, 1),
        (64, 58, (3, 3), 2, 1),
        (3, 230, (7, 7), 2, 1),
        (32, 34, (1, 5), 1, 1),
        (64, 28, (1, 1), 1, 1),
        (24, 30, (3, 3), 1, 2),
        (16, 30, (3, 3), 2, 3),
    ],
)
def test_sums_stay_in_registers(
    channels: int, size: int, kernel: tuple[int, int], stride: int, groups: int
) -> None:
    """Windows that share elements tempt LLVM to keep these, and to put the sums into memory."""
    assert inner_loop(channels, size, kernel, stride, groups).spills == 0
