"""Times of the kernels of one call, from the time stamps that compiled code takes on request.

This module must not decide what to profile, nor print.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from tc.device.artifact import FallbackCall, KernelCall


@dataclass(frozen=True, slots=True)
class CallTime:
    """One step of a call: what it was, with which values of the symbols, and its nanoseconds."""

    step: KernelCall | FallbackCall
    values: tuple[int, ...]
    nanoseconds: int


class Profile:
    """Collects the times of one call."""

    def __init__(self) -> None:
        self.times: list[CallTime] = []
        self._stamps: ctypes.Array[ctypes.c_int64] | None = None

    def begin(self, calls: int) -> int:
        """The address that a run of so many kernel calls writes its time stamps to."""
        self._stamps = (ctypes.c_int64 * (calls + 1))()
        return ctypes.addressof(self._stamps)

    def kernels(self, calls: tuple[KernelCall, ...], values: tuple[int, ...]) -> None:
        """Take note of a run that has ended."""
        stamps = self._stamps
        assert stamps is not None
        for number, call in enumerate(calls):
            self.times.append(CallTime(call, values, stamps[number + 1] - stamps[number]))

    def fallback(self, call: FallbackCall, nanoseconds: int) -> None:
        """Take note of an operator that ran eagerly."""
        self.times.append(CallTime(call, (), nanoseconds))
