"""Memory of a running program: the places of its temporaries, and blocks that they lie in.

`place` decides by liveness which temporaries may share memory; it is a pure function of sizes and
uses, so that it can be asked anew for each set of shapes. `Block` is memory from the system. This
module must not know what a program is.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Sequence

from tc.frozen import frozen

ALIGN = 64


@frozen
class Lifetime:
    """Memory of `bytes` that is in use from step `first` to step `last`, both included."""

    bytes: int
    first: int
    last: int


def place(lifetimes: Sequence[Lifetime]) -> tuple[tuple[int, ...], int]:
    """An offset for each, and the size of all together in bytes.

    Those in use at the same step do not overlap; offsets are multiples of `ALIGN`. Memory is taken
    in order of first use, larger ones first, each in the least gap that is large enough.
    """
    offsets = [0] * len(lifetimes)
    total = 0
    active: list[tuple[int, int, int]] = []  # (begin, end, last step), by begin
    order = sorted(range(len(lifetimes)), key=lambda n: (lifetimes[n].first, -lifetimes[n].bytes))
    for n in order:
        wanted = lifetimes[n]
        active = [a for a in active if a[2] >= wanted.first]
        size = max(align(wanted.bytes), ALIGN)
        begin = _least_gap(active, size)
        offsets[n] = begin
        total = max(total, begin + size)
        active.append((begin, begin + size, wanted.last))
        active.sort()
    return tuple(offsets), total


def _least_gap(active: Sequence[tuple[int, int, int]], size: int) -> int:
    best, least, at = -1, -1, 0
    for begin, end, _ in active:
        gap = begin - at
        if gap >= size and (least < 0 or gap < least):
            best, least = at, gap
        at = max(at, end)
    return at if best < 0 else best


def align(size: int) -> int:
    """`size` rounded up to a multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN


class Block:
    """Zeroed memory from the system at `address`, a multiple of `ALIGN`; freed with the object.

    It lies on huge pages where the system has them. The system puts maps next to each other, so
    blocks that are made one after the other and filled afterwards, as the weights of a program
    are, share the huge pages that are larger than each of them.
    """

    __slots__ = ("__weakref__", "_map", "address", "size")

    def __init__(self, size: int) -> None:
        self.size = max(size, mmap.PAGESIZE)
        # Private, for shared memory, the default, gets no huge pages.
        self._map = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # without huge pages, small ones serve too
                self._map.madvise(mmap.MADV_HUGEPAGE)

    def view(self, offset: int, size: int) -> ctypes.Array[ctypes.c_char]:
        """The bytes from `offset` on, as an object with a buffer; it must not outlive the block."""
        assert 0 <= offset <= offset + size <= self.size
        return (ctypes.c_char * size).from_address(self.address + offset)
