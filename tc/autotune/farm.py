"""What a machine of a cluster does with a candidate: build it, or check and measure it.

Builds run beside each other; a measurement waits until this machine does neither. Both happen in
processes of their own, as they do without a cluster. This module must not know how candidates and
outcomes travel.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import getpass
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tc.autotune.bench import Task
from tc.autotune.measure import Measurer, Outcome
from tc.autotune.turns import Measured
from tc.config import read
from tc.errors import TuningError

Built = dict[str, bytes]


def build(task: Mapping[str, Any], schedule: str) -> Built:
    """The compiled objects of a candidate by the names of their files; none if it fails."""
    with _machine(fcntl.LOCK_SH):
        return _measurer().build(Task.of(dict(task)), schedule)


def measure(task: Mapping[str, Any], schedule: str, built: Built) -> dict[str, Any]:
    """The outcome of a candidate, as `outcome_of` takes it; {"problem": why} for a workload that
    cannot be measured."""
    folder = read().cache_dir / "objects"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in built.items():
            path = folder / Path(name).name
            if not path.exists():
                path.write_bytes(data)  # one that is cut short counts as missing
    with _machine(fcntl.LOCK_EX):
        try:
            (outcome,) = _measurer().measure(Task.of(dict(task)), [schedule])
        except TuningError as error:
            return {"problem": error.message}
    return asdict(outcome)


def outcome_of(number: int, values: Mapping[str, Any]) -> Outcome:
    """What `measure` told, of candidate `number` of a batch.

    Raises:
        TuningError: the workload cannot be measured.
    """
    if "problem" in values:
        raise TuningError(values["problem"])
    measured = values["measured"]
    found = None if measured is None else Measured(**measured)
    return Outcome(number, found, values["error"], values["disturbed"])


@functools.cache
def _measurer() -> Measurer:
    """That of this process."""
    return Measurer(read().cache_dir)


@contextlib.contextmanager
def _machine(kind: int) -> Iterator[None]:
    """This machine, for one measurement alone or for builds; freed by the death of who has it."""
    path = Path(tempfile.gettempdir()) / f"tc-machine-{getpass.getuser()}.lock"
    with path.open("a") as file:
        fcntl.flock(file, kind)
        yield
