"""Dropping guards that only keep elements of local buffers from being computed."""

from __future__ import annotations

from collections.abc import Callable

from tc.ir.expr import Binary, Const, Expr, Load, Var
from tc.ir.loop import Alloc, Assert, Buffer, For, Func, If, Seq, Stmt, Store, Update, seq
from tc.ir.simplify import is_true, prove, simplifier, simplify
from tc.ir.visit import (
    free_vars,
    own_exprs,
    sub_exprs,
    sub_stmts,
    substitute,
    uses,
    with_body,
)
from tc.schedule.dependence import extent_facts
from tc.schedule.rewrite import env_of, primitive, stored_buffers

# index[dim] + offset < bound: a guard that says which elements of a buffer exist.
Limit = tuple[int, Expr, Expr]


@primitive
def relax(func: Func) -> Func:
    """Drop guards that only keep unused elements of local buffers from being computed.

    rewrite: if j0 * 32 + j1 < n: acc[j1] <sum>= a[k] * b[j0, k, j1]
    into:    acc[j1] <sum>= a[k] * b[j0, k, j1]

    A guard is dropped where every access under it stays in bounds without it, and where it says
    which elements of the local buffers under it exist: every write of such a buffer stands under
    the same limit of its index. What would have stayed undefined is then computed for nothing.
    Asserts, and divisions of integers by data, keep their guards. Nothing is refused.
    """
    limits = {
        s.buffer.name: _limits(s.body, s.buffer.name)
        for s in sub_stmts(func.body)
        if isinstance(s, Alloc)
    }
    return with_body(func, _relax(func.body, [], limits))


def _relax(s: Stmt, nest: list[For], limits: dict[str, set[Limit]]) -> Stmt:
    match s:
        case For(var, extent, kind, body):
            return For(var, extent, kind, _relax(body, [*nest, s], limits))
        case Alloc(b, body):
            return Alloc(b, _relax(body, nest, limits))
        case Seq(body):
            return seq(*[_relax(b, nest, limits) for b in body])
        case If(cond, then, other):
            needless = other is None and _only_limits(cond, then, limits)
            if needless and _harmless(then) and _in_bounds(then, cond, nest):
                return _relax(then, nest, limits)
            parts = _parts(cond, then) if other is None else None
            if parts is not None:
                whole = _relax(parts, nest, limits)
                return s if whole == parts else whole
            no = None if other is None else _relax(other, nest, limits)
            return If(cond, _relax(then, nest, limits), no)
    return s


def _parts(cond: Expr, s: Stmt) -> Stmt | None:
    """`s` with the guard at each of its statements, of which some may do without."""
    if any(isinstance(n, Load) for n in sub_exprs(cond)):
        return None
    match s:
        case Alloc(b, body):
            inner = _parts(cond, body)
            return None if inner is None else Alloc(b, inner)
        case Seq(body):
            return seq(*[If(cond, b) for b in body])
    return None


def _only_limits(cond: Expr, then: Stmt, limits: dict[str, set[Limit]]) -> bool:
    """Whether `cond` is a limit of every buffer that is written under it."""
    own = {x.buffer.name for x in sub_stmts(then) if isinstance(x, Alloc)}
    for x in sub_stmts(then):
        if not isinstance(x, Store | Update):
            continue
        for name in stored_buffers(x) - own:
            if not limits.get(name, set()) & set(_as_limits(cond, x.indices, frozenset())):
                return False
    return True


def _limits(scope: Stmt, name: str) -> set[Limit]:
    """The limits that all writes of a buffer in its scope stand under."""
    inner = frozenset(x.var for x in sub_stmts(scope) if isinstance(x, For))
    found: list[set[Limit]] = []

    def walk(s: Stmt, guards: tuple[Expr, ...]) -> None:
        match s:
            case For(body=body) | Alloc(body=body):
                walk(body, guards)
            case Seq(body):
                for b in body:
                    walk(b, guards)
            case If(cond, then, other):
                walk(then, (*guards, cond))
                if other is not None:
                    walk(other, guards)
            case Store(indices=indices) | Update(indices=indices) if name in stored_buffers(s):
                found.append({x for g in guards for x in _as_limits(g, indices, inner)})

    walk(scope, ())
    return set.intersection(*found) if found else set()


def _as_limits(cond: Expr, indices: tuple[Expr, ...], inner: frozenset[Var]) -> list[Limit]:
    """The ways to read `cond` as a limit of an index that is free of the `inner` loops."""
    if not isinstance(cond, Binary) or cond.op != "lt":
        return []
    out: list[Limit] = []
    for dim, index in enumerate(indices):
        offset = simplify(cond.a - index)
        if not any(uses(offset, v) or uses(cond.b, v) for v in inner):
            out.append((dim, offset, cond.b))
    return out


def _harmless(s: Stmt) -> bool:
    """Whether nothing in `s` can fail on undefined data."""
    return not any(
        isinstance(x, Assert)
        or any(
            isinstance(n, Binary)
            and n.op in ("floordiv", "mod")
            and any(isinstance(m, Load) for m in sub_exprs(n.b))
            for e in own_exprs(x)
            for n in sub_exprs(e)
        )
        for x in sub_stmts(s)
    )


def _in_bounds(s: Stmt, cond: Expr, nest: list[For]) -> bool:
    """Whether every access of `s` is in bounds where `cond` is false, too.

    A load that does not vary with what the condition is about is done anyway, if the condition
    holds in the first iteration of those loops.
    """
    about = free_vars(cond)
    first = prove(substitute(cond, {v: Const(0) for v in about}))
    nest = [*nest, *(x for x in sub_stmts(s) if isinstance(x, For))]
    env = env_of(nest)
    inside = _Inside(simplifier(env), simplifier(env, extent_facts(nest)))
    for x in sub_stmts(s):
        if isinstance(x, Store | Update):
            buffers = (x.buffer,) if isinstance(x, Store) else x.buffers
            if not all(inside(b, x.indices) for b in buffers):
                return False
        for e in own_exprs(x):
            for n in sub_exprs(e):
                if not isinstance(n, Load) or n.mask is not None:
                    continue
                if first and not any(uses(i, v) for i in n.indices for v in about):
                    continue
                if not inside(n.buffer, n.indices):
                    return False
    return True


class _Inside:
    """Whether a place is one of a buffer's; each is looked at once."""

    def __init__(self, plain: Callable[[Expr], Expr], known: Callable[[Expr], Expr]) -> None:
        self._plain = plain  # knows the ends of the variables
        self._known = known  # knows their extents, too
        self._seen: dict[tuple[Expr, Expr], bool] = {}

    def __call__(self, b: Buffer, indices: tuple[Expr, ...]) -> bool:
        return all(self._below(i, n) for i, n in zip(indices, b.shape, strict=True))

    def _below(self, index: Expr, size: Expr) -> bool:
        """Whether 0 <= index < size."""
        found = self._seen.get((index, size))
        if found is None:
            i = self._plain(index)
            found = is_true(self._known(Const(0) <= i)) and is_true(self._known(i < size))
            self._seen[index, size] = found
        return found
