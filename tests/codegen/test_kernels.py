"""Machine code against the interpreter, on every level of vector code that this machine runs."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import pytest

from tc.codegen.llvm.kernel import CallableKernel, aligned_empty, compile_func
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError
from tc.ir.interpret import run
from tc.ir.loop import Func
from tc.ir.parser import parse_func
from tc.target import Target
from tests.codegen.kernels import CASES, GATHER, Arrays, assert_same
from tests.schedule.running import aligned

TARGETS = ("generic", "x86-64-v2", "x86-64-v3", "x86-64-v4", "host")


def target_or_skip(text: str) -> Target:
    target = Target.parse(text)
    try:
        check_runs_here(target)
    except CompileError as error:
        pytest.skip(error.message)
    return target


def inputs_of(name: str, number: int) -> Arrays:
    _, sizes, make, _ = CASES[name]
    return aligned(make(np.random.default_rng(zlib.crc32(name.encode())), sizes[number]))


@cache
def interpreted(func: Func, name: str, number: int) -> Arrays:
    """What `func` gives for the sizes of that number: once for all targets, for it is slow."""
    arrays = inputs_of(name, number)
    run(func, arrays, CASES[name][1][number])
    return arrays


def compare(kernel: CallableKernel, name: str, threads: int) -> None:
    _, sizes, _, tolerance = CASES[name]
    for number, symbols in enumerate(sizes):
        arrays = inputs_of(name, number)
        wanted = interpreted(kernel.func, name, number)
        values = [symbols[s.name] for s in kernel.func.symbols]
        kernel(*[arrays[p.name] for p in kernel.func.params], *values, threads=threads)
        assert_same(arrays, wanted, tolerance, f"{name} {symbols}")


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_machine_code_is_the_interpreter(name: str, level: str) -> None:
    kernel = compile_func(parse_func(CASES[name][0]), target_or_skip(level))
    compare(kernel, name, threads=1)


@pytest.mark.parametrize("name", CASES)
def test_threads_share_the_work(name: str) -> None:
    compare(compile_func(parse_func(CASES[name][0]), target_or_skip("host")), name, threads=3)


def test_a_failed_assert_is_reported_and_nothing_out_of_bounds_is_touched() -> None:
    kernel = compile_func(parse_func(GATHER), target_or_skip("host"))
    table, rows = np.ones((50, 9), np.float32), np.array([3, -(2**40), 50, 49])
    y, z = np.full((4, 9), 7, np.float32), np.full((9, 4), 7, np.float32)
    with pytest.raises(CompileError, match="index out of range"):
        kernel(table, rows, y, z, 4, 9)
    assert y[0].tolist() == z[:, 3].tolist() == [1] * 9
    assert y[1].tolist() == z[:, 2].tolist() == [0] * 9


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((np.zeros(3, np.float32),), "1 arguments"),
        ((np.zeros(3), np.zeros(7, np.float32), 3), "float64"),
        ((np.zeros(4, np.float32), np.zeros(7, np.float32), 3), r"float32\[4\] is given"),
        ((np.zeros(6, np.float32)[::2], np.zeros(7, np.float32), 3), "contiguous"),
        ((np.zeros(3, np.float32), np.zeros(7, np.float32), 41), r"not in \[0, 40\]"),
        ((3, np.zeros(7, np.float32), 3), "int is given"),
    ],
)
def test_arguments_that_do_not_fit(args: tuple[np.ndarray | int, ...], said: str) -> None:
    kernel = compile_func(parse_func(CASES["pad"][0]), target_or_skip("host"))
    with pytest.raises(CompileError, match=said):
        kernel(*args)


def test_an_array_of_a_packed_operand_is_aligned_or_empty() -> None:
    func = parse_func("def k(A: f32[N] align 64, B: out f32[1], N: sym[0, 8]):\n    B[0] = 1.0:f32")
    kernel = compile_func(func, target_or_skip("host"))
    memory, y = aligned_empty((16,), np.dtype(np.float32)), np.zeros(1, np.float32)
    with pytest.raises(CompileError, match="aligned to 64 bytes"):
        kernel(memory[1:3], y, 2)
    kernel(np.ndarray((0,), np.float32, memory, offset=4), y, 0)
    assert y == 1


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (5,)])
def test_aligned_memory_begins_at_a_cache_line_also_where_it_is_empty(
    shape: tuple[int, ...],
) -> None:
    for _ in range(20):
        assert aligned_empty(shape, np.dtype(np.float32)).ctypes.data % 64 == 0


def test_the_inner_loop_of_a_gemm_keeps_its_tile_in_registers() -> None:
    asm = compile_func(parse_func(CASES["gemm"][0]), Target.parse("x86-64-v4")).asm
    fused = [line for line in asm.splitlines() if "vfmadd" in line]
    assert fused
    assert all("%zmm" in line for line in fused)
    assert not any("%zmm" in line and "(%rsp)" in line for line in asm.splitlines())
