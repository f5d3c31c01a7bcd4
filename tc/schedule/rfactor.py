"""Splitting a reduction into partial reductions that run in vector lanes."""

from __future__ import annotations

from tc.ir.expr import Const, Expr, Load, Var
from tc.ir.loop import Alloc, Buffer, For, Func, If, LoopKind, Scope, Stmt, Store, Update, seq
from tc.ir.monoid import Monoid
from tc.ir.simplify import simplify
from tc.ir.visit import loads_of, map_stmt, sub_stmts, substitute_stmt, uses
from tc.schedule.rewrite import check_factor, header, primitive, refuse, rewrite_loops


@primitive
def rfactor(func: Func, loop: str, lanes: int, rows: int = 1) -> Func:
    """Reduce `rows` x `lanes` partial results side by side, then fold them into one.

    rewrite: for k in range(n): acc[] <sum>= f(k)
    into:    with part = alloc(f32[rows, lanes], register):
                 part[...] = 0
                 for k0 in range(n // (rows * lanes)):
                     for k1 in unroll(rows):
                         for kv in vector(lanes): part[k1, kv] <sum>= f(...)
                 ...                          # what is left, in guarded vectors
                 acc[] <sum>= part[k1, kv]    # for all k1, kv

    Raises ScheduleError: no such loop, a loop that is no reduction, lanes or rows below 1.
    """
    check_factor("rfactor", lanes)
    check_factor("rfactor", rows)
    return rewrite_loops(func, "rfactor", loop, lambda x: _rfactor(x, lanes, rows))


def _rfactor(x: For, lanes: int, rows: int) -> Stmt:
    update = _the_update(x)
    monoid, accs, at = update.monoid, update.buffers, update.indices
    parts = tuple(
        Buffer(f"{b.name}_{x.var.name}", (Const(rows), Const(lanes)), b.dtype, Scope.REGISTER)
        for b in accs
    )
    name, n = x.var.name, simplify(x.extent)
    row, lane = Var(name + "1"), Var(name + "v")
    block = Const(rows * lanes)

    def body(start: Expr, r: Expr) -> Stmt:
        moved = _redirect(x.body, update, parts, (r, lane))
        return substitute_stmt(moved, {x.var: start})

    def nest(inner: Stmt) -> Stmt:
        return For(row, Const(rows), LoopKind.UNROLLED, _vector(lane, lanes, inner))

    inits = seq(*[Store(p, (row, lane), i) for p, i in zip(parts, monoid.identity, strict=True)])
    outer = Var(name + "0")
    main = For(
        outer, simplify(n // block), LoopKind.SERIAL,
        nest(body(outer * block + row * lanes + lane, row)),
    )  # fmt: skip
    out: Stmt = seq(
        nest(inits), main, *_left_over(x, n, block, lanes, body),
        *_fold(monoid, accs, at, parts, lane),
    )  # fmt: skip
    for p in reversed(parts):
        out = Alloc(p, out)
    return out


def _left_over(x: For, n: Expr, block: Const, lanes: int, body: object) -> list[Stmt]:
    """Guarded vectors for the elements beyond the last whole block."""
    left = simplify(n % block)
    if left == Const(0):
        return []
    start = simplify(n // block) * block
    outer, lane = Var(x.var.name + "t"), Var(x.var.name + "v")
    k = start + outer * lanes + lane
    inner: Stmt = body(k, Const(0))  # type: ignore[operator]
    if simplify(left % lanes) != Const(0):
        inner = If(k < n, inner)
    count = simplify((left + (lanes - 1)) // lanes)
    return [For(outer, count, LoopKind.SERIAL, _vector(lane, lanes, inner))]


def _fold(
    monoid: Monoid,
    accs: tuple[Buffer, ...],
    at: tuple[Expr, ...],
    parts: tuple[Buffer, ...],
    lane: Var,
) -> list[Stmt]:
    """All rows into the first, then its lanes into the accumulator."""
    rows, lanes = (int(d.value) for d in parts[0].shape if isinstance(d, Const))
    out: list[Stmt] = []
    for r in range(1, rows):
        values = tuple(Load(p, (Const(r), lane)) for p in parts)
        step = Update(monoid, parts, (Const(0), lane), values)
        out.append(_vector(lane, lanes, step))
    last = Update(monoid, accs, at, tuple(Load(p, (Const(0), lane)) for p in parts))
    kind = LoopKind.VECTOR if len(accs) == 1 else LoopKind.UNROLLED
    out.append(For(lane, Const(lanes), kind, last))
    return out


def _vector(lane: Var, lanes: int, body: Stmt) -> Stmt:
    return For(lane, Const(lanes), LoopKind.VECTOR, body)


def _the_update(x: For) -> Update:
    stores = [s for s in sub_stmts(x.body) if isinstance(s, Store)]
    updates = [s for s in sub_stmts(x.body) if isinstance(s, Update)]
    if stores or len(updates) != 1 or any(uses(i, x.var) for i in updates[0].indices):
        raise refuse(
            "rfactor", header(x), "it is not a plain reduction into one accumulator",
            "apply rfactor to a reduction loop before the loops around it are reordered",
        )  # fmt: skip
    if any(isinstance(s, For) for s in sub_stmts(x.body)):
        raise refuse("rfactor", header(x), "there are loops inside it", "choose the innermost loop")
    accs = {b.name for b in updates[0].buffers}
    if any(n.buffer.name in accs for n in loads_of(x.body)):
        raise refuse(
            "rfactor", header(x), "its values depend on what is reduced so far",
            "keep this loop as it is",
        )  # fmt: skip
    return updates[0]


def _redirect(s: Stmt, update: Update, parts: tuple[Buffer, ...], at: tuple[Expr, ...]) -> Stmt:
    def fn(x: Stmt) -> Stmt | None:
        if isinstance(x, Update) and x.buffers == update.buffers:
            return Update(x.monoid, parts, at, x.values)
        return None

    return map_stmt(s, None, fn)
