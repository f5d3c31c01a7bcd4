"""Checking and measuring the schedules of one workload, in this process.

A candidate is checked on several sizes: its outputs are poisoned before it runs and held against
those of the naive loops afterwards, and all memory lies between guard pages. Only then is it
measured, in turns with the default schedule, until it is known well enough how the two compare.
This module must not start processes, nor know the database.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tc.autotune.guarded import Guarded
from tc.autotune.kernels import Kernels
from tc.autotune.runnable import Call, Param, Runnable
from tc.autotune.turns import (
    FEW_TURNS,
    MOST_TURNS,
    DisturbedError,
    Measured,
    Turns,
    calls_of_turn,
    clock_of,
)
from tc.autotune.values import POISON, error_of, is_telling, of_bytes, sample
from tc.device.arena import Block
from tc.errors import TuningError, describe
from tc.frozen import frozen
from tc.schedule.step import Schedule
from tc.target import Target

COLD_SHARE: Final = 1.5  # of the last cache, which copies of the constants fill
MOST_COPY_BYTES: Final = 512 << 20
CONFIRMING: Final = 6  # times the seconds of a candidate, for one whose gain is not certain
KEPT_PACKINGS: Final = 3  # of a constant, the last ones


@frozen
class Task:
    """A workload at sizes, and how it is to be measured.

    Attributes:
        text, constants: as in the database.
        sizes: of its symbols, where it is measured.
        checked: further sizes at which candidates are checked.
        default: the schedule that others are held against.
        cold: whether constants are to come from memory.
        seconds: for the turns of one candidate, and `patience` for more of them where other work
            has the cores.
        floor: the least time of the default that was ever seen; inf where none was.
    """

    text: str
    constants: str
    sizes: tuple[int, ...]
    checked: tuple[tuple[int, ...], ...]
    default: str
    target: str
    threads: int
    cold: bool = False
    seconds: float = 0.15
    patience: float = 6.0
    floor: float = math.inf

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for another process; JSON has no infinity."""
        return {**asdict(self), "floor": self.floor if math.isfinite(self.floor) else None}

    @staticmethod
    def of(values: dict[str, Any]) -> Task:
        """The task that `as_dict` gave, after a journey as JSON."""
        sizes = tuple(values["sizes"])
        floor = values["floor"]
        checked = tuple(tuple(each) for each in values["checked"])
        return Task(**{**values, "sizes": sizes, "checked": checked, "floor": floor or math.inf})


@dataclass(slots=True)
class _Memory:
    """Buffers of one kernel at one set of sizes, with what keeps them alive."""

    addresses: list[int] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)


class Constant:
    """A constant as some kernels want it to lie: in plain memory, in copies, and guarded."""

    def __init__(self, block: Block, size: int) -> None:
        self._copies = [block]
        self._size = size
        self._guarded: Guarded | None = None

    def copy(self, number: int) -> Block:
        """The copy of that number; a kernel that is timed may find any of them in no cache."""
        while len(self._copies) <= number:
            block = Block(max(self._size, 1))
            ctypes.memmove(block.address, self._copies[0].address, self._size)
            self._copies.append(block)
        return self._copies[number]

    def guarded(self) -> Guarded:
        """It between guard pages, and not to be written to."""
        if self._guarded is None:
            self._guarded = Guarded(self._size)
            ctypes.memmove(self._guarded.address, self._copies[0].address, self._size)
            self._guarded.close()
        return self._guarded


class WrongResultError(TuningError):
    """A candidate does not compute what its workload says."""


class Bench:
    """Checks and measures candidates of one task."""

    def __init__(self, task: Task, cache_dir: Path | None, folder: Path | None = None) -> None:
        """Make the default's kernel ready.

        Args:
            cache_dir: of compiled objects.
            folder: where reference outputs and kernels are kept between processes.
        """
        self.task = task
        self.target = Target.parse(task.target)
        self._folder = folder
        self._kernels = Kernels(task.text, self.target, cache_dir, folder)
        self._naive: Runnable | None = None
        self._constants: dict[tuple[object, ...], Constant] = {}
        self._inputs: dict[tuple[int, ...], list[Any]] = {}
        self._positive = False
        self._wanted: dict[tuple[int, ...], list[Any]] = {}
        self._timed: dict[tuple[str, int], Block] = {}
        self._default = self._kernels.get(task.default, keep=True)
        self._reference_calls: list[Call] | None = None
        self._reference_count = 0
        self._floor = task.floor or math.inf

    def measure(self, schedule: str) -> Measured:
        """Check a candidate, then measure it.

        Raises:
            ScheduleError: it is not legal.
            WrongResultError: it computes something else, or leaves its memory.
        """
        made, error = self.checked(schedule)
        return self.time(made, error)

    def checked(self, schedule: str) -> tuple[Runnable, float]:
        """A candidate's kernel, and its greatest error at any of the task's sizes.

        Raises:
            ScheduleError, WrongResultError: as `measure`.
        """
        made = self._kernels.get(schedule)
        sizes = (*self.task.checked, self.task.sizes)
        return made, max(self.check(made, each) for each in sizes)

    def check(self, made: Runnable, sizes: tuple[int, ...]) -> float:
        """The greatest error at these sizes, in units of what is tolerable."""
        wanted = self._reference(sizes)
        with_guards = self._memory(made, sizes, guarded=True)
        call = made.call(with_guards.addresses, sizes, self.task.threads)
        worst, before = 0.0, [b""] * len(wanted)
        for turn in range(2):  # a second run finds what was left over from the first
            outputs = self._poisoned(made, sizes, with_guards)
            call()
            if call.complaint:
                raise WrongResultError(f"it refuses its inputs: {call.complaint}")
            for n, ((param, memory), reference) in enumerate(zip(outputs, wanted, strict=True)):
                found = memory.view().tobytes()
                if turn and found == before[n]:
                    continue  # as good as it was
                before[n] = found
                error = error_of(of_bytes(memory.view(), param), reference, param.dtype)
                worst = max(worst, error)
                if error > 1:
                    raise WrongResultError(
                        f"{param.name} at {list(sizes)}, run {turn + 1}: off by {error:.3g} times "
                        "what is tolerable"
                    )
            if any(m.trespassed() for m in with_guards.kept if isinstance(m, Guarded)):
                raise WrongResultError(f"at {list(sizes)} it writes beside its buffers")
        return worst

    def time(self, made: Runnable, error: float = 0.0) -> Measured:
        """Take turns with the default until the ratio is known, or time is up.

        Raises:
            DisturbedError: other work had the cores all the time.
        """
        clock = clock_of(self.task.threads)
        if self._reference_calls is None:
            self._reference_calls = self._calls(self._default)
            self._reference_count = calls_of_turn(self._reference_calls, clock)
        known = (self._reference_calls, self._floor, self._reference_count)
        turns = Turns(self._calls(made), *known, clock)
        end = time.perf_counter() + self.task.seconds + self.task.patience
        # What is slow by itself has few turns in that time, and is not disturbed for it.
        while turns.count < MOST_TURNS and (turns.count < FEW_TURNS or time.perf_counter() < end):
            turns.take()
            if turns.is_hopeless or (turns.is_known and turns.is_certain):
                break
            more = CONFIRMING if turns.is_suspicious else 1
            if turns.spent > more * self.task.seconds and turns.is_known:
                break
        self._floor = min(self._floor, min(turns.theirs))
        if not turns.is_known and not turns.is_hopeless:
            raise DisturbedError("other work on this machine has the cores")
        return turns.measured(error)

    def prepare(self) -> None:
        """Make what all candidates need: the inputs and reference outputs of all sizes."""
        for sizes in (*self.task.checked, self.task.sizes):
            self._reference(sizes)
            self._given(sizes)

    def forget(self, schedule: str) -> None:
        """Let go of a candidate's kernel; the default's stays."""
        if schedule != self.task.default:
            self._kernels.forget(schedule)

    def _reference(self, sizes: tuple[int, ...]) -> list[Any]:
        """The outputs of the naive loops, from the folder if they are there."""
        found = self._wanted.get(sizes)
        if found is None:
            found = self._stored(sizes)
        if found is None:
            found = self._compute(sizes)
            if not all(
                is_telling(w, p.dtype)
                for w, p in zip(found, self._outputs(self._naive_kernel(), sizes), strict=True)
            ):
                self._positive = True
                self._inputs.clear()
                found = self._compute(sizes)
            self._store(sizes, found)
        self._wanted[sizes] = found
        return found

    def _compute(self, sizes: tuple[int, ...]) -> list[Any]:
        naive = self._naive_kernel()
        memory = self._memory(naive, sizes, guarded=True)
        outputs = self._poisoned(naive, sizes, memory)
        call = naive.call(memory.addresses, sizes, 1)
        call()
        if call.complaint:
            raise TuningError(
                describe("workload", why=f"it refuses made-up inputs: {call.complaint}")
            )
        return [of_bytes(m.view(), p).copy() for p, m in outputs]

    def _naive_kernel(self) -> Runnable:
        if self._naive is None:
            self._naive = self._kernels.get(str(Schedule()), keep=True)
        return self._naive

    def _file(self, sizes: tuple[int, ...]) -> Path | None:
        if self._folder is None:
            return None
        text = f"{self.task.text}\n{self.task.constants}\n{sizes}"
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"

    def _stored(self, sizes: tuple[int, ...]) -> list[Any] | None:
        path = self._file(sizes)
        if path is None or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            if bool(arrays["positive"]) and not self._positive:
                self._positive = True
                self._inputs.clear()
            return [arrays[f"out{n}"] for n in range(len(arrays.files) - 1)]

    def _store(self, sizes: tuple[int, ...], found: Sequence[Any]) -> None:
        path = self._file(sizes)
        if path is not None:
            named = {f"out{n}": array for n, array in enumerate(found)}
            partial = path.with_suffix(".part.npz")
            np.savez(partial, positive=np.array(self._positive), **named)
            partial.replace(path)

    def _given(self, sizes: tuple[int, ...]) -> list[Any]:
        """The inputs, as they lie before any packing."""
        if sizes not in self._inputs:
            params = self._naive_kernel().params(sizes)
            count = len(self.task.constants)
            self._inputs[sizes] = [
                sample(p, n, self._positive) for n, p in enumerate(params[:count])
            ]
        return self._inputs[sizes]

    def _outputs(self, made: Runnable, sizes: tuple[int, ...]) -> list[Param]:
        return [p for p in made.params(sizes) if p.output]

    def _memory(self, made: Runnable, sizes: tuple[int, ...], *, guarded: bool) -> _Memory:
        """Memory for every buffer, inputs filled in and packed."""
        found = _Memory()
        letters = self.task.constants
        for n, param in enumerate(made.params(sizes)):
            held: Any
            if letters[n : n + 1] == "c":
                constant = self._constant(made, param, n, sizes)
                held = constant.guarded() if guarded else constant.copy(0)
            else:
                held = Guarded(param.bytes) if guarded else self._own(param)
                if n < len(letters):
                    self._put(made, param, n, sizes, held.address)
            found.kept.append(held)
            found.addresses.append(held.address)
        return found

    def _own(self, param: Param) -> Block:
        """A buffer's memory where kernels are timed: the same for all, since where it lies in the
        caches may make more of a difference than what they do."""
        key = (param.name, param.bytes)
        if key not in self._timed:
            self._timed[key] = Block(max(param.bytes, 1))
        return self._timed[key]

    def _constant(
        self, made: Runnable, param: Param, number: int, sizes: tuple[int, ...]
    ) -> Constant:
        """A constant as a kernel wants it to lie; laid out once for all that want it so."""
        key = (number, made.packings.get(param.name), param.shape, self._positive)
        found = self._constants.pop(key, None)
        if found is None:
            block = Block(max(param.bytes, 1))
            self._put(made, param, number, sizes, block.address)
            found = Constant(block, param.bytes)
            mine = [k for k in self._constants if k[0] == number]
            for old in mine[: len(mine) + 1 - KEPT_PACKINGS]:  # used longest ago
                del self._constants[old]
        self._constants[key] = found
        return found

    def _put(
        self, made: Runnable, param: Param, number: int, sizes: tuple[int, ...], address: int
    ) -> None:
        array = self._given(sizes)[number]
        source = array.__array_interface__["data"][0]
        packing = made.packings.get(param.name)
        if packing is None:
            ctypes.memmove(address, source, param.bytes)
            return
        self._kernels.packer(number, packing).call((source, address), (), 1)()

    def _poisoned(
        self, made: Runnable, sizes: tuple[int, ...], memory: _Memory
    ) -> list[tuple[Param, Guarded]]:
        """The outputs, each byte such that no result can be mistaken for it."""
        count = len(self.task.constants)
        found = []
        for n, param in enumerate(made.params(sizes)):
            if not param.output:
                continue
            if n < count:
                self._put(made, param, n, sizes, memory.addresses[n])  # updated in place
            else:
                memory.kept[n].fill(POISON)
            found.append((param, memory.kept[n]))
        return found

    def _calls(self, made: Runnable) -> list[Call]:
        """A call for each copy of the constants; one where they are to be in the caches."""
        task = self.task
        memory = self._memory(made, task.sizes, guarded=False)
        params = made.params(task.sizes)
        fixed = [n for n, letter in enumerate(task.constants) if letter == "c"]
        size = sum(params[n].bytes for n in fixed)
        copies = 1
        if task.cold and size:
            wanted = int(COLD_SHARE * max(self.target.l3_bytes, self.target.l2_bytes)) // size + 1
            copies = max(2, min(wanted, 256, MOST_COPY_BYTES // size)) | 1  # odd: both use all
        calls = []
        for copy in range(copies):
            addresses = list(memory.addresses)
            for n in fixed:
                block = self._constant(made, params[n], n, task.sizes).copy(copy)
                memory.kept.append(block)
                addresses[n] = block.address
            call = made.call(addresses, task.sizes, task.threads)
            call.memory = memory  # type: ignore[attr-defined]  # alive as long as the call
            calls.append(call)
        return calls
