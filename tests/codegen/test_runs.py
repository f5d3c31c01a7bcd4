"""Factors that lie side by side: which loads one load stands for, and where that would not fit."""

from __future__ import annotations

from typing import Any

import pytest

from tc import te
from tc.codegen.c.kernel import render_kernel
from tc.codegen.llvm.library import library
from tc.codegen.runs import runs
from tc.ir.affine import constant, plain_poly, sub
from tc.ir.expr import Ramp
from tc.ir.loop import Func, Scope, Seq, Store
from tc.ir.lower import lower
from tc.ir.passes import place_scratch, run_passes
from tc.ir.visit import loads_of, sub_stmts
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.target import Target

ARM = Target.parse("arm-neon")


def product(rows: int) -> Func:
    """[rows, 96] x [96, 192] as it is scheduled for ARM, after all passes."""
    k = te.reduce_axis(96)
    a, b = te.placeholder((rows, 96)), te.placeholder((96, 192))
    c = te.compute((rows, 192), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    schedule = default_schedule((c,), (a, b), frozenset({b.name}), ARM)
    return place_scratch(run_passes(apply(lower((c,), (a, b)), schedule)))[0]


def grouped(rows: int, target: Target) -> Func:
    """The same of bytes, in groups of 64 along the reduction with a scale each."""
    g, k = te.reduce_axis(3), te.reduce_axis(64)
    a, b = te.placeholder((rows, 3, 64), "u8"), te.placeholder((192, 3, 64), "i8")
    s = te.placeholder((rows, 3))

    def element(i: Any, j: Any) -> Any:
        product = te.cast(a[i, g, k] & 127, "i32") * te.cast(b[j, g, k], "i32")
        return te.sum(te.cast(te.sum(product, axis=k), "f32") * s[i, g], axis=g)

    c = te.compute((rows, 192), element)
    schedule = default_schedule((c,), (a, b, s), frozenset({b.name}), target)
    return place_scratch(run_passes(apply(lower((c,), (a, b, s)), schedule)))[0]


def body(func: Func) -> Seq:
    """The statements of the loop over the reduction: those with the most stores to registers."""

    def sums(s: Seq) -> int:
        return sum(isinstance(x, Store) and x.buffer.scope is Scope.REGISTER for x in s.body)

    return max((s for s in sub_stmts(func.body) if isinstance(s, Seq)), key=sums)


def test_four_steps_of_one_row_are_one_load() -> None:
    found = list(runs(body(product(1)), 32).values())
    assert {part.load.lanes for part in found} == {4}
    assert 4 * len({id(part.load) for part in found}) == len(found)
    assert {part.lane for part in found} == {0, 1, 2, 3}


@pytest.mark.parametrize("rows", [1, 4])
def test_each_part_is_the_element_that_it_stands_for(rows: int) -> None:
    block = body(product(rows))
    loads = {id(load): load for load in loads_of(block)}
    found = runs(block, 32)
    assert found
    for number, part in found.items():
        (index,), (whole,) = loads[number].indices, part.load.indices
        assert isinstance(whole, Ramp)
        assert part.load.buffer == loads[number].buffer
        assert sub(plain_poly(index), plain_poly(whole.base)) == constant(part.lane)


@pytest.mark.parametrize(("rows", "registers"), [(8, 32), (1, 16)])
def test_factors_stay_apart_where_registers_are_too_few(rows: int, registers: int) -> None:
    assert runs(body(product(rows)), registers) == {}


def test_what_no_other_statement_reads_is_not_read() -> None:
    block = body(product(1))
    (first, *_) = (s for s in block.body if isinstance(s, Store))
    assert runs(Seq((first,)), 32) == {}


def test_llvm_multiplies_by_lanes() -> None:
    asm = library({"kernel": product(1)}, ARM).assembly()
    assert ".s[3]" in asm
    assert "ld1r" not in asm


DOTS = Target.parse("arm-neon+dotprod cpu=neoverse-n1")


def test_words_of_bytes_come_in_whole_registers() -> None:
    block = body(grouped(8, DOTS))
    loads = {id(load): load for load in loads_of(block)}
    found = runs(block, 32)
    assert len({id(part.load) for part in found.values()}) == 4  # rows of a tile
    for number, part in found.items():
        (index,), (whole,) = loads[number].indices, part.load.indices
        assert isinstance(whole, Ramp) and isinstance(index, Ramp) and whole.width == 16
        assert sub(plain_poly(index.base), plain_poly(whole.base)) == constant(4 * part.lane)


def test_both_generators_multiply_bytes_by_lanes() -> None:
    func = grouped(12, DOTS)
    asm = library({"kernel": func}, DOTS).assembly()
    assert ".4b[3]" in asm and "ld1r" not in asm
    (tile,) = render_kernel(func, DOTS).tiles.items()
    assert tile[0] == "tile_6x12" and tile[1].count("vdotq_laneq_s32(") == 72
    assert tile[1].count("vandq_u8(") == 6


def test_bytes_without_an_instruction_for_lanes_are_repeated() -> None:
    assert runs(body(grouped(8, ARM)), 32) == {}
    asm = library({"kernel": grouped(8, ARM)}, ARM).assembly()
    assert "ld1r" in asm and "dot" not in asm
