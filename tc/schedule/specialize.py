"""Versions of code for known values: exact tile heights, known sizes."""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Sym, equal
from tc.ir.interval import bounds
from tc.ir.loop import Alloc, Buffer, For, Func, If, Seq, Stmt
from tc.ir.simplify import simplify
from tc.ir.visit import map_expr, map_stmt, uses
from tc.schedule.rewrite import env_of, find_loops, header, loops, path_to, primitive, refuse

MAX_VERSIONS = 32


@primitive
def specialize(func: Func, loop: str) -> Func:
    """Write one version of the surrounding body for each length that `loop` can have.

    Other loops of the very same length get it too.

    rewrite: for i0: for i1 in range(min(4, n - i0 * 4)): body
    into:    for i0:
                 if min(4, n - i0 * 4) == 4: for i1 in range(4): body
                 if min(4, n - i0 * 4) == 3: for i1 in range(3): body
                 ...

    Each version has constant lengths, so that its loops unroll and its tiles stay in registers.
    Raises ScheduleError: no such loop, or a length without a small constant bound.
    """
    found = [x for x in find_loops(func, "specialize", loop) if not isinstance(x.extent, Const)]
    for extent in dict.fromkeys(x.extent for x in found):
        func = _specialize_extent(func, loop, extent)
    return func


def _specialize_extent(func: Func, loop: str, extent: Expr) -> Func:
    env = env_of(path_to(func.body, loop))
    hi = bounds(extent, env).hi
    if hi is None or hi > MAX_VERSIONS:
        place = next(x for x in loops(func.body) if x.var.name == loop)
        raise refuse(
            "specialize", header(place), f"its length is not known to be at most {MAX_VERSIONS}",
            "split the loop with tail=ragged or tail=balanced first",
        )  # fmt: skip

    def versions(body: Stmt) -> Stmt:
        out: Stmt | None = None
        for length in range(1, hi + 1):
            out = If(equal(extent, length), _with_length(body, extent, length), out)
        return body if out is None else out

    def place(s: Stmt) -> Stmt:
        """The body of the innermost loop that the extent depends on gets the versions."""
        match s:
            case For(var, n, kind, body):
                deeper = any(uses(extent, x.var) and x.var != var for x in loops(body))
                if _has(body, loop, extent) and not deeper:
                    return For(var, n, kind, versions(body))
                return For(var, n, kind, place(body))
            case Alloc(b, body):
                return Alloc(b, place(body))
            case Seq(body):
                return Seq(tuple(place(b) for b in body))
            case If(cond, then, other):
                return If(cond, place(then), None if other is None else place(other))
        return s

    return Func(func.name, func.params, func.symbols, func.outputs, place(func.body))


def _has(s: Stmt, loop: str, extent: Expr) -> bool:
    return any(x.var.name == loop and x.extent == extent for x in loops(s))


def _with_length(s: Stmt, extent: Expr, length: int) -> Stmt:
    """Every loop of that extent gets the constant length."""

    def fn(x: Stmt) -> Stmt | None:
        if isinstance(x, For) and x.extent == extent:
            return For(x.var, Const(length), x.kind, x.body)
        return None

    return map_stmt(s, None, fn)


@primitive
def bake(func: Func, symbol: str, value: int) -> Func:
    """Make a symbolic dim a constant of the kernel.

    rewrite: def f(x: f32[n], n: sym[1, 512]): for i in range(n): ...
    into:    def f(x: f32[128]): for i in range(128): ...

    Raises ScheduleError: no such symbol, or a value outside its bounds.
    """
    known = {s.name: s for s in func.symbols}
    if symbol not in known:
        names = ", ".join(known) or "none"
        raise ScheduleError(f"bake: {func.name} has no symbol {symbol!r}; it has {names}")
    s = known[symbol]
    if not s.lo <= value <= s.hi:
        raise ScheduleError(f"bake: {symbol} is in [{s.lo}, {s.hi}], it cannot be {value}")

    def fix(x: Expr) -> Expr | None:
        return Const(value) if isinstance(x, Sym) and x.name == symbol else None

    def shrink(b: Buffer) -> Buffer:
        shape = tuple(simplify(map_expr(d, fix)) for d in b.shape)
        return Buffer(b.name, shape, b.dtype, b.scope, b.align)

    body = map_stmt(func.body, fix)
    params = tuple(shrink(p) for p in func.params)
    for p in params:
        from tc.ir.visit import replace_buffer

        body = replace_buffer(body, p.name, p)
    rest = tuple(x for x in func.symbols if x.name != symbol)
    return Func(func.name, params, rest, func.outputs, body)
