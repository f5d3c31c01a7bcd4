"""In which order the dims of a local buffer lie in memory."""

from __future__ import annotations

from tc.ir.expr import Expr
from tc.ir.loop import Alloc, Buffer, Func, Stmt, Update
from tc.ir.visit import map_accesses, map_stmt, sub_stmts, with_body
from tc.schedule.rewrite import find_alloc, primitive, refuse


@primitive
def permute(func: Func, buffer: str, *dims: int) -> Func:
    """Let the dims of a local `buffer` lie in another order, the last one contiguous.

    rewrite: with t = alloc(f32[n, 4]):          with t = alloc(f32[4, n]):
                 t[i, j] = x                into:    t[j, i] = x                  # permute(t, 1, 0)

    Raises ScheduleError: no such local buffer, dims that are no permutation of its own, or one of
    several states that are updated together.
    """
    old = find_alloc(func, "permute", buffer).buffer
    if sorted(dims) != list(range(len(old.shape))):
        raise refuse(
            "permute", buffer, f"{dims} is no order of its {len(old.shape)} dims",
            "name each dim once",
        )  # fmt: skip

    for x in sub_stmts(func.body):
        if isinstance(x, Update) and len(x.buffers) > 1 and buffer in {b.name for b in x.buffers}:
            states = ", ".join(b.name for b in x.buffers)
            raise refuse(
                "permute", buffer, f"{states} are updated together, at the same indices",
                "permute a buffer with one state",
            )  # fmt: skip

    def stmt(s: Stmt) -> Stmt | None:
        if not isinstance(s, Alloc) or s.buffer.name != buffer:
            return None
        b = s.buffer
        new = Buffer(b.name, tuple(b.shape[d] for d in dims), b.dtype, b.scope, b.align)

        def move(index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
            return new, tuple(index[d] for d in dims)

        return Alloc(new, map_accesses(s.body, buffer, move))

    return with_body(func, map_stmt(func.body, None, stmt))
