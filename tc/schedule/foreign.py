"""Schedules that come as text, from a database or a shard: read, bounded and checked, never run.

A text is parsed into steps; each step's primitive says whether it is legal for the loops at hand.
What would be legal and yet swell the code without measure is refused too. This module must not
measure or compile.
"""

from __future__ import annotations

from typing import Final

from tc.errors import ScheduleError, TcError, describe
from tc.ir.expr import Const
from tc.ir.loop import Alloc, For, Func, If, LoopKind, Scope, Seq, Stmt
from tc.ir.simplify import simplify
from tc.schedule.apply import apply, remember
from tc.schedule.rewrite import size_bound
from tc.schedule.step import Schedule

MOST_TEXT: Final = 8192
MOST_STEPS: Final = 256
MOST_NUMBER: Final = 1 << 20
MOST_BODIES: Final = 1 << 13
MOST_REGISTERS: Final = 1 << 12


def read_schedule(text: str | bytes) -> Schedule:
    """The steps of a text. Raises ScheduleError: no schedule, or one beyond all bounds."""
    if isinstance(text, bytes):  # which a column of a database can hold too
        raise _refused(repr(text[:80]), "no text")
    if len(text) > MOST_TEXT:
        raise _refused(text, f"longer than {MOST_TEXT} characters")
    try:
        found = Schedule.parse(text)
    except (ScheduleError, ValueError) as error:
        raise _refused(text, str(error)) from error
    if len(found.steps) > MOST_STEPS:
        raise _refused(text, f"has {len(found.steps)} steps, more than {MOST_STEPS}")
    for step in found.steps:
        for value in (*step.args, *(value for _, value in step.options)):
            if isinstance(value, int) and abs(value) > MOST_NUMBER:
                raise _refused(text, f"{step}: {value} is beyond {MOST_NUMBER}")
    return found


def scheduled(func: Func, schedule: Schedule) -> Func:
    """The loops after the schedule, known to `tc.schedule.apply` from then on.

    Raises:
        ScheduleError: it is not legal for these loops, or makes code without measure.
    """
    try:
        found = apply(func, schedule)
    except (TcError, ValueError, TypeError, RecursionError) as error:
        raise _refused(str(schedule), f"not legal here: {error}") from error
    if (bodies := unrolled(found.body)) > MOST_BODIES:
        raise _refused(str(schedule), f"unrolls to {bodies} statements, more than {MOST_BODIES}")
    if (count := registers(found.body)) > MOST_REGISTERS:
        raise _refused(str(schedule), f"wants {count} elements in registers at once")
    remember(func, schedule, found)
    return found


def unrolled(s: Stmt) -> int:
    """How many statements there are after unrolling."""
    match s:
        case For(extent=extent, kind=kind, body=body):
            most = simplify(size_bound(extent))
            known = int(most.value) if isinstance(most, Const) else 1
            return unrolled(body) * (max(known, 1) if kind is LoopKind.UNROLLED else 1)
        case Seq(body):
            return sum(map(unrolled, body))
        case If(_, then, other):
            return unrolled(then) + (0 if other is None else unrolled(other))
        case Alloc(_, body):
            return unrolled(body)
    return 1


def registers(s: Stmt) -> int:
    """The elements of the buffers in registers that are there at once."""
    match s:
        case For(body=body):
            return registers(body)
        case Seq(body):
            return max(map(registers, body), default=0)
        case If(_, then, other):
            return max(registers(then), 0 if other is None else registers(other))
        case Alloc(buffer, body):
            own = 0
            if buffer.scope is Scope.REGISTER:
                own = 1
                for dim in buffer.shape:
                    own *= int(dim.value) if isinstance(dim, Const) else 1
            return own + registers(body)
    return 0


def _refused(text: str, why: str) -> ScheduleError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return ScheduleError(describe(f"schedule {shown!r}", why=why, way_out="tune the workload anew"))
