"""A worker whose code generator is broken on demand: a schedule's first step says how.

`uniform(crash)` ends the process by a signal, `uniform(hang)` never ends, `uniform(hog)` wants all
memory, `uniform(exit)` leaves; the miscompilations are those of `MISCOMPILED`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tc.autotune import runnable, worker
from tc.ir.expr import Const
from tc.ir.loop import Func, If, Seq, Stmt, Store
from tc.ir.visit import map_stmt, with_body
from tc.schedule.step import Schedule
from tc.target import Target


def _first_store(change: Callable[[Store], Stmt]) -> Callable[[Func], Func]:
    def run(func: Func) -> Func:
        names = set(func.outputs)

        def stmt(s: Stmt) -> Stmt | None:
            return change(s) if isinstance(s, Store) and s.buffer.name in names else None

        return with_body(func, map_stmt(func.body, None, stmt))

    return run


def _shifted(by: int) -> Callable[[Store], Stmt]:
    def change(s: Store) -> Stmt:
        (*first, last) = s.indices
        return Store(s.buffer, (*first, last + by), s.value)

    return change


def _not_the_last(s: Store) -> Stmt:
    """A tail that is forgotten: the last column is never written."""
    last = s.buffer.shape[-1] - 1
    return If(s.indices[-1] < last, s)


def _stale(func: Func) -> Func:
    """An accumulator that is not cleared: the stores to local buffers go."""
    names = set(func.outputs)

    def stmt(s: Stmt) -> Stmt | None:
        return Seq(()) if isinstance(s, Store) and s.buffer.name not in names else None

    return with_body(func, map_stmt(func.body, None, stmt))


MISCOMPILED: dict[str, Callable[[Func], Func]] = {
    "tail": _first_store(_not_the_last),
    "stale": _stale,
    "beside": _first_store(_shifted(1)),
    "far": _first_store(_shifted(1 << 22)),
    "nothing": _first_store(lambda s: Seq(())),
    "nan": _first_store(
        lambda s: Store(s.buffer, s.indices, s.value * Const(float("nan"), s.buffer.dtype))
    ),
    "bias": _first_store(
        lambda s: Store(s.buffer, s.indices, s.value * Const(1.01, s.buffer.dtype))
    ),
}
_BUILD = runnable.build


def build(loops: Func, schedule: Schedule, target: Target, cache_dir: Path | None) -> Any:
    """As `runnable.build`, broken as the schedule's first step says."""
    steps = schedule.steps
    what = str(steps[0].args[0]) if steps and steps[0].name == "uniform" else ""
    if not what or what not in {*MISCOMPILED, "crash", "hang", "hog", "exit"}:
        return _BUILD(loops, schedule, target, cache_dir)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(1000)
    if what == "hog":
        bytearray(1 << 44)
    if what == "exit":
        print("goodbye", file=sys.stderr)
        os._exit(7)
    return runnable.Compiled.of(MISCOMPILED[what](loops), target, None)


if __name__ == "__main__":
    runnable.build = build
    sys.exit(worker.main())
