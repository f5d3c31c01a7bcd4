"""Versions of code for known values: exact tile heights, known sizes."""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Sym
from tc.ir.interval import bounds
from tc.ir.loop import Buffer, Func
from tc.ir.passes.versions import MAX_VERSIONS, specialize_extent
from tc.ir.simplify import simplify
from tc.ir.visit import map_expr, map_stmt, replace_buffer, with_body
from tc.schedule.rewrite import env_of, find_loops, header, path_to, primitive, refuse


@primitive
def specialize(func: Func, loop: str) -> Func:
    """Write one version of the surrounding body for each length that `loop` can have.

    Other loops of the very same length get it too. A loop to unroll gets its versions without
    this step; it is for loops that stay loops.

    rewrite: for i0: for i1 in range(min(4, n - i0 * 4)): body
    into:    for i0:
                 if min(4, n - i0 * 4) == 4: for i1 in range(4): body
                 else: if min(4, n - i0 * 4) == 3: for i1 in range(3): body
                 ...

    Raises ScheduleError: no such loop, or a length without a small constant bound.
    """
    found = [x for x in find_loops(func, "specialize", loop) if not isinstance(x.extent, Const)]
    for extent in dict.fromkeys(x.extent for x in found):
        hi = bounds(extent, env_of(path_to(func.body, loop))).hi
        if hi is None or hi > MAX_VERSIONS:
            place = next(x for x in found if x.extent == extent)
            raise refuse(
                "specialize", header(place), f"its length may be greater than {MAX_VERSIONS}",
                "split the loop first with tail=ragged or tail=balanced",
            )  # fmt: skip
        func = with_body(func, specialize_extent(func.body, extent, hi))
    return func


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
        body = replace_buffer(body, p.name, p)
    rest = tuple(x for x in func.symbols if x.name != symbol)
    return Func(func.name, params, rest, func.outputs, body)
