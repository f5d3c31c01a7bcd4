"""Queues: how programs are given to a device, in order, with waits, priorities and a bound.

`Queue.submit` hands a program to the device and returns a fence; `Queue.run` executes it on the
calling thread when the queue is empty, which is what a compiled program's call does, at a cost
of well under two microseconds. The semantics are stated in docs/devices.md. This module must not
know what a program is beyond its `run`, nor what kind of device it runs on.
"""

from __future__ import annotations

import copy
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from tc.device.faults import DeviceLost, FenceTimeoutError, QueueClosedError, QueueFullError
from tc.device.fence import Fence, FenceState
from tc.device.lanes import Scheduler, Work
from tc.device.submission import (
    Runnable,
    Signal,
    Submission,
    Wait,
    as_program,
    check_priority,
    invoke,
    read_signals,
    read_waits,
)
from tc.device.words import words
from tc.errors import DeviceError, describe


class Queue:
    """An ordered way into a logical device; made by `LogicalDevice.create_queue`.

    Attributes:
        name: for messages.
        gate: two words, see `tc.codegen.direct.Word`: GATE and INSIDE.
        depth: how many unfinished submissions it holds at most.
        concurrency: how many of its submissions run at a time at most.
        priority: the priority of its submissions that name none; higher goes first.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        *,
        depth: int,
        concurrency: int,
        priority: int,
        on_lost: Callable[[DeviceLost], bool],
    ) -> None:
        self.name = name
        self.depth = depth
        self.concurrency = concurrency
        self.priority = check_priority(priority)
        self.running: set[Work] = set()
        self._scheduler = scheduler
        self._on_lost = on_lost
        self._ready: list[Submission] = []
        self._unfinished: dict[Submission, None] = {}
        self._fault: DeviceError | None = None
        self._submitted = 0
        # One entry for each call of `run` in progress; a deque's append and pop are atomic.
        self._inline: deque[None] = deque()
        # For machine code, which does as `run` with the interpreter's lock held: whether a call
        # may not begin on its own thread, and how many are in progress.
        self.gate = words(2)

    def submit(
        self,
        program: Runnable | Callable[..., object],
        args: object = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        wait: Iterable[Wait] = (),
        signal: Iterable[Signal] = (),
        block: bool = True,
        timeout: float | None = None,
        priority: int | None = None,
    ) -> Fence:
        """Hand a program to the device and return the fence of this submission.

        Args:
            program: an object with `run(args)`, or a callable, called as `program(*args)`.
            args, kwargs: what it is run with; kept, not copied, until the fence is done.
            wait: fences, and `(semaphore, value)` pairs, that come before it.
            signal: `(semaphore, value)` pairs to signal when it has ended, however it ended.
            block: when the queue is full, wait for room, at most `timeout` seconds; else raise.
            priority: a whole number; higher begins first. Default: the queue's.

        Raises:
            QueueFullError: no room, and not to wait, or not any longer.
            QueueClosedError, DeviceLost: the queue takes no submission any more.
            DeviceError: an argument that is none of the above.
        """
        waits, signals = read_waits(wait), read_signals(signal)
        rank = self.priority if priority is None else check_priority(priority)
        submission = Submission(self, rank, signals, len(waits))
        submission.program = as_program(program)
        submission.args, submission.kwargs = args, kwargs
        scheduler = self._scheduler
        with scheduler.lock:
            self._admit(block, timeout)
            submission.number = self._submitted
            submission.fence.label = f"{self.name}: submission {self._submitted}"
            self._submitted += 1
            self._unfinished[submission] = None
            self._set_gate()
            failed = self._make_ready(submission) if not waits else []
        _fail_all(failed)
        for item in waits:
            if isinstance(item, Fence):
                item.add_callback(submission.met)
            else:
                item[0].watch(item[1], submission.met)
        return submission.fence

    def run(
        self, program: Runnable, args: object = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        """Execute `program.run(args)` in the order of the queue and return its result.

        On the calling thread if nothing submitted is unfinished, or if the caller is itself a
        program of this device; otherwise as a submission that is waited for. Several host threads
        may be in it at once. An error is raised as it is.

        Raises:
            QueueClosedError, DeviceLost: the queue takes no programs any more.
            DeviceError: `program` has no `run`.
        """
        # What follows is on the path of every compiled call: a few attribute reads, no lock. The
        # entry is made before the fault is read, and `close` does the opposite, so that one
        # of the two always sees the other.
        inline = self._inline
        inline.append(None)
        try:
            if not self._unfinished and self._fault is None:
                return program.run(args) if kwargs is None else invoke(program, args, kwargs)
        except DeviceLost as error:
            self.device_lost(error)
            raise
        except AttributeError:
            as_program(program)
            raise
        finally:
            inline.pop()
            if self._fault is not None:
                self.notify_closing()
        return self._run_in_turn(program, args, kwargs)

    def pending(self) -> int:
        """How many submissions are unfinished now: waiting, ready or running."""
        return len(self._unfinished)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Take no more submissions and wait until those that were taken have ended.

        Args:
            cancel: take back what has not begun; otherwise it still runs.
            timeout: how many seconds to wait at most (None: for ever).

        Raises:
            FenceTimeoutError: some submission has not ended in time; close again to go on waiting.
        """
        self.refuse()
        if cancel:
            with self._scheduler.lock:
                unfinished = list(self._unfinished)
            for submission in unfinished:
                submission.fence.cancel()
        with self._scheduler.lock:
            if self._scheduler.on_lane():
                return  # a program cannot wait for its own end
            if not self._scheduler.space.wait_for(self._empty, timeout):
                left = len(self._unfinished) + len(self._inline) + self.gate[1]
                raise FenceTimeoutError(
                    describe(
                        self.name,
                        where="close",
                        why=f"{left} unfinished after {timeout} s",
                        way_out="close(cancel=True) takes back what has not begun",
                    )
                )

    @property
    def closed(self) -> bool:
        """Whether it takes no more submissions, nor has any left."""
        return self._fault is not None and self._empty()

    def refuse(self) -> None:
        """For the device layer: take no more submissions, and tell those who wait for room."""
        with self._scheduler.lock:
            if self._fault is None:
                self._fault = _closed(self.name)
            self._set_gate()
            self._scheduler.space.notify_all()

    def device_lost(self, error: DeviceLost) -> bool:
        """For a submission: a program found a device dead; False if it was another one."""
        return self._on_lost(error)

    def lose(self, error: DeviceLost) -> None:
        """For the device layer: fail all that is unfinished and refuse what comes."""
        with self._scheduler.lock:
            self._fault = error
            self._set_gate()
            unfinished = list(self._unfinished)
            self._ready.clear()
            self._scheduler.space.notify_all()
        for submission in unfinished:
            submission.fail(error)

    def head(self) -> tuple[int, int] | None:
        """For the scheduler: the rank of what may begin next."""
        if len(self.running) >= self.concurrency or isinstance(self._fault, DeviceLost):
            return None
        while self._ready and self._ready[0].fence.state is not FenceState.PENDING:
            heapq.heappop(self._ready)
        return self._ready[0].rank if self._ready else None

    def take(self) -> Work | None:
        """For the scheduler: begin it."""
        submission = heapq.heappop(self._ready)
        if not submission.fence.begin():
            return None
        self.running.add(submission)
        return submission

    def wait_met(self, submission: Submission) -> None:
        """For a submission: one wait fewer."""
        with self._scheduler.lock:
            submission.waits -= 1
            failed = self._make_ready(submission) if submission.waits == 0 else []
        _fail_all(failed)

    def retire(self, submission: Submission) -> None:
        """For a submission whose outcome is decided: give its room to others."""
        with self._scheduler.lock:
            self._unfinished.pop(submission, None)
            self._set_gate()
            self._scheduler.space.notify_all()

    def reset_after_fork(self, error: DeviceLost) -> None:
        """For the device layer, in a forked child: what the parent submitted fails here."""
        unfinished, self._unfinished = self._unfinished, {}
        self._ready, self.running, self._inline = [], set(), deque()
        self.gate[1] = 0
        self._set_gate()
        for submission in unfinished:
            submission.fence.reset_after_fork()
            submission.fail(error)

    def _make_ready(self, submission: Submission) -> list[tuple[Work, BaseException]]:
        if submission not in self._unfinished:
            return []  # cancelled or lost while it waited
        heapq.heappush(self._ready, submission)
        return self._scheduler.dispatch()

    def _admit(self, block: bool, timeout: float | None) -> None:
        """Wait for room, with the lock held; whoever waits is let in once there is some."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._fault is not None:
                raise _fresh(self._fault)
            if len(self._unfinished) < self.depth:
                return
            left = None if end is None else end - time.monotonic()
            # A lane that waited for room in a queue of its own device might wait for itself.
            if not block or self._scheduler.on_lane() or (left is not None and left <= 0):
                raise QueueFullError(
                    describe(
                        self.name,
                        why=f"{len(self._unfinished)} unfinished submissions of {self.depth}",
                        way_out="wait for a fence, submit with block=True, or open with more depth",
                    )
                )
            self._scheduler.space.wait(left)

    def _run_in_turn(
        self, program: Runnable, args: object, kwargs: Mapping[str, object] | None
    ) -> object:
        fault = self._fault
        if self._scheduler.on_lane() and not isinstance(fault, DeviceLost):
            # Waiting for its own turn would never end, and what is draining may go on.
            return invoke(as_program(program), args, kwargs)
        if fault is not None:
            raise _fresh(fault)
        fence = self.submit(as_program(program), args, kwargs)
        try:
            return fence.result()
        finally:
            fence.cancel()  # no effect on a fence that is done: this is for a Ctrl-C

    def notify_closing(self) -> None:
        """After a call of `run`, or of machine code: whoever closes the queue may go on."""
        with self._scheduler.lock:
            self._scheduler.space.notify_all()

    def _set_gate(self) -> None:
        self.gate[0] = bool(self._unfinished) or self._fault is not None

    def _empty(self) -> bool:
        return not self._unfinished and not self._inline and not self.gate[1]

    def __deepcopy__(self, memo: dict[int, object]) -> Queue:
        return self  # a handle on a device, as a file is: a copied program shares it

    def __reduce__(self) -> NoReturn:
        raise DeviceError(f"{self.name}: a queue belongs to its process and cannot be pickled")

    def __repr__(self) -> str:
        state = "open" if self._fault is None else str(self._fault)
        return f"<Queue {self.name}: {len(self._unfinished)} unfinished, {state}>"


def _fail_all(failed: list[tuple[Work, BaseException]]) -> None:
    for work, error in failed:
        work.fail(error)


def _closed(name: str) -> QueueClosedError:
    return QueueClosedError(describe(name, why="closed", way_out="open the physical device again"))


def _fresh(fault: DeviceError) -> DeviceError:
    """The same error anew: one object raised in many threads would mix up their tracebacks."""
    return copy.copy(fault)
