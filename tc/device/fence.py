"""Fences and timeline semaphores: how host code and submissions wait for one another.

A `Fence` belongs to one submission and tells its outcome: a result, an error, or a cancellation.
A `TimelineSemaphore` is a 64-bit counter that only grows; it carries order between submissions,
queues, devices and host threads, and says nothing of success. Both are host objects that work
whatever kind of device is behind them. This module must not know of queues, devices or threads
that run programs: it hands over notifications and nothing else.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Generator
from typing import NoReturn

from tc.device.faults import FenceCancelledError, FenceTimeoutError
from tc.errors import DeviceError, describe

_LOG = logging.getLogger("tc.device")
MAX_SEMAPHORE_VALUE = (1 << 64) - 1


class FenceState(enum.Enum):
    """Where a submission stands; DONE, FAILED and CANCELLED are final."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_FINAL = frozenset({FenceState.DONE, FenceState.FAILED, FenceState.CANCELLED})


class Fence:
    """The outcome of one submission, from any thread or asyncio task.

    A fence is completed exactly once. Completion is in two steps, `claim` by whoever decides the
    outcome and `publish` once the queue's books are in order, so that who sees a fence done also
    sees the room that it left in its queue. Both steps are for the device layer alone.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_claimed",
        "_condition",
        "_error",
        "_result",
        "_retire",
        "_state",
        "label",
    )

    def __init__(self, label: str = "fence", retire: Callable[[], None] | None = None) -> None:
        """A pending fence; `retire` is called after a successful `cancel`, before it shows."""
        self.label = label
        self._condition = threading.Condition(threading.Lock())
        self._state = FenceState.PENDING
        self._claimed = False
        self._result: object = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Fence], None]] = []
        self._retire = retire

    @property
    def state(self) -> FenceState:
        """Where the submission stands now."""
        return self._state

    def done(self) -> bool:
        """Whether the outcome is known: a result, an error or a cancellation."""
        return self._state in _FINAL

    def cancelled(self) -> bool:
        """Whether the submission was cancelled before it began."""
        return self._state is FenceState.CANCELLED

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) and tell whether the outcome is known.

        Never raises the submission's error: ask `error` or `result` for that.
        """
        with self._condition:
            return self._condition.wait_for(self.done, timeout)

    def result(self, timeout: float | None = None) -> object:
        """Wait, then return what the program returned.

        Raises:
            FenceTimeoutError: nothing after `timeout` seconds; the submission goes on.
            FenceCancelledError, DeviceLost, DependencyError: the program did not run to its end.
            Exception: whatever the program raised, the same object.
        """
        if not self.wait(timeout):
            self._raise_timeout(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def error(self, timeout: float | None = None) -> BaseException | None:
        """Wait, then return why the submission failed, or None if it did not.

        Raises:
            FenceTimeoutError: nothing after `timeout` seconds.
        """
        if not self.wait(timeout):
            self._raise_timeout(timeout)
        return self._error

    def cancel(self) -> bool:
        """Take the submission back if its program has not begun; tell whether it is cancelled.

        A program that has begun is never interrupted: then this is False and nothing changes.
        """
        with self._condition:
            if self._claimed or self._state is not FenceState.PENDING:
                return self._state is FenceState.CANCELLED
            self._claimed = True
        retire = self._retire
        if retire is not None:
            retire()
        self.publish(FenceState.CANCELLED, error=FenceCancelledError(f"{self.label}: cancelled"))
        return True

    def add_callback(self, callback: Callable[[Fence], None]) -> None:
        """Call `callback(fence)` once when the outcome is known, at once if it is already.

        It runs on the thread that completes the fence, in the order in which callbacks were
        added, and should be short. What it raises is logged and reaches nobody else.
        """
        with self._condition:
            if self._state not in _FINAL:
                self._callbacks.append(callback)
                return
        self._call(callback)

    def __await__(self) -> Generator[object, None, object]:
        """In asyncio: suspend the task until the outcome is known, then do as `result` does.

        Cancelling the awaiting task leaves the submission alone.
        """
        import asyncio  # here for the sake of `import tc`: who awaits has loaded it already

        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def notify(_: Fence) -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # the loop was closed in between: no task is left to wake
                _LOG.debug("%s: completed after its event loop was closed", self.label)

        self.add_callback(notify)
        yield from waiter
        return self.result(timeout=0)

    def begin(self) -> bool:
        """For the device layer: mark the program as begun; False if it must not begin any more."""
        with self._condition:
            if self._claimed:
                return False
            self._state = FenceState.RUNNING
            return True

    def claim(self) -> bool:
        """For the device layer: reserve the right to `publish`; False if another came first."""
        with self._condition:
            if self._claimed:
                return False
            self._claimed = True
            return True

    def publish(
        self, state: FenceState, result: object = None, error: BaseException | None = None
    ) -> None:
        """For the device layer, after `claim`: make the outcome known and run the callbacks."""
        with self._condition:
            self._result, self._error, self._state = result, error, state
            callbacks, self._callbacks = self._callbacks, []
            self._retire = None
            self._condition.notify_all()
        for callback in callbacks:
            self._call(callback)

    def reset_after_fork(self) -> None:
        """For the device layer: in a forked child, undo what a missing thread had in hand."""
        self._condition = threading.Condition(threading.Lock())
        self._claimed = self.done()

    def _call(self, callback: Callable[[Fence], None]) -> None:
        try:
            callback(self)
        except BaseException as error:  # it harms no fence, no other, and no lane
            here = threading.current_thread() is threading.main_thread()
            if here and isinstance(error, KeyboardInterrupt):
                raise  # Ctrl-C
            _LOG.exception("%s: a callback failed", self.label)

    def _raise_timeout(self, timeout: float | None) -> NoReturn:
        raise FenceTimeoutError(
            describe(
                self.label,
                why=f"still {self._state.value} after {timeout} s",
                way_out="wait longer, or cancel() it if it has not begun",
            )
        )

    def __deepcopy__(self, memo: dict[int, object]) -> Fence:
        return self  # a handle on one submission: a copy of it would never complete

    def __reduce__(self) -> NoReturn:
        raise DeviceError(f"{self.label}: a fence belongs to its process and cannot be pickled")

    def __repr__(self) -> str:
        return f"<Fence {self.label}: {self._state.value}>"


class TimelineSemaphore:
    """A 64-bit counter that never decreases; waiting for a value before it is signalled is legal.

    Host threads use `signal` and `wait`; submissions name `(semaphore, value)` pairs in their
    `wait` and `signal` arguments, on any queue of any device.
    """

    __slots__ = ("__weakref__", "_condition", "_order", "_value", "_watchers", "name")

    def __init__(self, value: int = 0, name: str = "semaphore") -> None:
        """A semaphore that starts at `value`. Raises DeviceError if that is no 64-bit count."""
        self.name = name
        self._value = self.check(value)
        self._condition = threading.Condition(threading.Lock())
        self._watchers: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        _SEMAPHORES.add(self)

    @property
    def value(self) -> int:
        """The value now; it may already be greater when the caller looks at it."""
        return self._value

    def signal(self, value: int) -> None:
        """Raise the counter to `value` and release everything that waits for it or for less.

        Signalling the present value again changes nothing.

        Raises:
            DeviceError: `value` is less than the present value, or no 64-bit count.
        """
        self.check(value)
        with self._condition:
            if value < self._value:
                raise DeviceError(
                    describe(
                        self.name,
                        why=f"signal({value}) would decrease its value {self._value}",
                        way_out="signal values in increasing order",
                    )
                )
            due = self._raise_to(value)
        for watcher in due:
            watcher()

    def wait(self, value: int, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) for `value`; tell whether it is reached."""
        self.check(value)
        with self._condition:
            return self._condition.wait_for(lambda: self._value >= value, timeout)

    def advance(self, value: int) -> None:
        """For the device layer: as `signal`, but a value that is already passed is no error."""
        with self._condition:
            due = self._raise_to(value) if value > self._value else []
        for watcher in due:
            watcher()

    def watch(self, value: int, watcher: Callable[[], None]) -> None:
        """For the device layer: call `watcher` once when `value` is reached, at once if it is."""
        self.check(value)
        with self._condition:
            if self._value < value:
                heapq.heappush(self._watchers, (value, next(self._order), watcher))
                return
        watcher()

    def _raise_to(self, value: int) -> list[Callable[[], None]]:
        self._value = value
        self._condition.notify_all()
        due = []
        while self._watchers and self._watchers[0][0] <= value:
            due.append(heapq.heappop(self._watchers)[2])
        return due

    def check(self, value: int) -> int:
        """Return `value` if a semaphore can hold it. Raises DeviceError if not."""
        if type(value) is not int or not 0 <= value <= MAX_SEMAPHORE_VALUE:
            raise DeviceError(
                describe(
                    f"semaphore value {value!r}",
                    where=self.name,
                    why="not an integer of 64 bits",
                    way_out="use 0 to 2**64 - 1",
                )
            )
        return value

    def _reset_after_fork(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._watchers = []  # they belong to submissions of the parent

    def __deepcopy__(self, memo: dict[int, object]) -> TimelineSemaphore:
        return self  # a handle: who waits on it must see what is signalled on it

    def __reduce__(self) -> NoReturn:
        raise DeviceError(f"{self.name}: a semaphore belongs to its process; it cannot be pickled")

    def __repr__(self) -> str:
        return f"<TimelineSemaphore {self.name}: {self._value}>"


_SEMAPHORES: weakref.WeakSet[TimelineSemaphore] = weakref.WeakSet()


def _reset_semaphores_after_fork() -> None:
    for semaphore in list(_SEMAPHORES):
        semaphore._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_semaphores_after_fork)
