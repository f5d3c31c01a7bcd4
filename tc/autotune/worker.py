"""The processes in which candidates run: a batch on stdin, what became of each on stdout.

    python -m tc.autotune.worker

is the nursery that they are forked from, see `tc.autotune.forked`. The request and every answer
are one line of JSON. Before each candidate its number is said, so that whoever waits knows which
one it was that ended the process. Memory is limited here; time is limited by who waits. This
module must not decide what is tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tc.autotune.bench import Bench, Task
from tc.autotune.builders import Builders
from tc.autotune.forked import nurse
from tc.autotune.kernels import Kernels
from tc.autotune.turns import DisturbedError
from tc.errors import InternalError, TcError
from tc.target import Target


def serve(request: dict[str, Any], out: TextIO) -> None:
    """Check and measure a batch, or only build it.

    Args:
        request: {"task", "schedules", "cache_dir", "folder", "memory_bytes", "build", "builders",
            "build_seconds"}.
    """
    limit = request["memory_bytes"]
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    task = Task.of(request["task"])
    folders = [Path(request[n]) if request[n] else None for n in ("cache_dir", "folder")]
    if request["build"]:
        kernels = Kernels(task.text, Target.parse(task.target), *folders)
        for schedule in request["schedules"]:
            with contextlib.suppress(TcError):  # which measuring will report
                kernels.get(schedule)
        _say(out, {"built": True})
        return
    bench = _prepared(request, task, folders)
    _say(out, {"ready": True})
    for number, schedule in enumerate(request["schedules"]):
        _say(out, {"begins": number})
        try:
            answer: dict[str, Any] = {"measured": asdict(bench.measure(schedule))}
        except InternalError:
            raise
        except DisturbedError as error:
            answer = {"disturbed": error.message}
        except TcError as error:
            answer = {"failed": error.message}
        except MemoryError:
            answer = {"failed": "it wants more memory than it may have"}
        bench.forget(schedule)
        _say(out, {"number": number, **answer})


def _prepared(request: dict[str, Any], task: Task, folders: Sequence[Path | None]) -> Bench:
    """What measures the candidates; they are built on all cores before it begins."""
    schedules, count = request["schedules"], request["builders"]
    if not count or len(schedules) < 2:
        return Bench(task, *folders)
    kernels = Kernels(task.text, Target.parse(task.target), *folders)
    builders = Builders(count, len(schedules), lambda n: kernels.build(schedules[n]))
    try:
        bench = Bench(task, *folders)
        bench.prepare()
        builders.wait(request["build_seconds"])
    finally:
        builders.close()
    return bench


def _say(out: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=out, flush=True)


def batch() -> int:
    """Serve the request on stdin; answers go to what stdout was, and prints of others nowhere."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        serve(json.loads(os.fdopen(os.dup(0)).readline()), out)
    return 0


def main() -> int:
    """Fork a process for each batch, until nobody wants another."""
    return nurse(batch)


if __name__ == "__main__":
    sys.exit(main())
