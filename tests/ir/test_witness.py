"""Choices of values: they refute what is wrong for one of them, and nothing that has a proof."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tc.ir.affine import plain_poly, sub
from tc.ir.expr import Const, Expr, Sym, Var
from tc.ir.facts import _BUDGET, _DEPTH, Facts
from tc.ir.rewrite import Rewriter
from tc.ir.simplify import simplify
from tests.ir.strategies import VARS, conditions, index_exprs

ROW, COLUMN, M = Var("i"), Var("j"), Sym("M", 0, 40)


def test_an_index_past_the_end_is_refuted() -> None:
    facts = Facts().in_loop(ROW, M).in_loop(COLUMN, Const(4))
    index = plain_poly(ROW * 4 + COLUMN)
    assert facts._witnesses.refute(sub(plain_poly(M), index))
    assert not facts._witnesses.refute(sub(plain_poly(M * 4 - 1), index))
    # A variable that is chosen where nothing is known of it is chosen anew in its loop.
    outside = Facts().in_loop(ROW, M)
    assert outside._witnesses.refute(sub(plain_poly(M), plain_poly(COLUMN)))
    inside = outside.in_loop(COLUMN, M)
    assert not inside._witnesses.refute(sub(plain_poly(M), plain_poly(COLUMN)))


@settings(max_examples=20)
@given(conditions(), st.lists(index_exprs(), min_size=1, max_size=4))
def test_what_is_refuted_has_no_proof(cond: Expr, asked: list[Expr]) -> None:
    facts = Facts(VARS)
    facts = facts.given(Rewriter(facts)(cond))
    for place in (facts, facts.in_loop(Var("n"), M + 1)):
        for x in asked:
            p = plain_poly(simplify(x, VARS))
            proved = place._prove(p, _DEPTH, [_BUDGET], {})
            assert not (proved and place._witnesses.refute(p))
