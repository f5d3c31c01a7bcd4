"""The flat index of every access simplified: a fused loop's m // n * n + m % n is m again.

Only indices: after `guard_loads` both arms of a `Select` are evaluated, so what its condition
implies must not be used inside them (it would drop the masks there). An index that holds a
`Select` itself is left as it is. This pass must not change a mask.
"""

from __future__ import annotations

from typing import Final

from tc.ir import affine
from tc.ir.affine import plain_poly
from tc.ir.expr import Binary, Broadcast, Const, Expr, Load, Ramp, Select, Var
from tc.ir.facts import Facts
from tc.ir.loop import Alloc, Assert, For, Func, If, Prefetch, Seq, Stmt, Store, seq
from tc.ir.passes.rewrite import Rewriter
from tc.ir.rewrite import Rewriter as Simplifier
from tc.ir.types import I64
from tc.ir.visit import LEAVES, rewrite_exprs, sub_exprs, uses, with_body

_LANE: Final = Var("lane'", I64)  # a name that no kernel has


def simplify_indices(func: Func) -> Func:
    """`func`, which is flat, with simpler indices."""
    return with_body(func, _stmt(func.body, Facts()))


def _stmt(s: Stmt, facts: Facts) -> Stmt:
    match s:
        case For(var, extent, kind, body):
            return For(var, extent, kind, _stmt(body, facts.in_loop(var, extent)))
        case Seq(body):
            simplify = _Indices(facts)
            return seq(*[_leaf(b, simplify) or _stmt(b, facts) for b in body])
        case If(cond, then, other):
            no = None if other is None else _stmt(other, facts.given(cond, False))
            return If(cond, _stmt(then, facts.given(cond)), no)
        case Alloc(buffer, body):
            return Alloc(buffer, _stmt(body, facts))
    return _leaf(s, _Indices(facts)) or s


def _leaf(s: Stmt, simplify: _Indices) -> Stmt | None:
    """A statement without others inside, rewritten."""
    match s:
        case Store(buffer, (index,), value, mask):
            at = simplify.index(simplify(index))
            on = None if mask is None else simplify(mask)
            return Store(buffer, (at,), simplify(value), on)
        case Assert():
            return rewrite_exprs(s, simplify)
        case Prefetch(buffer, (index,), near):
            return Prefetch(buffer, (simplify.index(simplify(index)),), near)
    return None


class _Indices:
    """Rewrites the loads of an expression."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.simplifier = Simplifier(facts)
        self.by_lane: dict[Const, Simplifier] = {}
        self.loads = Rewriter(self._load)

    def __call__(self, x: Expr) -> Expr:
        return self.loads(x)

    def index(self, x: Expr) -> Expr:
        if type(x) in LEAVES or any(isinstance(n, Select) for n in sub_exprs(x)):
            return x
        simple = self.simplifier(x)
        ramp = None if simple.lanes == 1 else self._by_lane(simple)
        return simple if ramp is None else ramp

    def _by_lane(self, x: Expr) -> Expr | None:
        """A vector of indices as a ramp, where the index of one lane says that it is one.

        Rules for quotients and remainders by what is not known are there for scalars only.
        """
        if isinstance(x, Ramp | Broadcast):
            return None
        one = _lane_of(x)
        if one is None:
            return None
        lanes = Const(x.lanes)
        if lanes not in self.by_lane:
            self.by_lane[lanes] = Simplifier(self.facts.in_loop(_LANE, lanes))
        found = self.by_lane[lanes](one)
        base, stride = affine.separated(plain_poly(found), _LANE)
        if any(uses(affine.expr_of(p), _LANE) for p in (base, stride)):
            return None
        if not stride:
            return Broadcast(affine.expr_of(base), x.lanes)
        return Ramp(affine.expr_of(base), affine.expr_of(stride), x.lanes)

    def _load(self, x: Expr) -> Expr | None:
        match x:
            case Load(buffer, (index,), mask):
                return Load(buffer, (self.index(index),), mask)
        return None


def _lane_of(x: Expr) -> Expr | None:
    """The index in one lane; None where it is more than arithmetic on ramps."""
    match x:
        case Ramp(base, stride, _):
            return base + stride * _LANE
        case Broadcast(inner, _):
            return inner
        case Binary(op, a, b):
            one, two = _lane_of(a), _lane_of(b)
            return None if one is None or two is None else Binary(op, one, two)
    return x if x.lanes == 1 else None
