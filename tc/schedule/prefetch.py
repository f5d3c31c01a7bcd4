"""Asking for data before it is needed, spread over work that needs other data."""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Const, Expr, Load, Var, maximum
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
def prefetch(func: Func, buffer: str, loop: str, *over: str, lines: int = 1) -> Func:
    """Ask for what the next iteration of `loop` reads of `buffer`, during this one.

    rewrite: for j in range(n):
                 for i in range(m):
                     for k in range(l): ... b[j, k, ...] ...
    into:    for j in range(n):
                 for i in range(m):
                     for k in range(l):
                         prefetch b[j + 1, ..., (i * l + k) * step]
                         ... b[j, k, ...] ...

    What b[j + 1] holds is divided evenly between the iterations of the loops `over`, outermost
    first: `step` is how many elements there are for each. A processor that meets new data at
    every iteration of `loop` only then asks for it waits for memory first and has nothing to ask
    for afterwards.
    Raises ScheduleError: no such loops or parameter, loops that are not nested in this order, or
    a buffer whose leading dim alone does not follow `loop`.
    """
    check_factor("prefetch", lines)
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
    lead = _leading(func, param, nest[places[0]])
    count: Expr = Const(1)
    number: Expr = Const(0)
    for n in places[1:]:
        count = count * nest[n].extent
        number = number * nest[n].extent + nest[n].var
    # The loops run at least once where this is used, but it may be computed in front of them.
    step = (_slice_size(param) + count - 1) // maximum(count, Const(1))
    middle = (Const(0),) * (len(param.shape) - 2)
    first = simplify(number * simplify(step))
    line = LINE // param.dtype.bytes
    hints = [Prefetch(param, (lead, *middle, first + n * line)) for n in range(lines)]

    def rewrite(x: For) -> For:
        return For(x.var, x.extent, x.kind, seq(*hints, x.body)) if _reads(x, param) else x

    return rewrite_loops(func, "prefetch", over[-1], rewrite)


def _reads(x: For, buffer: Buffer) -> bool:
    return any(load.buffer.name == buffer.name for load in loads_of(x.body))


def _slice_size(buffer: Buffer) -> Expr:
    size: Expr = Const(1)
    for n in buffer.shape[1:]:
        size = size * n
    return simplify(size)


def _leading(func: Func, buffer: Buffer, loop: For) -> Expr:
    """The leading index in the next iteration of `loop`."""
    var: Var = loop.var
    env = env_of([*path_to(func.body, var.name), *loops(loop.body)])
    found = set()
    for load in loads_of(loop.body):
        if not (isinstance(load, Load) and load.buffer.name == buffer.name):
            continue
        first, *rest = [simplify(i, env) for i in load.indices]
        if not rest or not uses(first, var) or any(uses(i, var) for i in rest):
            place = f"{buffer.name} in {header(loop)}"
            raise refuse(
                "prefetch", place, f"its leading dim alone does not follow {var.name}",
                "pack it along the loop first",
            )  # fmt: skip
        found.add(simplify(substitute(first, {var: var + 1})))
    if len(found) != 1:
        why = "is not read there" if not found else "is read in several places"
        raise refuse("prefetch", buffer.name, why, f"name a loop of {func.name} that reads it once")
    return found.pop()
