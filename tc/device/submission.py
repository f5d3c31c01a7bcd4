"""Submissions: what a queue keeps of a program that was handed to it.

Here are the protocol of a program, the reading of `submit`'s arguments, and the life of one
submission from there to its fence. This module must not know the order in which a queue begins
its submissions, nor the threads that run them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, cast, runtime_checkable

from tc.device.faults import DependencyError, DeviceLost
from tc.device.fence import Fence, FenceState, TimelineSemaphore
from tc.device.lanes import Work
from tc.errors import DeviceError, describe

Wait = Fence | tuple[TimelineSemaphore, int]
Signal = tuple[TimelineSemaphore, int]


@runtime_checkable
class Runnable(Protocol):
    """What a queue runs: a compiled program, or anything else with a `run`."""

    def run(self, args: object, /) -> object:
        """Execute with `args`, as they were submitted, and return the result."""


class Call:
    """A plain callable as a program: `run(args)` is `function(*args)`."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def run(self, args: object, /, **kwargs: object) -> object:
        """Call the function with `args` spread out. Raises DeviceError if `args` has no parts."""
        if not isinstance(args, Iterable):
            raise DeviceError(
                describe(
                    f"args of type {type(args).__name__}",
                    where=f"call of {self.function!r}",
                    why="not a sequence of arguments",
                    way_out="submit a tuple",
                )
            )
        return self.function(*args, **kwargs)


class Owner(Protocol):
    """What a submission needs of the queue that holds it."""

    running: set[Work]

    def retire(self, submission: Submission, /) -> None:
        """Give the submission's room to others: its outcome is decided."""

    def wait_met(self, submission: Submission, /) -> None:
        """One of the things that it waits for has happened."""

    def device_lost(self, error: DeviceLost, /) -> bool:
        """A program found a device dead; False if it was another device than the queue's."""


class Submission:
    """A submitted program: the queue's record of it, and a `Work` of the scheduler."""

    __slots__ = ("args", "fence", "kwargs", "number", "priority", "program", "queue", "signal",
                 "waits")  # fmt: skip

    def __init__(self, queue: Owner, priority: int, signal: tuple[Signal, ...], waits: int) -> None:
        self.queue = queue
        self.priority = priority
        self.signal = signal
        self.waits = waits
        self.number = -1
        self.program: Runnable | None = None
        self.args: object = ()
        self.kwargs: Mapping[str, object] | None = None
        self.fence = Fence(retire=self._retire_cancelled)

    def __lt__(self, other: Submission) -> bool:
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[int, int]:
        """Higher priority first; then in the order of submission."""
        return (-self.priority, self.number)

    def execute(self) -> None:
        """Run the program and complete the fence, unless it has been completed meanwhile."""
        # In this order: `release` forgets the program first, so that one that is still there
        # has its arguments.
        args, kwargs, program = self.args, self.kwargs, self.program
        if program is None:
            return  # completed between its begin and now: the device was lost
        try:
            result = invoke(program, args, kwargs)
            for semaphore, value in self.signal:
                semaphore.signal(value)
        except DeviceLost as error:
            if not self.queue.device_lost(error):  # if so, this fence has failed with all others
                self.fail(error)
        except BaseException as error:  # noqa: BLE001  # even SystemExit must not end a lane
            self.fail(error)
        else:
            self._complete(FenceState.DONE, result=result)

    def fail(self, error: BaseException) -> None:
        """Complete the fence with `error`, unless it has been completed meanwhile."""
        self._complete(FenceState.FAILED, error=error)

    def leave(self) -> None:
        """Free the place among the queue's running ones."""
        self.queue.running.discard(self)

    def met(self, waited: Fence | None = None) -> None:
        """One of the things waited for has happened; a failed fence fails this one."""
        error = waited.error() if waited is not None else None
        if error is not None and waited is not None:
            failure = DependencyError(
                describe(
                    self.fence.label,
                    where=f"waits on {waited.label}",
                    why=f"that one failed: {error}",
                    way_out="submit again once its cause is removed",
                )
            )
            failure.__cause__ = error
            self.fail(failure)
            return
        self.queue.wait_met(self)

    def _complete(
        self, state: FenceState, result: object = None, error: BaseException | None = None
    ) -> None:
        if self.fence.claim():
            self.queue.retire(self)
            self.release()
            self.fence.publish(state, result, error)

    def _retire_cancelled(self) -> None:
        self.queue.retire(self)
        self.release()

    def release(self) -> None:
        """Let go of the program; its semaphores go on, lest somebody waits for ever."""
        self.program, self.args, self.kwargs = None, (), None
        for semaphore, value in self.signal:
            semaphore.advance(value)


def invoke(program: Runnable, args: object, kwargs: Mapping[str, object] | None) -> object:
    """Run a program; keyword arguments are for those whose `run` takes some."""
    if kwargs is None:
        return program.run(args)
    return cast(Callable[..., object], program.run)(args, **kwargs)


def as_program(program: object) -> Runnable:
    """A program, or a callable made into one. Raises DeviceError for anything else."""
    if isinstance(program, Runnable) and not isinstance(program, type):
        return program
    if callable(program):
        return Call(program)
    raise DeviceError(
        describe(
            f"program {type(program).__name__}",
            where="queue",
            why="it has no run(args) and cannot be called",
            way_out="pass a compiled program or a callable",
        )
    )


def check_priority(value: object) -> int:
    """A priority as `submit` and `create_queue` take it. Raises DeviceError for anything else."""
    if type(value) is not int:
        raise DeviceError(
            describe(
                f"priority={value!r}",
                where="queue",
                why="not a whole number",
                way_out="0 is usual, higher goes first",
            )
        )
    return value


def read_waits(items: Iterable[Wait]) -> tuple[Wait, ...]:
    """Check what `submit` is to wait for; a lone fence will do."""
    if isinstance(items, Fence):
        return (items,)
    return tuple(i if isinstance(i, Fence) else _pair("wait", i) for i in items)


def read_signals(items: Iterable[Signal]) -> tuple[Signal, ...]:
    """Check what `submit` is to signal."""
    return tuple(_pair("signal", item) for item in items)


def _pair(argument: str, item: object) -> Signal:
    match item:
        case (TimelineSemaphore() as semaphore, int() as value):
            semaphore.check(value)
            return semaphore, value
    raise DeviceError(
        describe(
            f"{argument}={item!r}",
            where="submit",
            why="not a (semaphore, value) pair",
            way_out="pass [(semaphore, value), …]; a wait may be a fence too",
        )
    )
