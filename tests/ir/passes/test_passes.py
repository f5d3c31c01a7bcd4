"""Every pass against the interpreter, and the shape of what it gives."""

from __future__ import annotations

import numpy as np
import pytest

from tc.codegen.llvm.kernel import evaluate
from tc.errors import InternalError, ScheduleError
from tc.ir.expr import Binary, Const, LaneReduce, Ramp, Select
from tc.ir.interpret import run
from tc.ir.loop import For, LoopKind, Prefetch, Store, Update
from tc.ir.parser import parse_func
from tc.ir.passes import kernel_passes, place_scratch, run_passes
from tc.ir.passes.bound_scratch import bound_scratch
from tc.ir.passes.expand_updates import expand_updates
from tc.ir.passes.flatten import flatten
from tc.ir.passes.guard_loads import guard_loads
from tc.ir.passes.unroll import unroll
from tc.ir.passes.vectorize import vectorize
from tc.ir.passes.versions import versions
from tc.ir.visit import exprs_of, loads_of, sub_stmts
from tests.codegen.kernels import CASES, GEMM, SOFTMAX, assert_same


@pytest.mark.parametrize("name", CASES)
def test_every_pass_keeps_the_meaning(name: str) -> None:
    text, sizes, make, tolerance = CASES[name]
    stages = [("", parse_func(text))]
    for step, apply in kernel_passes():
        func = apply(stages[-1][1])
        if func != stages[-1][1]:
            stages.append((step, func))
    for symbols in sizes[:3]:
        wanted = make(np.random.default_rng(1), symbols)
        run(stages[0][1], wanted, symbols)
        for step, func in stages[1:]:
            found = make(np.random.default_rng(1), symbols)
            run(func, found, symbols)
            assert_same(found, wanted, tolerance, f"{name} {symbols} after {step}")


@pytest.mark.parametrize("name", CASES)
def test_flat_vector_ir_holds_nothing_else(name: str) -> None:
    func = run_passes(parse_func(CASES[name][0]))
    for s in sub_stmts(func.body):
        assert not isinstance(s, Update)
        assert not isinstance(s, For) or s.kind in (LoopKind.SERIAL, LoopKind.PARALLEL)
        assert not isinstance(s, Store) or len(s.indices) == 1
    assert all(len(x.indices) == 1 for x in loads_of(func.body))


def test_a_tile_loads_each_operand_once() -> None:
    func = run_passes(parse_func(GEMM))
    loads = [x for x in loads_of(func.body) if x.buffer.name == "A"]
    # 4 + 3 + 2 + 1 rows of the versions, 4 steps of k; each is used by the 2 vectors of a row.
    assert len(loads) == 2 * 4 * (4 + 3 + 2 + 1)
    assert len({id(x) for x in loads}) == 4 * 4  # the versions share them too


def test_a_version_of_one_row_streams_without_hints() -> None:
    loop = "for k0 in range(6):\n"
    func = versions(parse_func(GEMM.replace(loop, f"{loop}{20 * ' '}prefetch B[j0 + 1, k0, 0]\n")))
    hints = [s for s in sub_stmts(func.body) if isinstance(s, Prefetch)]
    rows = [s.extent for s in sub_stmts(func.body) if isinstance(s, For) and s.var.name == "i"]
    assert set(rows) == {Const(n) for n in (1, 2, 3, 4)}
    assert len(hints) == 3


def test_lanes_that_store_to_one_place_are_folded() -> None:
    func = vectorize(expand_updates(parse_func(SOFTMAX)))
    folds = [x for x in exprs_of(func.body) if isinstance(x, LaneReduce) and x.op != "or"]
    assert [x.op for x in folds] == ["max", "add"]
    assert all(isinstance(x.x, Select) for x in folds)  # lanes that are off add nothing


def test_an_index_split_by_the_width_stays_contiguous() -> None:
    func = parse_func(
        "def f(A: f32[4, 8], C: out f32[32]):\n"
        "    for i in range(2):\n"
        "        for l in vector(16):\n"
        "            C[i * 16 + l] = A[(i * 16 + l) // 8, (i * 16 + l) % 8]\n"
    )
    assert [type(x.indices[0]) for x in loads_of(flatten(vectorize(func)).body)] == [Binary]
    func = parse_func(str(func).replace("16", "8"))
    assert [type(x.indices[0]) for x in loads_of(flatten(vectorize(func)).body)] == [Ramp]


def test_a_load_in_bounds_gets_no_mask() -> None:
    text = (
        "def f(A: f32[N], C: out f32[N], N: sym[1, 9]):\n"
        "    for i in range(N):\n"
        "        C[i] = select(2 <= i, A[{index}], 0.0:f32)\n"
    )
    inside = guard_loads(parse_func(text.format(index="i")))
    outside = guard_loads(parse_func(text.format(index="i - 2")))
    assert [x.mask is None for x in loads_of(inside.body)] == [True]
    assert [x.mask is None for x in loads_of(outside.body)] == [False]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("for l in vector(N):\n        C[l] = 1.0:f32", "not a constant"),
        ("for l in vector(4):\n        C[0] = cast(l, f32)", "no fold"),
        ("for l in vector(4):\n        for k in range(l):\n            C[l] = 1.0:f32", "extent"),
        (
            "for l in vector(4):\n        for k in parallel(3):\n            C[l] = 1.0:f32",
            "parallel",
        ),
    ],
)
def test_what_cannot_be_vectorised(body: str, said: str) -> None:
    func = parse_func(f"def f(C: out f32[N], N: sym[4, 9]):\n    {body}\n")
    with pytest.raises(InternalError, match=said):
        vectorize(func)


def test_only_constant_loops_are_unrolled() -> None:
    func = parse_func(
        "def f(C: out f32[N], N: sym[4, 9]):\n    for i in unroll(N):\n        C[i] = 1.0:f32\n"
    )
    with pytest.raises(InternalError, match="not a constant"):
        unroll(func)


def test_scratch_is_a_stack() -> None:
    func = parse_func(
        "def f(C: out f32[4]):\n"
        "    with a = alloc(f32[3], scratch):\n"
        "        for i in range(2):\n"
        "            with b = alloc(f32[16], scratch):\n"
        "                b[0] = 1.0:f32\n"
        "        for j in range(2):\n"
        "            with c = alloc(f32[17], scratch):\n"
        "                c[0] = 1.0:f32\n"
    )
    assert place_scratch(func) == (func, Const(64 + 128))
    _, symbolic = place_scratch(parse_func(SOFTMAX))
    assert str(symbolic).startswith("(N * 4 + 63) // 64 * 64")


@pytest.mark.parametrize(
    ("size", "need"),
    [
        ("i + 1", lambda n: 4 * n),
        ("N - i", lambda n: 4 * n),
        ("min(i * 8, N)", lambda n: 4 * min(8 * (n - 1), n)),
        ("max(3 - i, 0) + i % 5", lambda n: 4 * (3 + 4)),
        ("(i + 7) // 8", lambda n: 4 * ((n + 6) // 8)),
    ],
)
def test_scratch_that_follows_a_loop_is_as_large_as_any_iteration_needs(size, need) -> None:
    func = parse_func(
        "def kernel(out0: out f32[N], N: sym[1, 2147483648]):\n"
        "    for i in range(N):\n"
        f"        with a = alloc(f32[{size}], scratch):\n"
        "            out0[i] = 1.0:f32\n"
    )
    _, found = place_scratch(bound_scratch(func))
    for n in (1, 2, 9, 100):
        assert evaluate(found, {"N": n}) == -(-need(n) // 64) * 64


def test_scratch_that_nothing_bounds_is_refused() -> None:
    func = parse_func(
        "def kernel(out0: out f32[N], N: sym[1, 2147483648]):\n"
        "    for i in range(N):\n"
        "        with a = alloc(f32[N // (i + 1)], scratch):\n"
        "            out0[i] = 1.0:f32\n"
    )
    with pytest.raises(ScheduleError, match="nothing bounds that while i runs"):
        bound_scratch(func)
