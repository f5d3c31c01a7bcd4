"""A reduction that reads from several places of its operand at once."""

from __future__ import annotations

from tc.ir.expr import Const, Load, Var, equal
from tc.ir.loop import (
    Alloc,
    Buffer,
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
    seq,
)
from tc.ir.simplify import simplify
from tc.ir.visit import loads_of, map_stmt, sub_stmts, substitute_stmt, uses
from tc.schedule.rewrite import check_factor, find_loops, header, primitive, refuse, rewrite_loops


@primitive
def streams(func: Func, loop: str, count: int, over: str = "") -> Func:
    """Run `count` equal parts of the reduction `loop` side by side, with sums of their own.

    rewrite: for k in range(n):
                 for j: acc[j] <sum>= f(k)
    into:    with acc_streams = alloc(f32[count, J], register):
                 for ks in unroll(count): for j: acc_streams[ks, j] = 0
                 for k in range(n / count):
                     for ks in unroll(count):
                         for j: acc_streams[ks, j] <sum>= f(ks * (n / count) + k)
                 for ks in unroll(count): for j: acc[j] <sum>= acc_streams[ks, j]

    Memory is read ahead within a page alone, and a page that is met for the first time costs a
    walk through the page tables: one stream waits at each page, several seldom all at once. It
    takes that many times the registers, so with `over` it is done only where that loop, inside
    `loop`, has one iteration. Hints for what is read later by others are left out there.
    Raises ScheduleError: no such loop, a length that is not known or not divisible by `count`,
    more in the loop than one sum without a condition, or no such loop `over` in it.
    """
    check_factor("streams", count)
    found = find_loops(func, "streams", loop)
    if over:
        find_loops(func, "streams", over)
    for x in found:
        _check(x, count, over)
    return rewrite_loops(func, "streams", loop, lambda x: _streams(x, count, over))


def _check(x: For, count: int, over: str) -> None:
    n = simplify(x.extent)
    if not isinstance(n, Const) or int(n.value) % count:
        raise refuse(
            "streams", header(x), f"its length is no multiple of {count}", "choose another count"
        )
    inside = list(sub_stmts(x.body))
    sums = [s for s in inside if isinstance(s, Update)]
    plain = all(isinstance(s, For | Seq | Update | Prefetch) for s in inside)
    reduced = not any(uses(i, x.var) for s in sums for i in s.indices) and not any(
        load.buffer in s.buffers for s in sums for load in loads_of(x.body)
    )
    if len(sums) != 1 or not plain or not reduced or len(sums[0].buffers) != 1:
        raise refuse(
            "streams", header(x), "it does more than to sum up one value",
            "apply it to a plain reduction, without conditions",
        )  # fmt: skip
    if over and not any(isinstance(s, For) and s.var.name == over for s in inside):
        raise refuse("streams", header(x), f"{over} is not inside it", "name a loop that is")


def _streams(x: For, count: int, over: str) -> Stmt:
    (update,) = (s for s in sub_stmts(x.body) if isinstance(s, Update))
    (acc,), n = update.buffers, simplify(x.extent)
    assert isinstance(n, Const)
    own = Buffer(
        f"{acc.name}_streams", (Const(count), *acc.shape), acc.dtype, Scope.REGISTER, acc.align
    )
    part, length = Var(f"{x.var.name}s"), Const(int(n.value) // count)
    at = (part, *update.indices)

    def moved(s: Stmt) -> Stmt | None:
        if isinstance(s, Update):
            return Update(s.monoid, (own,), at, s.values)
        return Seq(()) if isinstance(s, Prefetch) and not s.near else None

    def parts(body: Stmt) -> Stmt:
        return For(part, Const(count), LoopKind.UNROLLED, body)

    def elements(body: Stmt) -> Stmt:
        around = [s for s in sub_stmts(x.body) if isinstance(s, For)]
        for y in reversed(around):
            if any(uses(i, y.var) for i in update.indices):
                body = For(y.var, y.extent, y.kind, body)
        return body

    (zero,) = update.monoid.identity
    body = substitute_stmt(map_stmt(x.body, None, moved), {x.var: part * length + x.var})
    made = Alloc(
        own,
        seq(
            parts(elements(Store(own, at, zero))),
            For(x.var, length, x.kind, parts(body)),
            parts(elements(Update(update.monoid, (acc,), update.indices, (Load(own, at),)))),
        ),
    )
    lengths = {s.extent for s in sub_stmts(x.body) if isinstance(s, For) and s.var.name == over}
    if not over or lengths == {Const(1)}:
        return made
    return If(equal(lengths.pop(), Const(1)), made, x)
