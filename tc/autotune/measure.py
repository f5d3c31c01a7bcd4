"""Measuring batches of candidates, each batch in a process of its own that may crash or hang.

A candidate that ends its process, or does not come to an end, has failed; the rest of its batch
goes on in another process. Processes are killed with all that they started. This module must not
know how a candidate is checked or timed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tc.autotune.bench import Task
from tc.autotune.turns import Measured
from tc.errors import TuningError, describe

COMMAND: Final = (sys.executable, "-m", "tc.autotune.worker")
MEMORY_BYTES: Final = 8 << 30
SETUP_SECONDS: Final = 120.0
TRIAL_SECONDS: Final = 30.0
_TOLD: Final = 400  # characters of a dead process's last words


@dataclass(frozen=True, slots=True)
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
    ) -> None:
        """Limits are those of one process and of one candidate in it.

        Args:
            cache_dir: of compiled objects.
            command: that serves a batch, see `tc.autotune.worker`.
        """
        self._cache = cache_dir
        self._command = tuple(command)
        self._memory = memory_bytes
        self._setup = setup_seconds
        self._trial = trial_seconds
        self._folder = tempfile.TemporaryDirectory(prefix="tc-tune-")

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

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

    def _batch(self, task: Task, schedules: Sequence[str], first: int) -> Iterator[Outcome]:
        wanted = list(schedules[first:])
        request = {
            "task": task.as_dict(),
            "schedules": wanted,
            "cache_dir": None if self._cache is None else str(self._cache),
            "references": self._folder.name,
            "memory_bytes": self._memory,
        }
        with _Process(self._command, json.dumps(request), self._folder.name) as process:
            limit, at = self._setup, None
            while True:
                answer = process.line(limit)
                if isinstance(answer, str):
                    if at is None:
                        raise TuningError(
                            describe(
                                "workload",
                                why=f"cannot be measured: {answer}",
                                way_out="TC_DEBUG=1 tells more; other workloads can be tuned",
                            )
                        )
                    yield Outcome(first + at, None, answer)
                    return
                limit = self._trial
                if "begins" in answer:
                    at = answer["begins"]
                elif "number" in answer:
                    values = answer.get("measured")
                    measured = None if values is None else Measured(**values)
                    why = answer.get("failed", answer.get("disturbed", ""))
                    yield Outcome(first + answer["number"], measured, why, "disturbed" in answer)
                    if answer["number"] + 1 == len(wanted):
                        return


class _Process:
    """A process in a session of its own, killed with all its children at the end."""

    def __init__(self, command: Sequence[str], request: str, folder: str) -> None:
        root = str(Path(__file__).resolve().parents[2])  # the worker is this very tc
        known = os.environ.get("PYTHONPATH")
        self._errors, self._said = tempfile.mkstemp(dir=folder, prefix="stderr-")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{root}:{known}" if known else root},
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.close()
        self._pending = b""

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        os.close(self._errors)
        os.unlink(self._said)

    def line(self, seconds: float) -> dict[str, Any] | str:
        """The next answer; or, where none comes, why, in words."""
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not ready.select(max(0.0, end - time.monotonic())):
                    return f"it does not end within {seconds:g} s"
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    return self._last_words()
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            return "it writes over the answers of its process"
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"it is ended by {signal.Signals(-status).name}"
        said = Path(self._said).read_text(errors="replace").strip().splitlines()
        return f"its process ends with status {status}: {(said or [''])[-1][:_TOLD]}"
