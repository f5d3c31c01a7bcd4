"""Lanes: the threads on which a logical device runs what its queues hand it.

One `Scheduler` per logical device owns the one lock of the device's books and gives ready work to
idle lanes, starting new ones up to its limit. Work is handed to a lane by name (never "notify
one of them"), so that none is lost between a wake-up and a time-out. A lane that has been idle for
a while ends, so a device that nobody closed leaves no thread behind.

The threads here only call programs; a program's own parallelism is the compiled code's matter.
This module must not know what fences, waits or signals mean: that is `queue.py`.
"""

from __future__ import annotations

import threading
from typing import Protocol

IDLE_SECONDS = 5.0


class Work(Protocol):
    """One piece of work: a begun submission."""

    def execute(self) -> None:
        """Run it on this thread; must not raise."""

    def fail(self, error: BaseException) -> None:
        """Report that it cannot run; must not raise."""

    def leave(self) -> None:
        """Free its place among its source's running ones; called with the lock held."""


class Source(Protocol):
    """Where work comes from: a queue. Both methods are called with the scheduler's lock held."""

    def head(self) -> tuple[int, int] | None:
        """The rank of the work that may begin next, the least first; None: nothing may begin."""

    def take(self) -> Work | None:
        """Begin that work and hand it over; None if it was cancelled in the meantime."""


class Scheduler:
    """Hands the ready work of several sources to lanes, the least rank first.

    Attributes:
        lock: guards the books of this scheduler and of its sources. Never held while a program,
            a callback or a semaphore's watcher runs.
        space: notified when a source has room or has become empty.
    """

    def __init__(self, lanes: int | None, name: str) -> None:
        """At most `lanes` threads at a time (None: as many as the sources ask for)."""
        self.name = name
        self.lock = threading.Lock()
        self.space = threading.Condition(self.lock)
        self.sources: list[Source] = []
        self._limit = lanes
        self._alive: set[_Lane] = set()
        self._idle: list[_Lane] = []

    def dispatch(self) -> list[tuple[Work, BaseException]]:
        """Give ready work to lanes as far as possible; call with the lock held.

        Returns the work for which no thread could be started: to be failed without the lock.
        """
        failed: list[tuple[Work, BaseException]] = []
        while self._idle or self._limit is None or len(self._alive) < self._limit:
            work = self.next_work()
            if work is None:
                break
            if self._idle:
                self._idle.pop().give(work)
                continue
            lane = _Lane(self, work)
            self._alive.add(lane)
            try:
                lane.start()
            except RuntimeError as error:  # the system refuses a new thread
                self._alive.discard(lane)
                work.leave()
                failed.append((work, error))
        return failed

    def next_work(self) -> Work | None:
        """Begin the work of the least rank among all sources; call with the lock held."""
        while True:
            ranked = [(head, n) for n, s in enumerate(self.sources) if (head := s.head())]
            if not ranked:
                return None
            work = self.sources[min(ranked)[1]].take()
            if work is not None:
                return work

    def on_lane(self) -> bool:
        """Whether the calling thread is a lane of this scheduler."""
        return threading.current_thread() in self._alive

    def stop_idle_lanes(self) -> None:
        """End the lanes that have nothing to do; call with the lock held."""
        for lane in self._idle:
            lane.give(None)
        self._idle.clear()

    def reset_after_fork(self) -> None:
        """In a forked child: a new lock, and no lanes, for fork copies no threads."""
        self.lock = threading.Lock()
        self.space = threading.Condition(self.lock)
        self._alive, self._idle = set(), []


class _Lane(threading.Thread):
    """One thread of a scheduler; a daemon, so that a hanging program cannot keep a process."""

    def __init__(self, scheduler: Scheduler, work: Work) -> None:
        super().__init__(name=f"{scheduler.name}/lane", daemon=True)
        self._scheduler = scheduler
        self._work: Work | None = work
        self._given = threading.Semaphore(1)

    def give(self, work: Work | None) -> None:
        """Hand work over, or None to end the lane; only while it is idle, with the lock held."""
        self._work = work
        self._given.release()

    def run(self) -> None:
        """Execute what is given until there has been nothing for `IDLE_SECONDS`."""
        scheduler = self._scheduler
        while self._wait_for_work():
            while (work := self._work) is not None:
                work.execute()
                with scheduler.lock:
                    work.leave()
                    self._work = scheduler.next_work()
                    if self._work is None:
                        scheduler._idle.append(self)

    def _wait_for_work(self) -> bool:
        """Wait to be given work; False: the lane is told to end, or has been idle for long."""
        if not self._given.acquire(timeout=IDLE_SECONDS):
            with self._scheduler.lock:
                if self in self._scheduler._idle:
                    self._scheduler._idle.remove(self)
                    self._scheduler._alive.discard(self)
                    return False
            self._given.acquire()  # work was given in the very moment of the time-out
        if self._work is None:
            with self._scheduler.lock:
                self._scheduler._alive.discard(self)
        return self._work is not None
