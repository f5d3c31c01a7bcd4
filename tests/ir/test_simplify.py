"""Simplification: each rule once, that values never change, and what statements become."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tc.ir.expr import (
    Binary,
    Broadcast,
    Cast,
    Const,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    Sym,
    Var,
    cast,
    equal,
    maximum,
    minimum,
    select,
    unary,
)
from tc.ir.interpret import run
from tc.ir.interval import Interval
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Scope,
    Seq,
    Stmt,
    Store,
    seq,
)
from tc.ir.printer import expr_text
from tc.ir.simplify import _REMEMBERED as REMEMBERED
from tc.ir.simplify import prove, simplifier, simplify, simplify_func, simplify_stmt
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8
from tests.ir.strategies import VARS, conditions, index_exprs, points, value_of

i, j, k, b, s, x = (Var(n) for n in "ijkbsx")
M, S, B = Sym("M", 0, 4096), Sym("S", 1, 512), Sym("B", 0, 64)
f, g = Var("f", F32), Var("g", F32)
p, q = Var("p", BOOL), Var("q", BOOL)
ENV = {i: Interval(0, 31), j: Interval(0, 7), k: Interval(0, 767)}
INDEX = Buffer("ids", (M,), I64)
LOADED = Load(INDEX, (i,))
HASH = 6364136223846793005  # no product with it fits 64 bits
LONG = i * 1024 + x


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        # sums of products in one order
        (j + i + j, "j * 2 + i"),
        (i - i, "0"),
        ((i + 1) * (j + 2), "i * j + i * 2 + j + 2"),
        (3 - i + M, "M - i + 3"),
        (-i, "i * (-1)"),
        # quotients and remainders
        (x // 8 * 8 + x % 8, "x"),
        (x // S * S + x % S, "x"),
        (x // (B * S) * (B * S) + x // S % B * S + x % S, "x"),
        ((x // 8 * 8 + x % 8) * 3, "x * 3"),
        (LONG // 6 * 6 + LONG % 6 // 2 * 2 + LONG % 6 % 2, "i * 1024 + x"),
        (((b * S + s) * 768 + k) // 768, "b * S + s"),
        (((b * S + s) * 768 + k) % 768, "k"),
        ((i * 8 + j) // 32, "i // 4"),
        ((i * 8 + j) % 32, "i % 4 * 8 + j"),
        (i * 8 % 32, "i % 4 * 8"),
        (i * S // (S * 4), "i // 4"),
        (x // 4 // 8, "x // 32"),
        (x % 32 % 8, "x % 8"),
        ((x % 32 + i) % 8, "(i + x) % 8"),
        (x % 32 // 8, "x // 8 % 4"),
        (j // 8, "0"),
        (j % 8, "j"),
        ((k + 35) // 32, "(k + 3) // 32 + 1"),
        ((M - 1) // 8 + 1, "(M + 7) // 8"),
        (j // M, "j // M"),
        (x // -4, "x // (-4)"),
        # min, max, comparisons, select
        (minimum(i, 40), "i"),
        (maximum(j + i, j), "i + j"),
        (minimum(minimum(M, 8), 16), "min(M, 8)"),
        (minimum(8, M - i * 8), "min(8, M - i * 8)"),
        (i * 8 + j < 256, "true"),
        (M < 0, "false"),
        (i * 8 + 3 < 32, "i < 4"),
        (i + j + 1 < j + 5, "i < 4"),
        (equal(i * 2, 5), "false"),
        (equal(i, i), "true"),
        (Binary("ne", j, Const(8)), "true"),
        (select(i < 4, select(i < 5, i, j), x), "select(i < 4, i, x)"),
        (select(i < 4, x, x), "x"),
        (~(i < x), "x <= i"),
        (Select(~p, i, j), "select(p:bool, j, i)"),
        # data may wrap around: its sums are neither compared nor divided
        ((LOADED * 8 + j) // 8, "(ids[i] * 8 + j) // 8"),
        (LOADED + 1 < LOADED + 2, "ids[i] + 1 < ids[i] + 2"),
        (LOADED + 1 - LOADED, "1"),
        # floats: only what is exact
        (f * 1.0, "f:f32"),
        (f / 1.0, "f:f32"),
        (f + -0.0, "f:f32"),
        (f + 0.0, "f:f32 + 0.0:f32"),
        (f - 0.0, "f:f32"),
        (f * 0.0, "f:f32 * 0.0:f32"),
        (f - f, "f:f32 - f:f32"),
        (equal(f, f), "f:f32 == f:f32"),
        (~(f < g), "~(f:f32 < g:f32)"),
        (~equal(f, g), "f:f32 != g:f32"),
        (unary("neg", -f), "f:f32"),
        (Binary("add", Const(0.1, F32), Const(0.2, F32)), "0.30000001192092896:f32"),
        (Binary("div", Const(1.0, F32), Const(0.0, F32)), "1.0:f32 / 0.0:f32"),
        (Binary("mul", Const(1e30, F32), Const(1e30, F32)), "1e+30:f32 * 1e+30:f32"),
        (Binary("add", Const(1.0, F16), Const(1.0, F16)), "1.0:f16 + 1.0:f16"),
        # other integers wrap
        (Binary("add", Const(127, I8), Const(1, I8)), "-128:i8"),
        (Binary("mul", Var("n", I32), Const(0, I32)), "0:i32"),
        (Const(1 << 62) * 2 + LOADED * Const(1 << 62) * 12, "-9223372036854775808"),
        (Binary("lt", Const(200, U8), -Const(3, U8)), "true"),
        (cast(Var("n", I32), I64) * HASH % 1000, f"cast(n:i32, i64) * {HASH} % 1000"),
        (Let(x, LOADED, x * 1000 % 8), "let(x:i64 = ids[i], x * 1000 % 8)"),
        # bools
        (p & Const(True, BOOL), "p:bool"),
        (p & Const(False, BOOL), "false"),
        (p | p, "p:bool"),
        (~~p, "p:bool"),
        # casts
        (Cast(Cast(Var("h", F16), F32), F16), "h:f16"),
        (Cast(Cast(f, F16), F32), "cast(cast(f:f32, f16), f32)"),
        (Cast(Cast(Var("n", I32), I64), F64), "cast(n:i32, f64)"),
        (Cast(Const(300), I8), "44:i8"),
        (Cast(Const(2.99999999, F32), I32), "3:i32"),
        (Cast(Const(1e-60, F32), BOOL), "false"),
        (Cast(Const(0.3, BF16), F32), "0.30078125:f32"),
        (Cast(Const(0.3, F16), F32), "0.300048828125:f32"),
        (Cast(Const(1e9, F16), F32), "cast(1000000000.0:f16, f32)"),
        (Cast(Const((1 << 53) + 1), F64), "cast(9007199254740993, f64)"),
        (Cast(Const(math.nan, F32), I32), "cast(nan:f32, i32)"),
        # let and masks
        (Let(x, i, x + 1), "i + 1"),
        (Let(x, LOADED, x * x), "let(x:i64 = ids[i], x * x)"),
        (Let(x, i * i, x // 1024), "let(x:i64 = i * i, 0)"),
        (Load(INDEX, (i,), i < 40), "ids[i]"),
        (Load(INDEX, (i,), i < 0), "0"),
    ],
)
def test_rule(expr: Expr, text: str) -> None:
    assert expr_text(simplify(expr, ENV)) == text


ZERO8, ONE = Broadcast(Const(0), 8), Const(1)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Ramp(Const(0), ONE, 8) + Broadcast(i * 8, 8), "ramp(i * 8, 1, 8)"),
        (Ramp(i, ONE, 8) * Broadcast(Const(4), 8), "ramp(i * 4, 4, 8)"),
        (Ramp(i, ONE, 8) - Ramp(j, ONE, 8), "broadcast(i - j, 8)"),
        (-Ramp(i, ONE, 8), "ramp(i * (-1), -1, 8)"),
        (Ramp(i, Const(0), 8), "broadcast(i, 8)"),
        (Ramp(i * 16, ONE, 16) // 32, "broadcast(i // 2, 16)"),
        (Ramp(i * 16, ONE, 16) % 32, "ramp(i % 2 * 16, 1, 16)"),
        (Ramp(i * 16 + 1, ONE, 16) % 32, "ramp(i * 16 + 1, 1, 16) % 32"),
        (Ramp(x * 64, Const(64), 8) // 32, "ramp(x * 2, 2, 8)"),
        (Ramp(x * 64 + 3, Const(64), 8) % 32, "broadcast(3, 8)"),
        (Ramp(x * S * 4, ONE, 4) % (S * 4), "ramp(0, 1, 4)"),
        (Ramp(i * 8, ONE, 8) < Broadcast(Const(256), 8), "broadcast(true, 8)"),
        (Ramp(i * 8, ONE, 8) < Broadcast(Const(255), 8),
         "ramp(i * 8, 1, 8) < broadcast(255, 8)"),
        (equal(Ramp(Const(-1), ONE, 3), Broadcast(Const(0), 3)),
         "ramp(-1, 1, 3) == broadcast(0, 3)"),
        (equal(Ramp(ONE, ONE, 3), Broadcast(Const(0), 3)), "broadcast(false, 3)"),
        (minimum(Ramp(i, ONE, 8), Broadcast(Const(40), 8)), "ramp(i, 1, 8)"),
        (Broadcast(f, 8) * Broadcast(g, 8), "broadcast(f:f32 * g:f32, 8)"),
        (Fma(Broadcast(f, 8), Broadcast(g, 8), Broadcast(f, 8)),
         "broadcast(fma(f:f32, g:f32, f:f32), 8)"),
        (unary("exp", Broadcast(f, 8)), "broadcast(exp(f:f32), 8)"),
        (cast(Broadcast(Const(2), 8), F32), "broadcast(2.0:f32, 8)"),
        (Binary("mul", Var("v", F32, 8), Broadcast(Const(1.0, F32), 8)), "v:f32x8"),
        (Var("m", BOOL, 8) & Broadcast(Const(False, BOOL), 8), "broadcast(false, 8)"),
        (LaneReduce("max", Broadcast(f, 8)), "f:f32"),
        (LaneReduce("add", Broadcast(f, 8)), "lane_add(broadcast(f:f32, 8))"),
        (Load(INDEX, (Ramp(i, ONE, 8),), Broadcast(Const(True, BOOL), 8)),
         "ids[ramp(i, 1, 8)]"),
        (Load(INDEX, (Ramp(i, ONE, 8),), Broadcast(Const(False, BOOL), 8)),
         "broadcast(0, 8)"),
    ],
)  # fmt: skip
def test_vector_rule(expr: Expr, text: str) -> None:
    assert expr_text(simplify(expr, ENV)) == text


@pytest.mark.parametrize(
    ("cond", "known", "holds"),
    [
        (i * 8 + j < M, [], False),
        (i * 8 + j < M, [i < M // 8], True),
        (i * 8 < M, [i < (M + 7) // 8], True),
        (i * 8 + j < M, [i < (M + 7) // 8], False),
        (minimum(8, M - i * 8) <= 8, [], True),
        (i * 24 + j < 768, [], True),
        (b * S + s < B * S, [b < B, s < S, Const(0) <= b], True),
        (b * S + s < B * S, [b < B, Const(0) <= b], False),
        (x % S < S, [], True),
        (i < x, [i < x], True),
        (i <= x, [i < x], True),
        (x < i, [i < x], False),
        (p, [p & q], True),
        (p, [p | q], False),
        (x < 3, [equal(x, Const(2))], True),
        ((x < 3) | (i < 40), [], True),
        (LOADED < 7, [LOADED < 5], True),
    ],
)
def test_prove(cond: Expr, known: list[Expr], holds: bool) -> None:
    assert prove(cond, ENV, known) is holds


@pytest.mark.slow
@settings(max_examples=200)
@given(index_exprs(), points())
def test_values_stay_and_twice_is_once(expr: Expr, point: dict[Expr, int]) -> None:
    simple = simplify(expr, VARS)
    assert simplify(simple, VARS) is simple
    try:
        value = value_of(expr, point)
    except ZeroDivisionError:
        return
    assert value_of(simple, point) == value, f"{expr} became {simple}"


@pytest.mark.slow
@settings(max_examples=150)
@given(conditions(), conditions(), points())
def test_conditions_keep_their_truth_under_known_ones(
    cond: Expr, known: Expr, point: dict[Expr, int]
) -> None:
    simple = simplify(cond, VARS, [known])
    try:
        if not value_of(known, point):
            return
        value = value_of(cond, point)
    except ZeroDivisionError:
        return
    assert value_of(simple, point) == value, f"{cond} where {known} became {simple}"


@settings(max_examples=120)
@given(
    st.sampled_from(["add", "sub", "mul", "floordiv", "mod", "min", "max", "lt", "le", "eq"]),
    st.integers(-40, 40), st.integers(-3, 9), st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 8, 12, 16]), st.integers(0, 7),
)  # fmt: skip
def test_vectors_keep_every_lane(
    op: str, base: int, stride: int, scale: int, other: int, at: int
) -> None:
    ramp = Ramp(j * scale + base, Const(stride), 4)
    expr = Binary(op, ramp, Broadcast(Const(other), 4))
    simple = simplify(expr, ENV)
    out = Buffer("out", (Const(4),), expr.dtype)
    got = []
    for value in (expr, simple):
        store = Store(out, (Ramp(Const(0), ONE, 4),), value)
        body = For(j, Const(8), LoopKind.SERIAL, If(equal(j, Const(at)), store))
        array = np.zeros(4, np.bool_ if expr.dtype is BOOL else np.int64)
        run(Func("k", (out,), (), ("out",), body), {"out": array}, {})
        got.append(array.tolist())
    assert got[0] == got[1], f"{expr} became {simple}"


def test_what_is_simple_stays_the_same_object() -> None:
    expr = Binary("mul", Load(Buffer("A", (M,), F32), (i * 8 + j,)), f)
    assert simplify(expr, ENV) is expr
    stmt = For(i, M, LoopKind.SERIAL, Store(Buffer("A", (M,), F32), (i,), f))
    assert simplify_stmt(stmt) is stmt


# --- statements

A = Buffer("A", (M * 8,), F32)
WORK = Store(A, (i,), f)
NOTHING = Seq(())


def loop(extent: Expr, body: Stmt, var: Var = i) -> For:
    return For(var, extent, LoopKind.SERIAL, body)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (loop(Const(0), WORK), NOTHING),
        (loop(minimum(M, 0), WORK), NOTHING),
        (loop(Const(1), WORK), Store(A, (Const(0),), f)),
        (loop(M, NOTHING), NOTHING),
        (loop(M, If(i < M, WORK)), loop(M, WORK)),
        (loop(M, If(M < 1, WORK)), NOTHING),
        (loop(M, If(i < 3, If(i < 4, WORK))), loop(M, If(i < 3, WORK))),
        (loop(M, If(i < 3, NOTHING, If(i < 2, WORK))), NOTHING),
        (loop(M, If(i < 3, NOTHING, WORK)), loop(M, If(Const(3) <= i, WORK))),
        (loop(M, If(i < 3, WORK, NOTHING)), loop(M, If(i < 3, WORK))),
        (seq(WORK, If(M < 0, WORK), WORK), Seq((WORK, WORK))),
        (Assert(Const(-1) < M, "no"), NOTHING),
        (Assert(M < 5, "no"), Assert(M < 5, "no")),
        (Alloc(Buffer("t", (M,), F32, Scope.SCRATCH), loop(Const(0), WORK)), NOTHING),
        (Store(A, (i + i,), f * 1.0, i < i + 1), Store(A, (i * 2,), f)),
        (Store(A, (i,), f, i < i), NOTHING),
    ],
)
def test_statement(before: Stmt, after: Stmt) -> None:
    assert simplify_stmt(before) == after


def test_the_tail_of_a_split_loop_keeps_its_guard_and_the_rest_loses_it() -> None:
    inner = loop(Const(8), If(i * 8 + j < M, Store(A, (i * 8 + j,), f)), j)
    whole, rounded = loop(M // 8, inner), loop((M + 7) // 8, inner)
    assert "if" not in str(simplify_stmt(whole))
    assert simplify_stmt(rounded) is rounded


def test_what_a_branch_may_store_to_is_no_fact_in_it() -> None:
    cond = LOADED < 5
    body = If(cond, seq(Store(INDEX, (i,), Const(9)), If(cond, WORK)))
    assert simplify_stmt(body) is body


def test_a_name_bound_twice_keeps_two_values() -> None:
    t = Var("t")
    twice = Let(t, i, t * LOADED) + Let(t, j, t * LOADED)
    assert expr_text(simplify(twice)) == "i * ids[i] + j * ids[i]"


def test_what_is_remembered_is_bounded() -> None:
    for n in range(REMEMBERED):
        simplify(x + n)
    assert len(simplifier()._memo) <= REMEMBERED + 2  # type: ignore[attr-defined]


def test_a_kernel_keeps_its_signature_and_its_meaning() -> None:
    body = loop((M + 7) // 8, loop(Const(8), If(i * 8 + j < M,
                Store(A, ((i * 8 + j) % M,), cast((i * 8 + j) // 4 * 4, F32))), j))  # fmt: skip
    func = Func("k", (A,), (M,), ("A",), body)
    simple = simplify_func(func)
    assert (simple.params, simple.symbols, simple.outputs) == ((A,), (M,), ("A",))
    assert "%" not in str(simple)
    got = []
    for kernel in (func, simple):
        array = np.zeros(13 * 8, np.float32)
        run(kernel, {"A": array}, {"M": 13})
        got.append(array)
    np.testing.assert_array_equal(got[0], got[1])
