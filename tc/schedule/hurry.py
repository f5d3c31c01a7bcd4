"""Asking for a block while it is read, where nobody else is there to do so before."""

from __future__ import annotations

from tc.ir.expr import Const, Var, equal
from tc.ir.loop import For, Func, If, Stmt, seq
from tc.ir.visit import map_stmt, substitute_stmt
from tc.schedule.prefetch import in_line, next_block, reads
from tc.schedule.rewrite import (
    check_factor,
    find_loops,
    find_param,
    header,
    loops,
    path_to,
    primitive,
    refuse,
    rewrite_loops,
)


@primitive
def hurry(
    func: Func,
    buffer: str,
    loop: str,
    tiles: str,
    steps: str,
    rows: str,
    lines: int,
    ahead: int,
    most: int = 4,
) -> Func:
    """Where a single tile of a few rows meets a block, ask for it a little ahead of reading it.

    rewrite: for j in range(n):
                 for t in range(tiles):
                     for k in range(l):
                         for i in range(rows): ... b[j, k, ...] ...
    into:    for j in range(n):
                 for t in range(tiles):
                     if tiles == 1 and 1 < rows <= most:
                         for kh in range(l):
                             prefetch b[j, ..., kh * step + ahead // element]
                             for i in range(rows): ... b[j, kh, ...] ...
                     else: for k in range(l): ...

    `lines` cache lines from `ahead` bytes behind what is being read. Other tiles of a block would
    ask for the next one meanwhile; alone, a tile has time for a part of it, and what it has asked
    for by the way keeps the processor from seeing a stream. A single row, which does little else
    than read, is left to the processor, and many compute for longer than they wait. Steps for `k`
    say nothing of `kh`.
    Raises ScheduleError: as `prefetch`, and no loop `rows` inside `steps`.
    """
    check_factor("hurry", lines)
    check_factor("hurry", ahead)
    check_factor("hurry", most)
    param = find_param(func, "hurry", buffer)
    for name in (loop, tiles, steps, rows):
        find_loops(func, "hurry", name)
    nest = path_to(func.body, steps)
    names = [x.var.name for x in nest]
    heights = [x.extent for x in loops(nest[-1].body) if x.var.name == rows]
    if [n for n in names if n in (loop, tiles, steps)] != [loop, tiles, steps] or not heights:
        raise refuse(
            "hurry", header(nest[-1]), f"the loops around it are {', '.join(names)}",
            f"name {loop}, {tiles} and {steps} in that order, and {rows} inside",
        )  # fmt: skip
    around, *inside = nest[names.index(loop) :]
    block = next_block("hurry", func, param, around, [steps])
    hints = in_line(block, inside, [steps], lines, ahead, near=False)
    (count,) = (x.extent for x in inside if x.var.name == tiles)
    alone = equal(count, Const(1)) & (Const(1) < heights[0]) & (heights[0] <= most)

    def versions(s: Stmt) -> Stmt | None:
        if not isinstance(s, For) or s.var.name != steps or not reads(s, param):
            return None
        own = Var(f"{steps}h")
        body = substitute_stmt(seq(*hints, s.body), {s.var: own})
        return If(alone, For(own, s.extent, s.kind, body), s)

    return rewrite_loops(func, "hurry", tiles, lambda x: map_stmt(x, None, versions))
