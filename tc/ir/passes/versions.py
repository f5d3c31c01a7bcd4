"""Loops to unroll whose length varies get one version of their statement for each length.

    for i0 in range(n):                          for i0 in range(n):
        for i1 in unroll(min(4, m - i0 * 4)):        if min(4, m - i0 * 4) == 4:
            body                           into:         for i1 in unroll(4): body
                                                     else: if min(4, m - i0 * 4) == 3: ...

A version holds what shares the registers of one allocation, no more; all loops of the very same
length in it get that length. Data is asked for ahead of time to spread the waiting over work that
is done again and again; a version of one iteration streams, which the processor foresees: it has no
such hints, but those for what is near, where there are any. What a test of the length chooses is
chosen. This pass runs after those whose
work is the same for every version.
"""

from __future__ import annotations

from tc.errors import InternalError
from tc.ir.expr import Const, Expr, Var, equal
from tc.ir.interval import Interval, bounds
from tc.ir.loop import (
    Alloc,
    Assert,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.visit import map_stmt, sub_stmts, uses, with_body

MAX_VERSIONS = 32


def versions(func: Func) -> Func:
    """Give every UNROLLED loop of `func` a constant length."""
    while True:
        extent = _variable_extent(func.body, {})
        if extent is None:
            return func
        func = with_body(func, _smallest(func.body, *extent))


def _variable_extent(s: Stmt, env: dict[Var, Interval]) -> tuple[Expr, int] | None:
    """The first variable length of a loop to unroll, with its greatest value."""
    match s:
        case For(var, extent, kind, body):
            span = bounds(extent, env)
            if kind is LoopKind.UNROLLED and not isinstance(extent, Const):
                if span.hi is None or span.hi > MAX_VERSIONS:
                    raise InternalError(
                        f"versions: {var.name} in unroll({extent}) is not bounded by {MAX_VERSIONS}"
                    )
                return extent, span.hi
            hi = None if span.hi is None else max(span.hi - 1, 0)
            return _variable_extent(body, {**env, var: Interval(0, hi)})
        case Alloc(_, body):
            return _variable_extent(body, env)
        case Seq(body):
            found = (_variable_extent(b, env) for b in body)
            return next((f for f in found if f is not None), None)
        case If(_, then, other):
            inner = _variable_extent(then, env)
            return inner if inner is not None or other is None else _variable_extent(other, env)
    return None


def _smallest(s: Stmt, extent: Expr, longest: int) -> Stmt:
    """Versions of no more than what must agree: what shares the registers of an allocation."""
    if not any(_unrolls(x, extent) for x in sub_stmts(s)):
        return s
    match s:
        case Alloc(b, body) if b.scope is not Scope.REGISTER or _varies(body, extent):
            return Alloc(b, _smallest(body, extent, longest))
        case For(var, n, kind, body) if not _unrolls(s, extent):
            return For(var, n, kind, _smallest(body, extent, longest))
        case Seq(body):
            return Seq(tuple(_smallest(b, extent, longest) for b in body))
        case If(cond, then, other):
            no = None if other is None else _smallest(other, extent, longest)
            return If(cond, _smallest(then, extent, longest), no)
    return _choose(s, extent, longest)


def _varies(s: Stmt, extent: Expr) -> bool:
    """Whether the length changes with a loop in `s`, outside of which it means nothing."""
    return any(isinstance(x, For) and uses(extent, x.var) for x in sub_stmts(s))


def _unrolls(s: Stmt, extent: Expr) -> bool:
    return isinstance(s, For) and s.kind is LoopKind.UNROLLED and s.extent == extent


def specialize_extent(s: Stmt, extent: Expr, longest: int) -> Stmt:
    """`s` with the body of the innermost loop that `extent` depends on in versions 1 … longest."""
    match s:
        case For(var, n, kind, body):
            inner = [x for x in sub_stmts(body) if isinstance(x, For)]
            if any(x.extent == extent for x in inner):
                if any(uses(extent, x.var) for x in inner):
                    return For(var, n, kind, specialize_extent(body, extent, longest))
                if uses(extent, var):
                    return For(var, n, kind, _choose(body, extent, longest))
                return For(var, n, kind, specialize_extent(body, extent, longest))
            return _choose(s, extent, longest) if n == extent else s
        case Alloc(b, body):
            return Alloc(b, specialize_extent(body, extent, longest))
        case Seq(body):
            return Seq(tuple(specialize_extent(b, extent, longest) for b in body))
        case If(cond, then, other):
            no = None if other is None else specialize_extent(other, extent, longest)
            return If(cond, specialize_extent(then, extent, longest), no)
    return s


def _choose(body: Stmt, extent: Expr, longest: int) -> Stmt:
    """The versions in a chain of tests, the longest first: most tiles are whole."""
    # Where the loops do not run at all, what is beside them still does.
    out = _without(body, extent)
    for length in range(1, longest + 1):
        out = If(equal(extent, length), _with_length(body, extent, length), out)
    return Seq(()) if out is None else out


def _without(body: Stmt, extent: Expr) -> Stmt | None:
    """`body` without the loops of that length; None if nothing is left to do."""

    def fn(x: Stmt) -> Stmt | None:
        gone = isinstance(x, Prefetch) or (isinstance(x, For) and x.extent == extent)
        return Seq(()) if gone else None

    out = map_stmt(body, None, fn)
    works = any(isinstance(x, Store | Update | Assert) for x in sub_stmts(out))
    return out if works else None


def _with_length(s: Stmt, extent: Expr, length: int) -> Stmt:
    tests = [equal(extent, n) for n in range(1, MAX_VERSIONS + 1)]

    def fn(x: Stmt) -> Stmt | None:
        if isinstance(x, For) and x.extent == extent:
            return For(x.var, Const(length), x.kind, x.body)
        if isinstance(x, If) and x.cond in tests:
            return x.then if x.cond == tests[length - 1] else x.other or Seq(())
        gone = isinstance(x, Prefetch) and x.near != (length == 1)
        return Seq(()) if gone else None

    return map_stmt(s, None, fn)
