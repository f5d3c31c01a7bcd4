"""Memory between pages that may not be touched: a kernel that leaves its buffers is found out.

A buffer ends, but for what alignment asks for, where the first forbidden page begins; what is left
over before and behind it within its own pages holds a pattern that must still be there afterwards.
This module must not run kernels.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any, Final

import numpy as np

from tc.errors import TuningError, describe

ALIGN: Final = 64
PATTERN: Final = 0xA5
_PAGE: Final = mmap.PAGESIZE
_NONE, _BOTH = 0, mmap.PROT_READ | mmap.PROT_WRITE


class Guarded:
    """`size` bytes at `address`, a multiple of `ALIGN`, between two forbidden pages."""

    def __init__(self, size: int) -> None:
        self.size = size
        room = (max(size, 1) + _PAGE - 1) // _PAGE * _PAGE
        self._map = mmap.mmap(-1, room + 2 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._start, self._end = self._base + _PAGE, self._base + _PAGE + room
        self.address = (self._end - size) // ALIGN * ALIGN
        ctypes.memset(self._start, PATTERN, room)
        for page in (self._base, self._end):
            _protect(page, _NONE)

    def close(self) -> None:
        """Forbid writing to the buffer too, from now on."""
        _protect(self._start, mmap.PROT_READ, self._end - self._start)

    def __del__(self) -> None:
        # The interpreter may want to look at what it unmaps.
        _protect(self._base, _BOTH, self._end + _PAGE - self._base)

    def view(self) -> Any:
        """The buffer's bytes, as an array of uint8 that must not outlive it."""
        return np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(self.address))

    def fill(self, value: int) -> None:
        """Set every byte of the buffer."""
        ctypes.memset(self.address, value, self.size)

    def trespassed(self) -> bool:
        """Whether anything but the buffer was written within its pages."""
        before = self.address - self._start
        behind = self._end - self.address - self.size
        return any(
            ctypes.string_at(start, count) != bytes([PATTERN]) * count
            for start, count in ((self._start, before), (self.address + self.size, behind))
        )


def _protect(address: int, protection: int, size: int = _PAGE) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), protection):
        raise TuningError(
            describe("guard page", why="the system refuses to protect memory", way_out="")
        )
