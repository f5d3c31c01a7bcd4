"""What a contender is, and a contender that lives in a process of its own.

The parent sends one JSON line, the worker answers with one JSON line; arrays travel through
.npy files, so that nothing is pickled. Must not import any framework: the parent stays light.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Case = Mapping[str, str | int]
"""What is to be measured, as plain values that travel as JSON."""

ROOT = Path(__file__).resolve().parent.parent
PREPARE_SECONDS = 900.0
ANSWER_SECONDS = 300.0


class UnavailableError(Exception):
    """The contender's framework is not installed or cannot do this case; not a failure."""


class WorkerError(RuntimeError):
    """The contender broke: it raised, died or did not answer."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A prepared contender: seconds that preparing took, its peak memory in bytes.

    `facts` are numbers that it knows of its case, such as the operations of a model.
    """

    seconds: float
    peak_bytes: int
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """One uninterrupted run of calls: seconds of each, and the worker's idle CPU share before.

    `inside` are the seconds of each call within compiled code, where the contender tells them.
    `least` is the time in which the machine could have done the work just then, 0.0: not known;
    `calm` tells whether the cores were all its own.
    """

    seconds: tuple[float, ...]
    idle_share: float = 0.0
    inside: tuple[float, ...] = ()
    least: float = 0.0
    calm: bool = True


class Contender(Protocol):
    """Something whose calls can be checked and timed."""

    @property
    def name(self) -> str: ...

    def prepare(self) -> Ready:
        """Load and compile. Raises UnavailableError or WorkerError."""

    def output(self) -> Array:
        """The result of one call."""

    def run(self, calls: int) -> Block:
        """Make `calls` timed calls after one untimed one."""

    def close(self) -> None:
        """End it; may be called at any time, more than once."""


def worker_environment(cores: tuple[int, ...]) -> dict[str, str]:
    """The environment of a worker: as many threads as cores, and pools that soon stop spinning.

    A pool spins for about a millisecond after a call (within a block of calls it never sleeps,
    so no contender is slowed), and sleeps before the next contender's block begins.
    """
    count = str(len(cores))
    names = ("OMP", "MKL", "OPENBLAS", "TC")
    # An installed package has its bytecode; a start that compiles sources would be nobody's.
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        **given,
        **{f"{name}_NUM_THREADS": count for name in names},
        "GOMP_SPINCOUNT": "50000",
        "KMP_BLOCKTIME": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


class WorkerContender:
    """A contender in a process of its own, pinned to `cores`.

    `factory` is "module:function"; the worker calls it with the case and expects a
    `benchmarks.worker.Prepared`.
    """

    def __init__(self, name: str, factory: str, case: Case, cores: tuple[int, ...]) -> None:
        self._name = name
        self._job = {"factory": factory, "case": dict(case), "cores": list(cores)}
        self._environment = worker_environment(cores)
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-")

    @property
    def name(self) -> str:
        """The name that tables show."""
        return self._name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def prepare(self) -> Ready:
        """Start the process, load and compile. Raises UnavailableError or WorkerError."""
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", json.dumps(self._job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                cwd=ROOT,
            )
        answer = self._receive(PREPARE_SECONDS)
        return Ready(float(answer["seconds"]), int(answer["peak_bytes"]), answer["facts"])

    def output(self) -> Array:
        """The result of one call, as an array."""
        path = Path(self._folder.name) / "output.npy"
        self._ask({"do": "output", "path": str(path)})
        array: Array = np.load(path, allow_pickle=False)
        path.unlink()
        return array

    def run(self, calls: int) -> Block:
        """Seconds of each of `calls` calls, made without a break after one untimed call."""
        answer = self._ask({"do": "run", "calls": calls})
        return Block(tuple(answer["seconds"]), float(answer["idle_share"]), tuple(answer["inside"]))

    def measure(self, **what: object) -> dict[str, Any]:
        """What the contender's own `measure` finds. Raises WorkerError."""
        answer: dict[str, Any] = self._ask({"do": "measure", "what": what})["found"]
        return answer

    def close(self) -> None:
        """End the process and remove its files."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        self._folder.cleanup()

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "stderr.txt"

    def _ask(self, message: Mapping[str, object]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        return self._receive(ANSWER_SECONDS)

    def _receive(self, timeout: float) -> dict[str, Any]:
        # One answer for one question: nothing can wait in the reader's buffer, so select sees all.
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise WorkerError(f"{self._name}: no answer within {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        match answer["state"]:
            case "unavailable":
                raise UnavailableError(str(answer["reason"]))
            case "failed":
                raise WorkerError(f"{self._name}: {answer['reason']}")
            case _:
                return answer

    def _death(self) -> WorkerError:
        tail = self._log.read_text(errors="replace").strip().splitlines()[-3:]
        return WorkerError(f"{self._name}: its process ended: {' / '.join(tail) or 'no message'}")
