"""Asking for data before it is needed, spread over work that needs other data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tc.frozen import frozen
from tc.ir.expr import Const, Expr, Var, maximum, select
from tc.ir.interval import bounds
from tc.ir.loop import Buffer, For, Func, Prefetch, Stmt, seq
from tc.ir.simplify import simplifier, simplify
from tc.ir.visit import loads_of, map_stmt, substitute, uses
from tc.schedule.rewrite import (
    check_factor,
    env_of,
    find_loops,
    find_param,
    header,
    loops,
    path_to,
    primitive,
    refuse,
    rewrite_loops,
)

LINE: Final = 64  # bytes that a processor fetches together


@primitive
def prefetch(
    func: Func, buffer: str, loop: str, *over: str, lines: int = 1, near: int = 0, rows: int = 0
) -> Func:
    """Ask for what the next iteration of `loop` reads of `buffer`, during this one.

    rewrite: for j in range(n):
                 for i in range(m):
                     for k in range(l): ... b[j, k, ...] ...
    into:    for j in range(n):
                 for i in range(m):
                     for k in range(l):
                         prefetch b[j + 1, ..., (i * l + k) * step]
                         ... b[j, k, ...] ...

    The block that lies between what two iterations of `loop` read first is divided evenly between
    the iterations of the loops `over`, outermost first: `step` is how many elements there are for
    each, which asks for `lines` cache lines from there on. A processor that meets new data at
    every iteration of `loop` only then asks for it waits for memory first and has nothing to ask
    for afterwards.

    With `near`, what is asked for lies that many bytes behind what is being read, for one pass
    over b[j] as a stream:

                         prefetch near b[j, ..., (i * l + k) * step + near // element]

    Where the lengths of a loop become versions, those of one iteration have these hints alone.

    With `rows`, a block is rows of that many elements, parts of the last dim that may lie apart
    in memory; each iteration asks for the next `lines` of theirs, `per` to a row:

                         prefetch b[j + 1 + n // per, ..., n % per * (64 // element)]
                         # with n = (i * l + k) * lines, and those after it

    Loops beside those `over`, such as the tails of a tiled loop, read the block without hints.
    Raises ScheduleError: no such loops or parameter, loops that are not nested in this order,
    lines below 1, near or rows below 0, near with rows, no rows, or a buffer of which each
    iteration of `loop` does not read a block of its own.
    """
    check_factor("prefetch", lines)
    for number in (near, rows):
        if number:
            check_factor("prefetch", number)
    param = find_param(func, "prefetch", buffer)
    if not over:
        raise refuse("prefetch", buffer, "no loops are given", "name those around the reads")
    for name in (loop, *over):
        find_loops(func, "prefetch", name)
    nest = path_to(func.body, over[-1])
    places = [n for n, x in enumerate(nest) if x.var.name in (loop, *over)]
    if [nest[n].var.name for n in places] != [loop, *over]:
        around = ", ".join(x.var.name for x in nest)
        raise refuse(
            "prefetch", header(nest[-1]), f"the loops around it are {around}",
            f"name {loop} and those inside it in that order",
        )  # fmt: skip
    block = next_block("prefetch", func, param, nest[places[0]], over)
    if rows:
        if near:
            raise refuse("prefetch", buffer, "near and rows are both given", "leave one of them")
        hints = _in_rows(block, nest[places[0] :], over, lines, rows)
    else:
        hints = in_line(block, nest[places[1] :], over, lines, near, near=near > 0)

    def innermost(s: Stmt) -> Stmt | None:
        if not isinstance(s, For) or s.var.name != over[-1] or not reads(s, param):
            return None
        return For(s.var, s.extent, s.kind, seq(*hints, s.body))

    return rewrite_loops(func, "prefetch", over[0], lambda x: map_stmt(x, None, innermost))


@frozen
class Block:
    """Where what the next iteration reads begins, the dim of its places, how many elements."""

    buffer: Buffer
    start: tuple[Expr, ...]
    dim: int
    size: Expr


def in_line(
    block: Block, nest: Sequence[For], over: Sequence[str], lines: int, ahead: int, near: bool
) -> list[Prefetch]:
    """Hints for a block as one run of elements.

    `ahead`: bytes from what is being read, for a hint within the same block; 0: for the next one.
    """
    param, dtype = block.buffer, block.buffer.dtype
    number, count = _number(nest, over)
    zeros: list[Expr] = [Const(0)] * (len(block.start) - block.dim - 1)
    *outer, last = [*block.start[: block.dim + 1], *zeros]
    # The loops run at least once where this is used, but it may be computed in front of them.
    step = simplify((block.size + count - 1) // maximum(count, Const(1)))
    back = ahead // dtype.bytes - block.size if ahead else Const(0)
    first = simplify(last + number * step + back)
    line = LINE // dtype.bytes
    return [Prefetch(param, (*outer, simplify(first + n * line)), near) for n in range(lines)]


def _in_rows(
    block: Block, nest: Sequence[For], over: Sequence[str], lines: int, length: int
) -> list[Prefetch]:
    """Hints for a block of rows of some length, line by line."""
    param = block.buffer
    if block.dim == len(block.start) - 1:
        raise refuse("prefetch", param.name, "a block of it has no rows", "leave rows away")
    number, _ = _number(nest, over)
    line = LINE // param.dtype.bytes
    per = -(-length // line)
    loop = nest[0]
    last = select(loop.var + 1 < loop.extent, loop.var, Const(-1))
    start = [substitute(i, {loop.var: last}) for i in block.start]
    row, *between, column = start[block.dim :]
    hints = []
    for n in range(lines):
        at = number * lines + n
        place = [row + at // per, *between, column + at % per * line]
        indices = (*start[: block.dim], *map(simplify, place))
        hints.append(Prefetch(param, indices, False))
    return hints


def _number(nest: Sequence[For], over: Sequence[str]) -> tuple[Expr, Expr]:
    """The number of an iteration of the loops `over`, and how many there are."""
    number: Expr = Const(0)
    count: Expr = Const(1)
    for x in nest:
        if x.var.name in over:
            count = count * x.extent
            number = number * x.extent + x.var
    return number, count


def reads(x: For, buffer: Buffer) -> bool:
    """Whether anything in a loop reads the buffer."""
    return any(load.buffer.name == buffer.name for load in loads_of(x.body))


def next_block(step: str, func: Func, buffer: Buffer, loop: For, over: Sequence[str]) -> Block:
    """What the innermost of the loops `over` read of it in the next iteration of `loop`.

    Raises ScheduleError, in the name of `step`: see `prefetch`.
    """
    var: Var = loop.var
    env = env_of([*path_to(func.body, var.name), *loops(loop.body)])
    inside: dict[Var, Expr] = {x.var: Const(0) for x in loops(loop.body)}
    found: dict[tuple[Expr, ...], Block] = {}
    outer = (x for x in loops(loop.body) if x.var.name == over[0])
    nests = (x for s in outer for x in loops(s) if x.var.name == over[-1])
    read = (n.indices for x in nests for n in loads_of(x) if n.buffer.name == buffer.name)
    plain = simplifier(env)
    for indices in dict.fromkeys(read):
        first = [substitute(i, inside) for i in indices]
        after = [substitute(i, {var: var + 1}) for i in first]
        size = plain(_flat(buffer, after) - _flat(buffer, first))
        starts = [plain(i) for i in after]
        dim = max((d for d, i in enumerate(starts) if uses(i, var)), default=-1)
        # Where in the block the reads begin does not matter.
        found.setdefault((*starts[: dim + 1], size), Block(buffer, tuple(starts), dim, size))
    # The tail of a loop begins where the block's length says, which is in the same block.
    fixed = [x for x in found.values() if not any(uses(x.size, v) for v in env)]
    blocks = fixed or list(found.values())
    if len(blocks) != 1:
        why = "is not read there" if not found else "is read in several places"
        raise refuse(step, buffer.name, why, f"name a loop of {func.name} that reads it once")
    (block,) = blocks
    alone = not any(uses(i, var) for i in block.start[:-1])
    if not fixed or bounds(block.size).hi == 0 or alone:
        raise refuse(
            step, f"{buffer.name} in {header(loop)}",
            f"what an iteration of {var.name} reads is no block of its own",
            "pack it along the loop first",
        )  # fmt: skip
    return block


def _flat(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
    out = indices[0]
    for index, extent in zip(indices[1:], buffer.shape[1:], strict=True):
        out = out * extent + index
    return out
