"""Logical devices: an opened physical device, with its queues, until it is closed or lost.

The interface is the same whatever kind of device is behind it. A logical device is a handle: copies
of a program share it, and a forked child starts with empty queues. This module must not know what
programs are, nor how devices are found.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import fields
from types import TracebackType
from typing import NoReturn, Protocol

from tc.device.faults import DeviceLost
from tc.device.lanes import Scheduler
from tc.device.properties import Properties
from tc.device.queue import Queue
from tc.errors import DeviceError, describe
from tc.frozen import frozen


@frozen
class DeviceOptions:
    """How a device is opened.

    Attributes:
        depth: unfinished submissions that a queue holds at most.
        concurrency: submissions of one queue that run at a time at most. Programs are parallel in
            themselves, so more than one is for programs that wait for something else.
        lanes: submissions of all queues together that run at a time at most; None: no limit.
    """

    depth: int = 64
    concurrency: int = 1
    lanes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "lanes":
                continue
            if type(value) is not int or value < 1:
                raise _bad_option(field.name, value, "not a whole number of at least 1")

    @staticmethod
    def of(options: DeviceOptions | Mapping[str, int | None] | None) -> DeviceOptions:
        """Read options given as a mapping. Raises DeviceError for an unknown or bad one."""
        if isinstance(options, DeviceOptions):
            return options
        given = dict(options or {})
        known = [field.name for field in fields(DeviceOptions)]
        for name in given:
            if name not in known:
                raise _bad_option(name, given[name], f"unknown; known: {', '.join(known)}")
        return DeviceOptions(**given)  # type: ignore[arg-type]  # checked in __post_init__


class Opened(Protocol):
    """What a logical device needs of the physical device behind it."""

    @property
    def name(self) -> str:
        """Its name, such as "cpu:0"."""

    @property
    def properties(self) -> Properties:
        """Its properties."""

    def open(
        self,
        credentials: Mapping[str, str] | None = None,
        options: DeviceOptions | Mapping[str, int | None] | None = None,
    ) -> LogicalDevice:
        """Open it, another time if it is open."""


class LogicalDevice:
    """An opened device; made by `PhysicalDevice.open`, closed at the end of a `with` block.

    Attributes:
        physical: the device behind it.
        options: how it was opened.
        name: unique in this process, such as "cpu:0#1".
        queue: the queue that is always there; `create_queue` makes more.
    """

    def __init__(self, physical: Opened, options: DeviceOptions) -> None:
        self.physical = physical
        self.options = options
        self.name = f"{physical.name}#{next(_NUMBERS)}"
        self._lock = threading.Lock()
        self._fault: DeviceError | None = None
        self._queues: list[Queue] = []
        self._numbers = itertools.count()
        self._scheduler = Scheduler(options.lanes, self.name)
        self.queue = self.create_queue()
        _OPEN.add(self)

    @property
    def properties(self) -> Properties:
        """The properties of the physical device."""
        return self.physical.properties

    @property
    def queues(self) -> tuple[Queue, ...]:
        """All queues that were made and are not closed, oldest first."""
        return tuple(queue for queue in self._queues if not queue.closed)

    @property
    def error(self) -> DeviceError | None:
        """Why the device takes no programs any more: DeviceLost, or closed; None while it does."""
        return self._fault

    def create_queue(
        self,
        *,
        priority: int = 0,
        depth: int | None = None,
        concurrency: int | None = None,
    ) -> Queue:
        """One more queue; what is not given is as in `options`.

        Args:
            priority: of its submissions that name none. Between queues it decides who gets a free
                lane, so it matters where `options.lanes` is a number.

        Raises:
            DeviceError: a bad depth or concurrency; the device is closed or lost.
        """
        chosen = DeviceOptions(
            depth=self.options.depth if depth is None else depth,
            concurrency=self.options.concurrency if concurrency is None else concurrency,
        )
        with self._lock:
            if self._fault is not None:
                raise self._fault
            queue = Queue(
                self._scheduler,
                f"{self.name}/queue {next(self._numbers)}",
                depth=chosen.depth,
                concurrency=chosen.concurrency,
                priority=priority,
                on_lost=self._program_lost,
            )
            self._queues = [*self.queues, queue]
        with self._scheduler.lock:
            self._scheduler.sources[:] = self._queues
        return queue

    def lose(self, reason: str) -> None:
        """Declare the device dead: every pending fence fails now, and nothing more is taken.

        A program that is running is not interrupted; what it returns is dropped.
        """
        error = DeviceLost(
            describe(self.name, why=f"device lost: {reason}", way_out="reopen() it"), self.name
        )
        with self._lock:
            if isinstance(self._fault, DeviceLost):
                return
            self._fault = error
        for queue in self.queues:
            queue.lose(error)
        with self._scheduler.lock:
            self._scheduler.stop_idle_lanes()

    def reopen(self) -> LogicalDevice:
        """Another logical device on the same physical one, with the same options."""
        return self.physical.open(options=self.options)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Close all queues, see `Queue.close`; a device that is closed or lost stays as it is.

        Raises:
            FenceTimeoutError: some submission has not ended in time; close again to go on waiting.
        """
        with self._lock:
            if self._fault is None:
                self._fault = DeviceError(
                    describe(self.name, why="the device is closed", way_out="reopen() it")
                )
        if isinstance(self._fault, DeviceLost):
            return
        for queue in self.queues:  # first of all nothing new, then wait for each
            queue.refuse()
        for queue in self.queues:
            queue.close(cancel=cancel, timeout=timeout)
        with self._scheduler.lock:
            self._scheduler.stop_idle_lanes()

    def _program_lost(self, error: DeviceLost) -> bool:
        if error.device not in ("", self.name):
            return False
        self.lose(error.message)
        return True

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._scheduler.reset_after_fork()
        error = DeviceLost(
            describe(
                self.name,
                why="submitted by the parent process, and fork copies no threads",
                way_out="wait for it in the parent, or submit it again here",
            ),
            self.name,
        )
        for queue in self._queues:
            queue.reset_after_fork(error)

    def __enter__(self) -> LogicalDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(cancel=error is not None)

    def __deepcopy__(self, memo: dict[int, object]) -> LogicalDevice:
        return self  # a handle, as a file is: a copied program shares it

    def __reduce__(self) -> NoReturn:
        raise DeviceError(f"{self.name}: an open device belongs to its process; it has no pickle")

    def __repr__(self) -> str:
        return f"<LogicalDevice {self.name}: {self._fault or 'open'}>"


def _bad_option(name: str, value: object, why: str) -> DeviceError:
    return DeviceError(
        describe(f"{name}={value!r}", where="device options", why=why, way_out="leave it out")
    )


_NUMBERS = itertools.count()
_OPEN: weakref.WeakSet[LogicalDevice] = weakref.WeakSet()


def _reset_devices_after_fork() -> None:
    for device in list(_OPEN):
        device._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_devices_after_fork)
