"""The kernels of one workload: compiled once, and kept in a folder for the processes to come.

A process that builds leaves a candidate's kernel there, one that measures finds it; what all of
them need, as the default or the layouts of constants, is made by the first. Where there is no
folder, or nothing in it, a kernel is made on the spot. This module must not run kernels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tc.autotune import runnable
from tc.autotune.runnable import Compiled, Runnable
from tc.autotune.workload import loops_of
from tc.schedule.dependence import proven
from tc.schedule.foreign import read_schedule
from tc.schedule.pack import Packing
from tc.target import Target


class Kernels:
    """Kernels of a workload's loops, by schedule.

    Attributes:
        target: what they are compiled for.
    """

    def __init__(self, text: str, target: Target, cache_dir: Path | None, folder: Path | None):
        """`text` is the workload's; `cache_dir` has objects, `folder` whole kernels."""
        self.target = target
        self._text = text
        self._loops = loops_of(text)
        self._cache = cache_dir
        self._folder = folder
        self._packers: dict[tuple[int, Packing], Runnable] = {}

    def get(self, schedule: str, *, keep: bool = False) -> Runnable:
        """The kernel under a schedule, in this process; `keep` it for others.

        Raises:
            ScheduleError: the schedule is not legal.
        """
        made = self._once(self._file(schedule), lambda: self._compile(schedule), keep)
        return runnable.load(made, read_schedule(schedule), self.target)

    def build(self, schedule: str) -> None:
        """Leave the kernel under a schedule in the folder; errors are those of `get`."""
        self._once(self._file(schedule), lambda: self._compile(schedule), True)

    def forget(self, schedule: str) -> None:
        """Take a kernel out of the folder."""
        path = self._file(schedule)
        if path is not None:
            path.unlink(missing_ok=True)

    def packer(self, number: int, packing: Packing) -> Runnable:
        """The kernel that lays out the constant of that number as `packing` says."""
        found = self._packers.get((number, packing))
        if found is None:
            given = (self._loops.params[number], packing, self.target, self._cache)
            path = self._file(f"{number} {packing}")
            made = self._once(path, lambda: runnable.packer(*given), True)
            found = self._packers[number, packing] = Runnable(made, {}, self.target)
        return found

    def _compile(self, schedule: str) -> Compiled:
        # Candidates are legal by construction, their results are checked before they count, and
        # who takes one from the database proves it legal: the proofs would be a third of a trial.
        with proven():
            return runnable.build(self._loops, read_schedule(schedule), self.target, self._cache)

    def _once(self, path: Path | None, make: Callable[[], Compiled], keep: bool) -> Compiled:
        if path is not None and path.exists():
            return Compiled.load(path)
        made = make()
        if path is not None and keep:
            made.save(path)
        return made

    def _file(self, name: str) -> Path | None:
        if self._folder is None:
            return None
        text = f"{self._text}\n{self.target}\n{name}"
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.kernel"
