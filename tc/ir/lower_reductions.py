"""Reductions in expressions: loops that fold into accumulators before the statement.

A reduction in an arm of a `Select` is done before the choice. If it is not defined at every point,
its values are those of the arm's condition, and the identity elsewhere. This module must not look
at whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tc.ir.expr import Expr, Let, Load, Reduce, Select, Var
from tc.ir.facts import Facts
from tc.ir.loop import Alloc, Buffer, For, LoopKind, Scope, Stmt, Store, Update, seq
from tc.ir.lower_reads import Reads, always_defined, both
from tc.ir.visit import children, free_vars, sub_exprs, substitute, with_children


@dataclass(frozen=True)
class _Place:
    """Where an expression stands: inside which loops, and under which condition.

    `before` takes what is to be done before it, with the accumulators that are needed from there
    on; `seen` says where the folds are that have been met.
    """

    facts: Facts
    path: Expr | None = None
    before: list[tuple[tuple[Buffer, ...], Stmt]] = field(default_factory=list)
    seen: dict[tuple[object, ...], tuple[Buffer, ...]] = field(default_factory=dict)

    def under(self, cond: Expr) -> _Place:
        return replace(self, path=both(self.path, cond))

    def inside(self, axes: tuple[Var, ...], extents: tuple[Expr, ...]) -> _Place:
        return _Place(in_loops(self.facts, axes, extents), self.path)

    def around(self, stmt: Stmt) -> Stmt:
        """`stmt` after all that is to be done before it."""
        for accs, fold in reversed(self.before):
            stmt = seq(fold, stmt)
            for acc in reversed(accs):
                stmt = Alloc(acc, stmt)
        return stmt


@dataclass
class Elements:
    """Statements for the elements of one tensor; its accumulators are called after `prefix`."""

    reads: Reads
    unique: Callable[[str], str]
    prefix: str

    def element(self, body: Expr, facts: Facts, write: Callable[[Expr], Stmt]) -> Stmt:
        """Statements that compute `body` and hand its value to `write`, with checks before.

        `facts` are those of the point at which the body stands.
        """
        place = _Place(facts)
        asserts: list[Stmt] = []
        value = self.reads.loads(self._without(body, place), asserts)
        return place.around(seq(*asserts, write(value)))

    def _without(self, x: Expr, place: _Place) -> Expr:
        """`x` with each reduction replaced by loads of its accumulators."""
        match x:
            case Reduce():
                accs = self._accumulators(x, place)
                loads: dict[Var, Expr] = {
                    v: Load(b, ()) for v, b in zip(x.monoid.left, accs, strict=True)
                }
                return substitute(self._without(x.result, place), loads)
            case Select(cond, then, other):
                kids: tuple[Expr, ...] = (cond, then, other)
                c = self._without(cond, place)
                yes, no = place.under(c), place.under(~c)
                new: tuple[Expr, ...] = (c, self._without(then, yes), self._without(other, no))
            case Let(var, value, body) if _decides_on_folds(var, body):
                return self._without(substitute(body, {var: value}), place)
            case _:
                kids = children(x)
                new = tuple(self._without(k, place) for k in kids)
        changed = any(a is not b for a, b in zip(kids, new, strict=True))
        return with_children(x, new) if changed else x

    def _accumulators(self, x: Reduce, place: _Place) -> tuple[Buffer, ...]:
        guard = place.path
        if guard is not None and always_defined(x, place.facts):
            guard = None
        key = (x.monoid, x.axes, x.extents, x.values, guard)
        accs = place.seen.get(key)
        if accs is None:
            accs = tuple(
                Buffer(self.unique(f"{self.prefix}_acc"), (), t, Scope.REGISTER)
                for t in x.monoid.dtypes
            )
            place.seen[key] = accs
            place.before.append((accs, self._fold(x, accs, guard, place)))
        return accs

    def _fold(self, x: Reduce, accs: tuple[Buffer, ...], guard: Expr | None, place: _Place) -> Stmt:
        inits = [Store(b, (), i) for b, i in zip(accs, x.monoid.identity, strict=True)]
        inside = place.inside(x.axes, x.extents)
        asserts: list[Stmt] = []
        values = []
        for v, identity in zip(x.values, x.monoid.identity, strict=True):
            v = self._without(v, place if _is_fixed(v, x.axes, place.facts) else inside)
            values.append(
                self.reads.loads(v if guard is None else Select(guard, v, identity), asserts)
            )
        update = seq(*asserts, Update(x.monoid, accs, (), tuple(values)))
        return seq(*inits, loops(x.axes, x.extents, inside.around(update)))


def _is_fixed(x: Expr, axes: tuple[Var, ...], facts: Facts) -> bool:
    """Whether the reductions in `x` can be done once, before loops over `axes`."""
    found = [n for n in sub_exprs(x) if isinstance(n, Reduce)]
    if any(not free_vars(n).isdisjoint(axes) for n in found):
        return False
    chosen = any(isinstance(n, Select) and _holds_folds(n) for n in sub_exprs(x))
    return not chosen or all(always_defined(n, facts) for n in found)


def _holds_folds(x: Expr) -> bool:
    return any(isinstance(n, Reduce) for n in sub_exprs(x))


def _decides_on_folds(var: Var, x: Expr) -> bool:
    """Whether a reduction in `x`, or a choice that has one in an arm, needs `var`.

    Reductions are done before the expression, where nothing is bound.
    """
    return any(
        var in free_vars(n.cond if isinstance(n, Select) else n)
        for n in sub_exprs(x)
        if isinstance(n, Reduce | Select) and _holds_folds(n)
    )


def in_loops(facts: Facts, axes: Sequence[Var], extents: Sequence[Expr]) -> Facts:
    """The facts inside loops over `axes`."""
    for var, extent in zip(axes, extents, strict=True):
        facts = facts.in_loop(var, extent)
    return facts


def loops(axes: Sequence[Var], extents: Sequence[Expr], body: Stmt) -> Stmt:
    """One serial loop for each axis, the first outermost."""
    for v, e in reversed(list(zip(axes, extents, strict=True))):
        body = For(v, e, LoopKind.SERIAL, body)
    return body
