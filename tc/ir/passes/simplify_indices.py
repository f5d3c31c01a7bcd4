"""The flat index of every access simplified: a fused loop's m // n * n + m % n is m again.

Only indices: after `guard_loads` both arms of a `Select` are evaluated, so what its condition
implies must not be used inside them (it would drop the masks there). An index that holds a
`Select` itself is left as it is. This pass must not change a mask.
"""

from __future__ import annotations

from tc.ir.expr import Const, Expr, Load, Select, Sym, Var
from tc.ir.facts import Facts
from tc.ir.loop import Alloc, Assert, For, Func, If, Prefetch, Seq, Stmt, Store, seq
from tc.ir.passes.rewrite import Rewriter
from tc.ir.rewrite import Rewriter as Simplifier
from tc.ir.visit import rewrite_exprs, sub_exprs, with_body


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
        self.simplifier = Simplifier(facts)
        self.loads = Rewriter(self._load)

    def __call__(self, x: Expr) -> Expr:
        return self.loads(x)

    def index(self, x: Expr) -> Expr:
        if isinstance(x, Const | Var | Sym) or any(isinstance(n, Select) for n in sub_exprs(x)):
            return x
        return self.simplifier(x)

    def _load(self, x: Expr) -> Expr | None:
        match x:
            case Load(buffer, (index,), mask):
                return Load(buffer, (self.index(index),), mask)
        return None
