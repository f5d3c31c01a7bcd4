"""Equality and hashes of expressions: keys of every memo and of every polynomial."""

from __future__ import annotations

from hypothesis import given

from tc.ir.expr import Binary, Const, Expr, Load, Select
from tc.ir.types import BOOL, F32, I32
from tc.ir.visit import children, with_children
from tests.ir.strategies import index_exprs


def rebuilt(x: Expr) -> Expr:
    """The same tree of new nodes."""
    kids = children(x)
    return with_children(x, tuple(map(rebuilt, kids))) if kids else x


@given(index_exprs())
def test_equal_trees_have_equal_hashes(x: Expr) -> None:
    first = hash(x)
    assert rebuilt(x) == x
    assert hash(rebuilt(x)) == first == hash(x)


def test_literals_are_compared_by_bits_and_type() -> None:
    nan, other = Const(float("nan"), F32), Const(float("nan"), F32)
    assert nan == other and hash(nan) == hash(other)
    assert Const(0.0, F32) != Const(-0.0, F32)
    assert Const(1) != Const(1, I32) and Const(1) != Const(True, BOOL)
    assert len({Const(1), Const(1, I32), Const(1)}) == 2


def test_what_was_worked_out_is_no_part_of_a_node() -> None:
    one, two = (Binary("add", Const(1), Select(Const(True), Const(2), Const(3))) for _ in "ab")
    hash(one)
    assert one.lanes == one.lanes == 1
    assert one == two and repr(one) == repr(two) and not isinstance(one, Load)
