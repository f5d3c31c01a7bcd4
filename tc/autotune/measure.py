"""Measuring batches of candidates, each batch in a process of its own that may crash or hang.

A candidate that ends its process, or does not come to an end, has failed; the rest of its batch
goes on in another process. Processes are killed with all that they started. This module must not
know how a candidate is checked or timed.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tc.autotune.bench import Task
from tc.autotune.forked import Child, Nursery
from tc.autotune.turns import Measured
from tc.errors import TuningError, describe
from tc.frozen import frozen
from tc.target import Target

COMMAND: Final = (sys.executable, "-m", "tc.autotune.worker")
MEMORY_BYTES: Final = 8 << 30
SETUP_SECONDS: Final = 120.0
TRIAL_SECONDS: Final = 30.0


class BusyError(TuningError):
    """Nothing can be measured for now: other work has the machine, or nobody is there to do it."""


@frozen
class Outcome:
    """What became of a candidate: a measurement, or why there is none.

    `disturbed`: through no fault of its own, so that it is to be measured another time.
    """

    number: int
    measured: Measured | None
    error: str = ""
    disturbed: bool = False


class Measurer:
    """Measures batches; use it as a context manager, for it has a folder of reference outputs."""

    def __init__(
        self,
        cache_dir: Path | None = None,
        *,
        command: Sequence[str] = COMMAND,
        memory_bytes: int = MEMORY_BYTES,
        setup_seconds: float = SETUP_SECONDS,
        trial_seconds: float = TRIAL_SECONDS,
        builders: int | None = None,
    ) -> None:
        """Limits are those of one process and of one candidate in it.

        Args:
            cache_dir: of compiled objects.
            command: that serves a batch, see `tc.autotune.worker`.
            builders: processes that build a batch beside each other, before it is measured; None:
                as many as there are cores.
        """
        self._cache = cache_dir
        self._memory = memory_bytes
        self._setup = setup_seconds
        self._trial = trial_seconds
        self._builders = Target.parse("host").cores if builders is None else builders
        self._folder = tempfile.TemporaryDirectory(prefix="tc-tune-")
        self._nursery = Nursery(command, self._folder.name)

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its processes, and forget the reference outputs."""
        self._nursery.close()
        self._folder.cleanup()

    def get_ready(self) -> None:
        """Begin with what takes a while, without waiting for it."""
        self._nursery.start()

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]:
        """What becomes of each, as soon as it is known.

        Raises:
            TuningError: the workload itself cannot be measured.
        """
        first = 0
        while first < len(schedules):
            done = first
            for outcome in self._batch(task, schedules, first):
                done = outcome.number + 1
                yield outcome
            if done == first:  # cannot be: a batch that ends early says which candidate it was
                raise TuningError(describe("tuning", why="a batch ended without a word"))
            first = done

    def build(self, task: Task, schedule: str) -> dict[str, bytes]:
        """Compile a candidate; the files of its objects by name, none where it fails."""
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            request = {
                "task": task.as_dict(),
                "schedules": [schedule],
                "cache_dir": folder,
                "folder": None,
                "memory_bytes": self._memory,
                "build": True,
            }
            child = self._nursery.fork(json.dumps(request))
            if isinstance(child, str):
                return {}
            try:
                _line(child, bytearray(), self._trial)
            finally:
                child.end()
            files = [path for path in Path(folder).rglob("*.o") if path.is_file()]
            return {path.name: path.read_bytes() for path in files}

    def _batch(self, task: Task, schedules: Sequence[str], first: int) -> Iterator[Outcome]:
        wanted = list(schedules[first:])
        request = {
            "task": task.as_dict(),
            "schedules": wanted,
            "cache_dir": None if self._cache is None else str(self._cache),
            "folder": self._folder.name,
            "memory_bytes": self._memory,
            "build": False,
            "builders": self._builders,
            "build_seconds": self._trial,
        }
        child = self._nursery.fork(json.dumps(request))
        if isinstance(child, str):
            raise _unmeasurable(child)
        try:
            yield from self._answers(child, first, len(wanted))
        finally:
            child.end()

    def _answers(self, child: Child, first: int, count: int) -> Iterator[Outcome]:
        """What a process says of its candidates, until one ends it."""
        limit, at, pending, some = self._setup, None, bytearray(), False
        while True:
            answer = _line(child, pending, limit)
            if isinstance(answer, str):
                if at is not None:
                    yield Outcome(first + at, None, answer)
                elif not some:
                    raise _unmeasurable(answer)
                return  # between two candidates it is no fault of the next one
            limit = self._trial
            if "begins" in answer:
                at = answer["begins"]
            elif "number" in answer:
                values = answer.get("measured")
                measured = None if values is None else Measured(**values)
                why = answer.get("failed", answer.get("disturbed", ""))
                yield Outcome(first + answer["number"], measured, why, "disturbed" in answer)
                at, some = None, True
                if answer["number"] + 1 == count:
                    return


def _unmeasurable(why: str) -> TuningError:
    return TuningError(
        describe(
            "workload",
            why=f"cannot be measured: {why}",
            way_out="TC_DEBUG=1 tells more; other workloads can be tuned",
        )
    )


def _line(child: Child, pending: bytearray, seconds: float) -> dict[str, Any] | str:
    """The next answer; or, where none comes, why, in words. `pending` is what follows it."""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as ready:
        ready.register(child.answers, selectors.EVENT_READ)
        while b"\n" not in pending:
            if not ready.select(max(0.0, end - time.monotonic())):
                return f"it does not end within {seconds:g} s"
            data = os.read(child.answers, 1 << 16)
            if not data:
                return child.last_words()
            pending += data
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError:
        return "it writes over the answers of its process"
    return answer
