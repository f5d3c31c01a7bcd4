"""Proofs: what was asked before changes no answer; polynomials of nodes; facts inside others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tc.ir.affine import add, mul, plain_poly, poly_of, sub
from tc.ir.expr import Binary, Const, Expr, Sym, Var
from tc.ir.facts import Facts
from tc.ir.interval import Interval
from tc.ir.rewrite import Rewriter
from tc.ir.simplify import simplify
from tests.ir.strategies import VARS, conditions, index_exprs, points, value_of

ROW, M = Var("i"), Sym("M", 0, 40)


def facts_where(cond: Expr) -> Facts:
    facts = Facts(VARS)
    return facts.given(Rewriter(facts)(cond))


@pytest.mark.slow
@settings(max_examples=120)
@given(conditions(), st.lists(index_exprs(), min_size=2, max_size=6), points())
def test_an_answer_depends_on_the_facts_alone(
    cond: Expr, asked: list[Expr], point: dict[Expr, int]
) -> None:
    polys = [plain_poly(simplify(x, VARS)) for x in asked]
    one = facts_where(cond)
    answers = [one.nonnegative(p) for p in polys]
    backwards = facts_where(cond)
    assert [backwards.nonnegative(p) for p in polys[::-1]] == answers[::-1]
    assert [facts_where(cond).nonnegative(p) for p in polys] == answers
    try:
        if value_of(cond, point):
            for x, proved in zip(asked, answers, strict=True):
                assert not proved or value_of(x, point) >= 0
    except ZeroDivisionError:
        return


@given(index_exprs(), index_exprs())
def test_the_polynomial_of_a_node_is_worked_out_once_and_stays(a: Expr, b: Expr) -> None:
    p, q = plain_poly(a), plain_poly(b)
    before = dict(p), dict(q)
    add(p, q)
    sub(p, q)
    if len(p) * len(q) < 100:
        mul(p, q)
    assert (p, q) == before
    if isinstance(a, Binary):
        assert plain_poly(a) is p
    assert poly_of(a, lambda atom: atom) == p


def test_facts_inside_are_found_again() -> None:
    facts = Facts()
    inside = facts.in_loop(ROW, M)
    assert facts.in_loop(ROW, M) is inside
    assert facts.in_loop(ROW, Const(8)) is not inside
    here = inside.given(ROW < 4)
    assert inside.given(ROW < 4) is here
    assert inside.given(ROW < 4, False) is not here
    assert here.env[ROW] == Interval(0, 3)


def test_known_conditions_hold_only_where_they_were_given() -> None:
    cond = ROW < M
    assert simplify(cond, VARS, [ROW < M]) == Const(True, cond.dtype)
    assert simplify(cond, VARS) == cond
    assert simplify(ROW < 8, VARS) == Const(True, cond.dtype)
    assert simplify(ROW < 8, {ROW: Interval(0, 8)}) == (ROW < 8)
