"""Asking for data before it is needed, spread over work that needs other data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tc.ir.expr import Const, Expr, Var, maximum
from tc.ir.interval import bounds
from tc.ir.loop import Buffer, For, Func, Prefetch, seq
from tc.ir.simplify import simplify
from tc.ir.visit import loads_of, substitute, uses
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
def prefetch(func: Func, buffer: str, loop: str, *over: str, lines: int = 1, near: int = 0) -> Func:
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
    Raises ScheduleError: no such loops or parameter, loops that are not nested in this order,
    lines below 1, near below 0, or a buffer of which each iteration of `loop` does not read a
    block of its own.
    """
    check_factor("prefetch", lines)
    if near:
        check_factor("prefetch", near)
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
    start, size = _next_block(func, param, nest[places[0]])
    count: Expr = Const(1)
    number: Expr = Const(0)
    for n in places[1:]:
        count = count * nest[n].extent
        number = number * nest[n].extent + nest[n].var
    # The loops run at least once where this is used, but it may be computed in front of them.
    step = simplify((size + count - 1) // maximum(count, Const(1)))
    line, bytes_ = LINE // param.dtype.bytes, param.dtype.bytes
    first = simplify(start[-1] + number * step + (near // bytes_ - size if near else 0))
    hints = [
        Prefetch(param, (*start[:-1], simplify(first + n * line)), near > 0) for n in range(lines)
    ]

    def rewrite(x: For) -> For:
        return For(x.var, x.extent, x.kind, seq(*hints, x.body)) if _reads(x, param) else x

    return rewrite_loops(func, "prefetch", over[-1], rewrite)


def _reads(x: For, buffer: Buffer) -> bool:
    return any(load.buffer.name == buffer.name for load in loads_of(x.body))


def _next_block(func: Func, buffer: Buffer, loop: For) -> tuple[tuple[Expr, ...], Expr]:
    """Where the block of the next iteration of `loop` begins, and how many elements it has."""
    var: Var = loop.var
    env = env_of([*path_to(func.body, var.name), *loops(loop.body)])
    inside: dict[Var, Expr] = {x.var: Const(0) for x in loops(loop.body)}
    found = set()
    for load in loads_of(loop.body):
        if load.buffer.name == buffer.name:
            first = [substitute(i, inside) for i in load.indices]
            after = [substitute(i, {var: var + 1}) for i in first]
            size = simplify(_flat(buffer, after) - _flat(buffer, first), env)
            starts = [simplify(i, env) for i in after]
            last = max((d for d, i in enumerate(starts) if uses(i, var)), default=-1)
            # Where in the block the reads begin does not matter: all of it is asked for.
            found.add((*starts[: last + 1], *[Const(0)] * (len(starts) - last - 1), size))
    if len(found) != 1:
        why = "is not read there" if not found else "is read in several places"
        raise refuse("prefetch", buffer.name, why, f"name a loop of {func.name} that reads it once")
    *start, size = found.pop()
    alone = not any(uses(i, var) for i in start[:-1])
    if any(uses(size, v) for v in env) or bounds(size).hi == 0 or alone:
        raise refuse(
            "prefetch", f"{buffer.name} in {header(loop)}",
            f"what an iteration of {var.name} reads is no block of its own",
            "pack it along the loop first",
        )  # fmt: skip
    return tuple(start), size


def _flat(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
    out = indices[0]
    for index, extent in zip(indices[1:], buffer.shape[1:], strict=True):
        out = out * extent + index
    return out
