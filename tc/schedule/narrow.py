"""Folding only over what counts: keys that a mask excludes throughout are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tc.ir.affine import ONE, Poly, add, constant, expr_of, mul, poly_of
from tc.ir.expr import Const, Expr, Load, Select, Var, maximum, minimum
from tc.ir.facts import Facts
from tc.ir.loop import For, Func, Stmt, Store, Update
from tc.ir.simplify import simplify
from tc.ir.visit import map_stmt, sub_exprs, sub_stmts, substitute, substitute_stmt, uses
from tc.schedule.rewrite import (
    find_loops,
    header,
    loops,
    primitive,
    refuse,
    rewrite_loops,
    size_bound,
    stored_buffers,
)

# Folds in which a point whose first value is the identity changes nothing.
_IDENTITIES: Final = ("online_softmax", "max", "min", "sum", "prod")


@primitive
def narrow(func: Func, loop: str, rows: str) -> Func:
    """Let the reduction over `loop` begin and end where a mask lets any of the `rows` see it.

    rewrite: for i in range(8):
                 for j in range(n): m[] <max>= select(j <= s + i, x(i, j), -inf)
    into:    for i in range(8):
                 for j in range(min(n, s + 8)): m[] <max>= select(j <= s + i, x(i, j), -inf)

    The mask may stand where the scores are computed. Looked at are comparisons that must hold for
    a point to count, as far as they are linear in the loop: from each follows an interval of the
    loop for all iterations of `rows` together. What is left out is the identity of the fold: -inf
    for a maximum, a weight of 0 for the online softmax. Values under such a weight are not read,
    so that a NaN among them no longer shows.
    Raises ScheduleError: no such loops, `loop` is not inside `rows`, is no fold, or nothing of it
    is masked.
    """
    find_loops(func, "narrow", loop)

    def outer(x: For) -> Stmt:
        inner = [y for y in loops(x.body) if y.var.name == loop]
        if not inner:
            raise refuse(
                "narrow", header(x), f"the loop {loop!r} is not inside it", "name a loop around it"
            )
        limits = _limits(func, x, inner[0])
        if limits is None:
            raise refuse(
                "narrow", header(inner[0]), "no comparison masks a part of it", "leave it as it is"
            )
        first, length = limits
        return _narrowed(x, loop, first, length)

    return rewrite_loops(func, "narrow", rows, outer)


def _narrowed(s: Stmt, loop: str, first: Expr, length: Expr) -> Stmt:
    def fn(x: Stmt) -> Stmt | None:
        if not isinstance(x, For) or x.var.name != loop:
            return None
        return For(x.var, length, x.kind, substitute_stmt(x.body, {x.var: first + x.var}))

    return map_stmt(s, None, fn)


def _limits(func: Func, rows: For, x: For) -> tuple[Expr, Expr] | None:
    """Where `x` begins, and its length, for all iterations of `rows`."""
    if not isinstance(x.body, Update):
        raise refuse("narrow", header(x), "it is no fold, and nothing else", "name a reduction")
    first: Expr = Const(0)
    end = x.extent
    lengths = {y.var: size_bound(y.extent) for y in (rows, *loops(rows.body)) if y.var != x.var}
    update = x.body
    if update.monoid.name not in _IDENTITIES:
        return None
    found = False
    for p in _needed(func, update.values[0], update.monoid.identity[0]):
        low, high = _sides(p, x.var, lengths)
        first = first if low is None else maximum(first, low)
        end = end if high is None else minimum(end, high)
        found |= low is not None or high is not None
    if not found:
        return None
    first = simplify(first)
    return first, simplify(maximum(simplify(end - first), 0))


def _sides(p: Poly, var: Var, lengths: dict[Var, Expr]) -> tuple[Expr | None, Expr | None]:
    """The least `var` and the first one that is too large, for p >= 0 to hold in some row."""
    factor = p.get((var,), 0)
    rest = {m: c for m, c in p.items() if m != (var,)}
    if not factor or any(uses(atom, var) or _is_data(atom) for m in rest for atom in m):
        return None, None
    for row, length in lengths.items():
        c = rest.pop((row,), 0)
        if any(uses(atom, row) for m in rest for atom in m):
            return None, None
        if c > 0:
            rest = add(rest, mul(constant(c), poly_of(simplify(length - 1), lambda x: x)))
    at = simplify(expr_of(rest))
    if factor > 0:
        return simplify(-(at // factor)), None
    return None, simplify(at // -factor + 1)


def _is_data(x: Expr) -> bool:
    return any(isinstance(n, Load) for n in sub_exprs(x))


def _needed(func: Func, x: Expr, identity: Const) -> Iterator[Poly]:
    """Polynomials that are not negative wherever `x` is not the identity."""
    for cond, holds in _conditions(func, x, identity):
        facts = Facts().given(simplify(cond), holds)
        yield from facts.known
        for var, span in facts.env.items():
            if span.lo is not None:
                yield {(var,): 1, ONE: -span.lo}
            if span.hi is not None:
                yield {(var,): -1, ONE: span.hi}


def _conditions(func: Func, x: Expr, identity: Const) -> Iterator[tuple[Expr, bool]]:
    """Conditions that hold, or do not, wherever `x` is not the identity."""
    match x:
        case Select(cond, then, other) if other == identity:
            yield cond, True
            yield from _conditions(func, then, identity)
        case Select(cond, then, other) if then == identity:
            yield cond, False
            yield from _conditions(func, other, identity)
        case Load(buffer, indices, None):
            stored = _definition(func, buffer.name)
            if stored is not None:
                axes, value = stored
                here = substitute(value, dict(zip(axes, indices, strict=True)))
                yield from _conditions(func, here, identity)


def _definition(func: Func, name: str) -> tuple[tuple[Var, ...], Expr] | None:
    """(axes, value) of a local buffer that one store computes, point by point."""
    writers = [
        s
        for s in sub_stmts(func.body)
        if isinstance(s, Store | Update) and name in stored_buffers(s)
    ]
    if len(writers) != 1 or not isinstance(writers[0], Store) or writers[0].mask is not None:
        return None
    store = writers[0]
    axes = tuple(dict.fromkeys(i for i in store.indices if isinstance(i, Var)))
    return (axes, store.value) if len(axes) == len(store.indices) else None
