"""Scratch buffers whose size follows a loop's variable become as large as any iteration needs.

    for i in range(M): with t = alloc(f32[i + 1], scratch)  =>  ... alloc(f32[M - 1 + 1], scratch)

Places in scratch memory are given out before a kernel runs, so that they may depend on symbols
alone. Buffers are flat here: no index changes with their size. This pass must not change what is
computed.
"""

from __future__ import annotations

from collections.abc import Iterator

from tc.errors import ScheduleError, describe
from tc.ir.expr import Binary, Const, Expr, Load, Select, Sym, Var, binary, maximum
from tc.ir.loop import Alloc, Buffer, For, Func, If, Prefetch, Scope, Seq, Stmt, Store
from tc.ir.passes.rewrite import Rewriter
from tc.ir.visit import map_stmt, rewrite_exprs, uses, with_body


def bound_scratch(func: Func) -> Func:
    """`func` with scratch buffers whose sizes are expressions over symbols.

    Raises:
        ScheduleError: a size follows a loop's variable in a way that nothing is known of.
    """
    new = dict(_bounded(func.body, ()))
    if not new:
        return func

    def load(x: Expr) -> Expr | None:
        if isinstance(x, Load) and x.buffer in new:
            return Load(new[x.buffer], x.indices, x.mask)
        return None

    def stmt(s: Stmt) -> Stmt | None:
        match s:
            case Store(b, indices, value, mask) if b in new:
                return Store(new[b], indices, value, mask)
            case Prefetch(b, indices, near) if b in new:
                return Prefetch(new[b], indices, near)
            case Alloc(b, body) if b in new:
                return Alloc(new[b], body)
        return None

    return with_body(func, map_stmt(rewrite_exprs(func.body, Rewriter(load)), None, stmt))


def _bounded(s: Stmt, around: tuple[For, ...]) -> Iterator[tuple[Buffer, Buffer]]:
    """The buffers whose size follows one of the loops, each with what takes its place."""
    match s:
        case For(body=body):
            yield from _bounded(body, (*around, s))
        case Seq(body):
            for b in body:
                yield from _bounded(b, around)
        case If(_, then, other):
            yield from _bounded(then, around)
            if other is not None:
                yield from _bounded(other, around)
        case Alloc(buffer, body):
            if buffer.scope is Scope.SCRATCH and (size := _size(buffer, around)) is not None:
                yield buffer, Buffer(buffer.name, (size,), buffer.dtype, buffer.scope, buffer.align)
            yield from _bounded(body, around)


def _size(buffer: Buffer, around: tuple[For, ...]) -> Expr | None:
    """The most elements that any iteration wants; None where that does not depend on them."""
    (size,) = found = buffer.shape
    for x in reversed(around):
        if uses(size, x.var):
            size = _end(size, x.var, maximum(x.extent - 1, 0), 1)
    return None if size is found[0] else size


def _end(x: Expr, var: Var, last: Expr, sign: int) -> Expr:
    """A bound of `x` while `var` runs from 0 to `last`: an upper one for sign 1, a lower for -1."""

    def end(y: Expr, way: int = 1) -> Expr:
        return _end(y, var, last, sign * way)

    match x:
        case Var() if x == var:
            return last if sign > 0 else Const(0)
        case Binary("add" | "min" | "max" as op, a, b):
            return binary(op, end(a), end(b))
        case Binary("sub", a, b):
            return end(a) - end(b, -1)
        case Binary("mul", a, Const() as b) | Binary("mul", Const() as b, a):
            return end(a, 1 if int(b.value) >= 0 else -1) * b
        case Binary("mul", a, Sym() as b) | Binary("mul", Sym() as b, a) if (b.lo or 0) >= 0:
            return end(a) * b
        case Binary("floordiv", a, Const() as b) if int(b.value) > 0:
            return end(a) // b
        case Binary("mod", _, Const() as b) if int(b.value) > 0 and uses(x, var):
            return b - 1 if sign > 0 else Const(0)
        case Select(_, a, b) if uses(x, var):
            return binary("max" if sign > 0 else "min", end(a), end(b))
    if not uses(x, var):
        return x
    raise ScheduleError(
        describe(
            "scratch memory",
            where=f"a buffer of {x} elements",
            why=f"nothing bounds that while {var.name} runs",
            way_out="compute the buffer in an outer loop",
        )
    )
