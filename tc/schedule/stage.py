"""Keeping what follows a reduction apart from it, through a small buffer."""

from __future__ import annotations

from tc.ir.expr import Expr, Load
from tc.ir.loop import Alloc, Buffer, For, Func, Scope, Seq, Stmt, Store, seq
from tc.ir.visit import map_stmt, with_body
from tc.schedule.rewrite import find_alloc, primitive, refuse, stored_buffers


@primitive
def stage(func: Func, acc: str) -> Func:
    """Hand the result of accumulator `acc` on through scratch memory.

    rewrite: with acc = alloc(f32[], register):     with acc_out = alloc(f32[], scratch):
                 acc[] = 0                              with acc = alloc(f32[], register):
                 for k: acc[] += x         into:            acc[] = 0
                 y[i] = f(acc[])                            for k: acc[] += x
                                                            acc_out[] = acc[]
                                                        y[i] = f(acc_out[])

    An epilogue that is long then stays a loop over the tile while the reduction is unrolled in
    registers, at the cost of one trip through the L1 cache.
    Raises ScheduleError: no such accumulator, or one that is not reduced at the place of its
    allocation (stage comes before the loops are reordered).
    """
    find_alloc(func, "stage", acc)

    def fn(s: Stmt) -> Stmt | None:
        return _stage(s) if isinstance(s, Alloc) and s.buffer.name == acc else None

    return with_body(func, map_stmt(func.body, None, fn))


def _stage(s: Alloc) -> Stmt:
    b = s.buffer
    parts = s.body.body if isinstance(s.body, Seq) else (s.body,)
    last = max((n for n, p in enumerate(parts) if b.name in stored_buffers(p)), default=-1)
    before, after = parts[: last + 1], parts[last + 1 :]
    if b.shape or not any(isinstance(p, For) for p in before) or not after:
        raise refuse(
            "stage", b.name, "nothing follows its reduction here",
            "apply stage before reordering the loops around the reduction",
        )  # fmt: skip
    out = Buffer(f"{b.name}_out", (), b.dtype, Scope.SCRATCH)

    def moved(x: Expr) -> Expr | None:
        return Load(out, ()) if isinstance(x, Load) and x.buffer.name == b.name else None

    inner = Alloc(b, seq(*before, Store(out, (), Load(b, ()))))
    return Alloc(out, seq(inner, *[map_stmt(p, moved) for p in after]))
