"""C against the interpreter: for this machine, in plain C, under sanitizers, and emulated NEON."""

from __future__ import annotations

import numpy as np
import pytest

from tc.ir.parser import parse_func
from tc.ir.passes import run_passes
from tc.target import Target
from tests.codegen.c_programs import Program, compiled, text_of
from tests.codegen.kernels import CASES, GATHER, assert_same
from tests.codegen.test_kernels import inputs_of, interpreted

FUNCS = {name: parse_func(case[0]) for name, case in CASES.items()}
FLAT = {name: run_passes(func) for name, func in FUNCS.items()}
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Target, compiler, flags: one compilation of all cases each.
WAYS = {
    "host": ("host", "gcc", ("-O2",)),
    "host by clang": ("host", "clang", ("-O1",)),
    "plain C under sanitizers": ("generic", "gcc", SANITIZED),
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


@pytest.mark.parametrize("target", ["generic", "x86-64-v3", "arm-neon"])
def test_the_text_is_the_same_each_time_and_no_line_is_long(target: str) -> None:
    text = text_of(FLAT, Target.parse(target))
    again = {name: run_passes(parse_func(case[0])) for name, case in CASES.items()}
    assert text_of(again, Target.parse(target)) == text
    assert max(map(len, text.splitlines())) <= 100


def test_the_inner_loop_of_a_gemm_reads_as_one_would_write_it() -> None:
    text = text_of({"gemm": FLAT["gemm"]}, Target.parse("arm-neon"))
    loop = text[text.index("for (int64_t k0") :]
    assert "const float32x4_t B = vld1q_f32(&B[" not in loop  # the parameter keeps its name
    assert "acc_0 = vfmaq_n_f32(acc_0, B2, A[" in loop
    assert "*" not in loop[: loop.index("}")].replace("k0 * ", "")
