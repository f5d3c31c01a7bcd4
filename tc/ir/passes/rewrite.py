"""Bottom-up rewriting that visits a shared expression once and keeps it shared.

The passes hand expressions on as graphs: what stands in several statements is one object, and is
then computed once. `tc.ir.visit.map_expr` walks them as trees. This module must not know any pass.
"""

from __future__ import annotations

from tc.ir.expr import Expr
from tc.ir.visit import LEAVES, ExprFn, children, with_children


class Rewriter:
    """Calling it rewrites one expression by `fn`, which gives None for "unchanged"."""

    __slots__ = ("_fn", "_memo")

    def __init__(self, fn: ExprFn) -> None:
        self._fn = fn
        # Keyed by identity; the original is kept so that its identity is not given anew.
        self._memo: dict[int, tuple[Expr, Expr]] = {}

    def __call__(self, x: Expr) -> Expr:
        """`x` rewritten; the same object where nothing changes."""
        known = self._memo.get(id(x))
        if known is not None:
            return known[1]
        if type(x) in LEAVES:
            new: Expr = x
        else:
            kids = children(x)
            new_kids = tuple([self(k) for k in kids])
            same = all(a is b for a, b in zip(kids, new_kids, strict=True))
            new = x if same else with_children(x, new_kids)
        done = self._fn(new)
        if done is None:
            done = new
        self._memo[id(x)] = (x, done)
        return done
