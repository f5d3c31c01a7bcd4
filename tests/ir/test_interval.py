"""Intervals: each operation, and that they always hold the value (by random points)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tc.ir.expr import (
    Binary,
    Broadcast,
    Cast,
    Const,
    Expr,
    LaneReduce,
    Let,
    Ramp,
    Sym,
    Var,
    cast,
    maximum,
    minimum,
    select,
    unary,
)
from tc.ir.interval import EVERYTHING, Interval, bounds
from tc.ir.types import F32, I8, I32, U8
from tests.ir.strategies import VARS, index_exprs, points, value_of

i, x = Var("i"), Var("x")
M, N = Sym("M", 0, 40), Sym("N", 1, 39)
ENV = {i: Interval(0, 7)}
BYTE = Var("b", I8)


@pytest.mark.parametrize(
    ("expr", "lo", "hi"),
    [
        (i, 0, 7),
        (x, None, None),
        (M, 0, 40),
        (i * 8 + 3, 3, 59),
        (3 - i, -4, 3),
        (-i * M, -280, 0),
        (x * 0, 0, 0),
        (M // 8, 0, 5),
        ((i - 9) // 4, -3, -1),
        (x // 8, None, None),
        (x % 8, 0, 7),
        (i % 16, 0, 7),
        ((i + 16) % 32, 16, 23),
        ((i + 30) % 32, 0, 31),
        (i % M, 0, 7),
        (x % M, 0, 39),
        (minimum(x, i), None, 7),
        (maximum(x, i), 0, None),
        (select(x < 3, i, M + 1), 0, 41),
        (cast(BYTE, Const(0).type), -128, 127),
        (Cast(Var("u", U8), I32), 0, 255),
        (Cast(Var("f", F32), I32), -(1 << 31), (1 << 31) - 1),
        (Binary("add", BYTE, BYTE), -128, 127),
        (Binary("and", x, Const(15)), 0, 15),
        (Binary("shr", M, Const(2)), 0, 10),
        (unary("abs", i - 9), 2, 9),
        (unary("abs", i - 3), 0, 4),
        (unary("sign", x), -1, 1),
        (i < 3, 0, 1),
        (Ramp(i * 8, Const(2), 4), 0, 62),
        (Ramp(i, Const(-1), 4), -3, 7),
        (Broadcast(i, 8), 0, 7),
        (LaneReduce("max", Ramp(i, Const(1), 4)), 0, 10),
        (Let(x, i + 1, x * 2), 2, 16),
        (Const(1.5, F32), None, None),
        (N * M - N, -39, 1521),
        (N * (M + 3) - N * 2 + 5, 6, 1604),
        (i * M - N + i, -39, 286),
    ],
)
def test_bounds(expr: Expr, lo: int | None, hi: int | None) -> None:
    assert bounds(expr, ENV) == Interval(lo, hi), str(expr)


def test_unknown_variables_are_unbounded() -> None:
    assert bounds(i) == EVERYTHING


def test_sets() -> None:
    assert Interval(0, 3) | Interval(7, None) == Interval(0, None)
    assert Interval(0, 9) & Interval(7, None) == Interval(7, 9)
    assert Interval(1, 2).within(Interval(None, 2))
    assert not Interval(None, 2).within(Interval(0, 2))
    assert Interval(4, 4).value == 4
    assert EVERYTHING.value is None


@settings(max_examples=300)
@given(index_exprs(), points())
def test_the_value_lies_within(expr: Expr, point: dict[Expr, int]) -> None:
    try:
        value = value_of(expr, point)
    except ZeroDivisionError:
        return
    assert Interval(value, value).within(bounds(expr, VARS)), str(expr)


@given(
    st.integers(-20, 20), st.integers(0, 9), st.integers(-20, 20), st.integers(0, 9),
    st.integers(0, 9), st.integers(0, 9),
    st.sampled_from(["__add__", "__sub__", "__mul__", "__floordiv__", "__mod__"]),
)  # fmt: skip
def test_interval_arithmetic_holds_every_pair(
    a: int, wide: int, b: int, broad: int, p: int, q: int, op: str
) -> None:
    m, n = a + min(p, wide), b + min(q, broad)
    if n == 0 and op in ("__floordiv__", "__mod__"):
        return
    found = getattr(Interval(a, a + wide), op)(Interval(b, b + broad))
    value = getattr(m, op)(n)
    assert Interval(value, value).within(found)
