"""Summing in blocks, between which the accumulator waits in memory."""

from __future__ import annotations

from tc.ir.expr import Const, Load, Var, equal, maximum, minimum
from tc.ir.loop import Alloc, Buffer, For, Func, If, LoopKind, Scope, Seq, Stmt, Store, Update, seq
from tc.ir.simplify import simplify
from tc.ir.visit import loads_of, map_stmt, sub_stmts, substitute_stmt, with_body
from tc.schedule.rewrite import (
    check_factor,
    find_alloc,
    find_loops,
    primitive,
    refuse,
    stored_buffers,
)


@primitive
def partial(func: Func, acc: str, loop: str, length: int) -> Func:
    """Reduce over `length` iterations of `loop` at a time; in between, `acc` is kept in memory.

    rewrite: with acc = alloc(f32[I], register):      with acc_part = alloc(f32[I], scratch):
                 for i: acc[i] = 0                        for k0 in range(ceil(n / length)):
                 for k in range(n):                           with acc = alloc(f32[I], register):
                     for i: acc[i] += x         into:             if k0 == 0: for i: acc[i] = 0
                 for i: y[i] = f(acc[i])                          else: for i: acc[i] = acc_part[i]
                                                                  for k1 in range(length):
                                                                      for i: acc[i] += x
                                                                  if last: for i: y[i] = f(acc[i])
                                                                  else: for i: acc_part[i] = acc[i]

    The loop `<loop>0` may then be moved outwards, so that the block of an operand that all
    tiles read stays in a small cache (Goto and van de Geijn, "Anatomy of high-performance matrix
    multiplication", section 4.2). A loop of no more than `length` iterations is left as it is.
    Raises ScheduleError: no such buffer or loop, length < 1, or a buffer that is not set, reduced
    by that loop, and used, in this order.
    """
    check_factor("partial", length)
    find_alloc(func, "partial", acc)
    find_loops(func, "partial", loop)

    def fn(s: Stmt) -> Stmt | None:
        if not isinstance(s, Alloc) or s.buffer.name != acc:
            return None
        return _in_blocks(s, loop, length)

    return with_body(func, map_stmt(func.body, None, fn))


def _in_blocks(s: Alloc, loop: str, length: int) -> Stmt:
    acc = s.buffer
    parts = s.body.body if isinstance(s.body, Seq) else (s.body,)
    at = next((n for n, p in enumerate(parts) if isinstance(p, For) and p.var.name == loop), None)
    if at is None:
        raise refuse(
            "partial", acc.name, f"the loop {loop!r} is not one of the statements it lives for",
            "reorder the loops so that the reduction stands directly inside its allocation",
        )  # fmt: skip
    before, reduction, after = seq(*parts[:at]), parts[at], seq(*parts[at + 1 :])
    assert isinstance(reduction, For)
    if stored_buffers(before) != {acc.name} or stored_buffers(reduction.body) != {acc.name}:
        raise refuse(
            "partial", acc.name, f"other buffers are written before or inside {loop!r}",
            "apply it to an accumulator of one value, before its loops are merged with others",
        )  # fmt: skip
    if any(isinstance(x, Update) for x in sub_stmts(before)):
        raise refuse(
            "partial", acc.name, f"another loop reduces into it before {loop!r}",
            "apply it where one loop does all of the reduction",
        )  # fmt: skip
    if acc.name in stored_buffers(after) or not any(x.buffer == acc for x in loads_of(after)):
        raise refuse(
            "partial", acc.name, f"it is not simply used after {loop!r}",
            "apply it where one loop does all of the reduction",
        )  # fmt: skip
    extent = simplify(reduction.extent)
    if isinstance(extent, Const) and int(extent.value) <= length:
        return s
    return _blocks(acc, before, reduction, after, length)


def _blocks(acc: Buffer, before: Stmt, reduction: For, after: Stmt, length: int) -> Stmt:
    n = simplify(reduction.extent)
    block, inner = Var(reduction.var.name + "0"), Var(reduction.var.name + "1")
    # A reduction over nothing still has its result.
    count = simplify(maximum((n + (length - 1)) // length, Const(1)))
    kept = Buffer(f"{acc.name}_part", acc.shape, acc.dtype, Scope.SCRATCH, acc.align)
    start = block * length
    body = substitute_stmt(reduction.body, {reduction.var: start + inner})
    even = simplify(n % length) == Const(0)
    some = For(
        inner, Const(length) if even else simplify(minimum(Const(length), n - start)),
        reduction.kind, body,
    )  # fmt: skip

    def resumed(x: Stmt) -> Stmt | None:
        return Store(acc, x.indices, Load(kept, x.indices)) if isinstance(x, Store) else None

    def put_off(x: Stmt) -> Stmt | None:
        return Store(kept, x.indices, Load(acc, x.indices)) if isinstance(x, Store) else None

    first, last = equal(block, Const(0)), equal(block, simplify(count - 1))
    begin = If(first, before, map_stmt(before, None, resumed))
    end = If(last, after, map_stmt(before, None, put_off))
    return Alloc(kept, For(block, count, LoopKind.SERIAL, Alloc(acc, seq(begin, some, end))))
