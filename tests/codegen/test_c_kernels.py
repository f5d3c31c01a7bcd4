"""C against the interpreter: for this machine, in plain C, under sanitizers, and emulated NEON."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from tc import te
from tc.codegen.c.compilers import MEANING, assembly, find_compiler, machine_flags
from tc.codegen.c.kernel import render_kernel
from tc.codegen.c.module import join_kernels
from tc.ir.lower import lower
from tc.ir.parser import parse_func
from tc.ir.passes import run_passes
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.target import Target
from tests.codegen.c_programs import STRICT, Program, compiled, text_of
from tests.codegen.kernels import CASES, GATHER, assert_same
from tests.codegen.test_kernels import inputs_of, interpreted

FUNCS = {name: parse_func(case[0]) for name, case in CASES.items()}
FLAT = {name: run_passes(func) for name, func in FUNCS.items()}
SANITIZED = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Target, compiler, flags: one compilation of all cases each.
WAYS = {
    "host": ("host", "gcc", ("-O2",)),
    "host by clang": ("host", "clang", ("-O1",)),
    "plain C under sanitizers": ("generic-c99", "gcc", SANITIZED),
    "plain vectors under sanitizers": ("generic", "gcc", SANITIZED),
    "plain vectors by clang": ("generic", "clang", ("-O1",)),
    "SSE4 by clang": ("x86-64-v2", "clang", ("-O1",)),
    "AVX2 under sanitizers": ("x86-64-v3", "gcc", SANITIZED),
    "NEON": ("arm-neon", "gcc", ("-O1",)),
    "NEON with all": ("arm-neon+bf16+dotprod+i8mm", "gcc", ("-O1",)),
}


@pytest.fixture(scope="module", params=WAYS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    target, compiler, flags = WAYS[request.param]
    folder = tmp_path_factory.mktemp("c")
    return compiled(folder, FLAT, Target.parse(target), flags, compiler)


@pytest.mark.parametrize("team", [1, 3])
def test_c_is_the_interpreter(program: Program, team: int) -> None:
    calls = [
        (name, inputs_of(name, number), symbols)
        for name, (_, sizes, _, _) in CASES.items()
        for number, symbols in enumerate(sizes)
    ]
    assert set(program(calls, team)) == {0}
    at = 0
    for name, (_, sizes, _, tolerance) in CASES.items():
        for number, symbols in enumerate(sizes):
            wanted = interpreted(FUNCS[name], name, number)
            assert_same(dict(calls[at][1]), wanted, tolerance, f"{name} {symbols}")
            at += 1


def test_a_failed_assert_is_reported_and_nothing_out_of_bounds_is_touched(
    program: Program,
) -> None:
    arrays = {
        "T": np.ones((50, 9), np.float32),
        "I": np.array([3, -(2**40), 50, 49]),
        "Y": np.full((4, 9), 7, np.float32),
        "Z": np.full((9, 4), 7, np.float32),
    }
    assert GATHER.count("assert") == 1
    assert program([("gather", arrays, {"N": 4, "D": 9})]) == [1]
    y, z = arrays["Y"], arrays["Z"]
    assert y[0].tolist() == z[:, 3].tolist() == [1] * 9
    assert y[1].tolist() == z[:, 2].tolist() == [0] * 9


@pytest.mark.parametrize("target", ["generic-c99", "generic", "x86-64-v3", "arm-neon"])
def test_the_text_is_the_same_each_time_and_no_line_is_long(target: str) -> None:
    text = text_of(FLAT, Target.parse(target))
    again = {name: run_passes(parse_func(case[0])) for name, case in CASES.items()}
    assert text_of(again, Target.parse(target)) == text
    assert max(map(len, text.splitlines())) <= 100


def test_the_inner_loop_of_a_gemm_reads_as_one_would_write_it() -> None:
    text = text_of({"gemm": FLAT["gemm"]}, Target.parse("arm-neon"))
    assert "    tile_4x32(&A[" in text and "/* 4 by 32 sums, " in text
    loop = text[text.index("for (int64_t k =") :]
    assert "const float32x4_t b = vld1q_f32(&b[" not in loop  # the parameter keeps its name
    assert "acc_0 = vfmaq_n_f32(acc_0, b2, a[" in loop
    assert "*" not in loop[: loop.index("}")].replace("k * ", "")


BRANCHES = """\
def k(A: f32[n], B: out f32[n], n: sym[0, 9]):
    for i in range(n):
        if i < 1:
            B[i] = A[i]
        else:
            if i < 2:
                B[i] = A[i] * 2.0:f32
            else:
                if i < 3:
                    B[i] = A[i] * 3.0:f32
"""


def test_branches_on_one_thing_stand_side_by_side() -> None:
    kernel = render_kernel(run_passes(parse_func(BRANCHES)), Target.parse("generic"))
    assert kernel.text.count("} else if (i < ") == 2 and "} else {" not in kernel.text


SIDE_BY_SIDE = """\
def k(A: f32[9], B: out f32[9]):
    with all = alloc(f32[1], scratch):
        all[0] = A[0]
        for i in range(9):
            with one = alloc(f32[1], scratch):
                one[0] = A[i]
                B[i] = one[0] + all[0]
            with two = alloc(f32[1], scratch):
                two[0] = B[i] * 2.0:f32
                B[i] = two[0]
"""


def test_buffers_that_share_memory_are_not_told_apart() -> None:
    text = render_kernel(run_passes(parse_func(SIDE_BY_SIDE)), Target.parse("generic")).text
    assert "float *const restrict all = " in text
    assert "float *const one = " in text and "float *const two = " in text


def test_gcc_keeps_the_accumulators_of_a_product_in_registers() -> None:
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed")
    target = Target.parse("arm-neon cpu=cortex-a76")
    m, k = te.sym("M"), te.reduce_axis(768)
    a, b = te.placeholder((m, 768)), te.placeholder((768, 768))
    c = te.compute((m, 768), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    schedule = default_schedule((c,), (a, b), frozenset({b.name}), target)
    assert "split(i, 8" in str(schedule) and "split(j, 12" in str(schedule)
    kernel = render_kernel(run_passes(apply(lower((c,), (a, b)), schedule)), target)
    text = join_kernels([kernel]).replace("static void", "void")
    flags = (*STRICT, *MEANING, *machine_flags(target), "-O3", "-Wno-missing-prototypes")
    asm = assembly(find_compiler("aarch64-linux-gnu-gcc"), text, flags)
    loops = re.split(r"\n\.\w+:|\n\tb[^l].*", asm)
    widest = max(loops, key=lambda lines: lines.count("fmla"))
    assert widest.count("fmla") == 48  # two steps of 8 rows by 3 vectors
    assert "[sp" not in widest


AHEAD = """\
def k(A: f32[n], B: out f32[n], n: sym[0, 99]):
    for i in range(n):
        for j in unroll(20):
            prefetch A[i * 5 + j * 16 + 640]
        prefetch A[i * 5 + 7]
        B[i] = A[i]
"""


def test_hints_of_lines_that_follow_each_other_are_a_loop() -> None:
    func = run_passes(parse_func(AHEAD))
    text = render_kernel(func, Target.parse("x86-64-v3")).text
    assert "for (int64_t line = 0; line < 20; line++) {" in text
    assert text.count("_mm_prefetch(") == 2
    assert "_mm_prefetch" not in render_kernel(func, Target.parse("arm-neon")).text
    few = run_passes(parse_func(AHEAD.replace("unroll(20)", "unroll(7)")))
    assert render_kernel(few, Target.parse("x86-64-v3")).text.count("_mm_prefetch(") == 8
