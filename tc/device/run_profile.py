"""Times of the kernels of one call, from the time stamps that compiled code takes on request.

This module must not decide what to profile, nor print.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from tc.codegen.abi import stamp_count
from tc.device.artifact import FallbackCall, KernelCall
from tc.frozen import frozen


@frozen
class Span:
    """When one thread was at one step, in nanoseconds of CLOCK_MONOTONIC."""

    thread: int
    begin: int
    end: int


@frozen
class CallTime:
    """One step of a call: what it was, with which values of the symbols, and when it ran.

    `spans` has one entry for each thread that took part; an eager operator has one. Of a step in
    a loop they are those of the last of its `turns`, which stands for all of them.
    """

    step: KernelCall | FallbackCall
    values: tuple[int, ...]
    spans: tuple[Span, ...]
    turns: int = 1

    @property
    def begin(self) -> int:
        """When the first thread began."""
        return min(span.begin for span in self.spans)

    @property
    def end(self) -> int:
        """When the last thread was done."""
        return max(span.end for span in self.spans)

    @property
    def nanoseconds(self) -> int:
        """From the first beginning to the last end, for each turn."""
        return (self.end - self.begin) * self.turns

    @property
    def waiting(self) -> int:
        """Nanoseconds for which the threads on average had done their part, or not begun it."""
        busy = sum(span.end - span.begin for span in self.spans) * self.turns
        return self.nanoseconds - busy // len(self.spans)


class Profile:
    """Collects the times of one call of `threads` threads."""

    def __init__(self, threads: int) -> None:
        self.times: list[CallTime] = []
        self._threads = threads
        self._stamps: ctypes.Array[ctypes.c_int64] | None = None

    def begin(self, calls: int) -> int:
        """The address that a run of so many kernel calls writes its time stamps to."""
        self._stamps = (ctypes.c_int64 * stamp_count(calls, self._threads))()
        return ctypes.addressof(self._stamps)

    def kernels(
        self, calls: tuple[KernelCall, ...], values: tuple[int, ...], turns: Sequence[int]
    ) -> None:
        """Take note of a run that has ended, with how often each call of it ran."""
        stamps, own = self._stamps, stamp_count(len(calls), 1)
        assert stamps is not None
        for number, call in enumerate(calls):
            spans = [
                Span(
                    thread, stamps[thread * own + 2 * number], stamps[thread * own + 2 * number + 1]
                )
                for thread in range(self._threads)
            ]
            # The stamps of a thread that the runtime did not give are zero, as those of no turn.
            spans = [s for s in spans if s.begin] or spans[:1]
            self.times.append(CallTime(call, values, tuple(spans), turns[number]))

    def fallback(self, call: FallbackCall, begin: int, end: int) -> None:
        """Take note of an operator that ran eagerly."""
        self.times.append(CallTime(call, (), (Span(0, begin, end),)))
