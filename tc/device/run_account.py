"""What the time of a call is made of: its steps, the barriers between them, and what is around.

Each part is measured by itself, so that their sum can be held against the time of whole calls.
This module must not print, nor know what a step computes.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from itertools import groupby, pairwise
from time import perf_counter_ns

from tc.device.artifact import KernelCall, Repeat
from tc.device.run import Program
from tc.device.run_profile import CallTime
from tc.errors import TcError
from tc.frozen import frozen


@frozen
class Account:
    """The parts of a call in seconds, each the median over a number of calls.

    Attributes:
        steps: of each step of the program, from its first thread's beginning to its last's end.
        waiting: of each step, how long its threads on average had nothing to do in it.
        barriers: from the end of a kernel to the beginning of the next one.
        fork_join: of the foreign calls, what is outside the first and the last kernel.
        call: outside of compiled code and eager operators: arguments, plan, results, queue.
        latency: of a whole call without time stamps.
        last: the last call with them.
    """

    steps: tuple[float, ...]
    waiting: tuple[float, ...]
    barriers: float
    fork_join: float
    call: float
    latency: float
    last: tuple[CallTime, ...]


def account(program: Program, args: Sequence[object], runs: int) -> Account:
    """Call the program on `args`, `runs` times with time stamps and as often without, in turn."""
    plain: list[int] = []
    inside: list[int] = []
    profiles: list[list[CallTime]] = []
    forks: list[int] = []
    for _ in range(runs):
        _call(program, args)  # wakes the threads, which may sleep since the last turn
        begin = perf_counter_ns()
        _call(program, args)
        plain.append(perf_counter_ns() - begin)
        inside.append(program.stats.last[1])
        profiles.append(program.profile(args))
        forks.append(program.stats.last[1] - _regions(profiles[-1]))
    eager = [sum(t.nanoseconds for t in times if not _compiled(t)) for times in profiles]
    outside = [p - i - e for p, i, e in zip(plain, inside, eager, strict=True)]
    return Account(
        steps=tuple(
            _seconds([t.nanoseconds for t in step]) for step in zip(*profiles, strict=True)
        ),
        waiting=tuple(_seconds([t.waiting for t in step]) for step in zip(*profiles, strict=True)),
        barriers=_seconds([_barriers(times) for times in profiles]),
        fork_join=_seconds(forks),
        call=_seconds(outside),
        latency=_seconds(plain),
        last=tuple(profiles[-1]),
    )


def _call(program: Program, args: Sequence[object]) -> None:
    """One call, whatever its kernels report of values that are made up; they run on all the same.

    What else is wrong, the profile says too.
    """
    with contextlib.suppress(TcError):
        program(args)


def _seconds(nanoseconds: Sequence[int]) -> float:
    return max(0.0, statistics.median(nanoseconds)) * 1e-9


def _compiled(time: CallTime) -> bool:
    return isinstance(time.step, KernelCall)


def _regions(times: Sequence[CallTime]) -> int:
    """Nanoseconds from the first beginning to the last end of each run of kernels, together."""
    spent = 0
    for compiled, run in groupby(times, _compiled):
        if compiled:
            listed = list(run)
            spent += listed[-1].end - listed[0].begin
    return spent


def _barriers(times: Sequence[CallTime]) -> int:
    return sum(
        (after.begin - before.end) * (after.turns if _loop(after) else 1)
        for before, after in pairwise(times)
        if _compiled(before) and _compiled(after) and _loop(after) in (None, _loop(before))
    )


def _loop(time: CallTime) -> Repeat | None:
    return time.step.loop if isinstance(time.step, KernelCall) else None
