"""weights.bin: where each array lies in it, and writing it.

Equal arrays lie there once, whichever programs read them, so that tied weights and those of a
prompt and of a step are not stored twice. The format is described in `runtime/weights.c`. This
module must not know what an array is for.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from tc.frozen import frozen
from tc.ir.types import DType
from tc.standalone.spec import Memory

ALIGN, HEADER, VERSION = 64, 64, 1
_MAGIC = b"tcweight"
_PRIME, _BASIS = np.uint64(1099511628211), 14695981039346656037
_BLOCK = 1 << 22  # a multiple of large pages' size


@frozen
class Array:
    """One array: a C identifier, its bytes, where it begins in the file; -1: it is baked."""

    name: str
    offset: int
    memory: Memory
    dtype: DType


_ALIKE = 4096  # bytes from which on equal arrays are one, whatever they are called
_BEGINNING = 4096  # bytes


@dataclass(slots=True)
class Layout:
    """The arrays of a file, in order; those of at most `bake` bytes are in the sources instead."""

    bake: int = 0
    baked: list[Array] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)
    _by_memory: dict[tuple[int, int], Array] = field(default_factory=dict)
    _by_content: dict[tuple[str, int, bytes], list[Array]] = field(default_factory=dict)

    def array(self, name: str, memory: Memory, dtype: DType, unique: Callable[[str], str]) -> Array:
        """The array of this content: one of before, or a new one behind the others.

        Small arrays of another name are kept apart: those of zeros are equal by chance.

        Args:
            name: what it is.
            unique: makes an identifier of that.
        """
        place = (memory.address, memory.bytes)
        if place in self._by_memory:
            return self._by_memory[place]
        content = data(memory)
        # Arrays that differ do so at the beginning: few are compared as a whole.
        kind = ("" if memory.bytes >= _ALIKE else name, memory.bytes, bytes(content[:_BEGINNING]))
        alike = self._by_content.setdefault(kind, [])
        made = next((a for a in alike if _equal(data(a.memory), content)), None)
        if made is None:
            baked = memory.bytes <= self.bake
            made = Array(unique(name), -1 if baked else self._end, memory, dtype)
            (self.baked if baked else self.arrays).append(made)
            alike.append(made)
        return self._by_memory.setdefault(place, made)

    @property
    def bytes(self) -> int:
        """Of the file; 0 where everything is baked, and there is none."""
        return 0 if self.baked and not self.arrays else self._end

    @property
    def _end(self) -> int:
        if not self.arrays:
            return HEADER
        last = self.arrays[-1]
        return last.offset + -(-last.memory.bytes // ALIGN) * ALIGN


def data(memory: Memory) -> memoryview:
    """The bytes, not copied."""
    if memory.bytes == 0:
        return memoryview(b"")
    return memoryview((ctypes.c_char * memory.bytes).from_address(memory.address)).cast("B")


def _equal(one: memoryview, other: memoryview) -> bool:
    return bool(np.array_equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)))


def fingerprint(parts: Iterable[object]) -> int:
    """A number for a layout, the same for the same one on every machine."""
    digest = hashlib.sha256(repr(tuple(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little")


def write(file: BinaryIO, layout: Layout, mark: int) -> None:
    """Write the whole file; `mark` is its fingerprint.

    In blocks at multiples of their size, so that a system that keeps files in large pages of its
    cache has these in such, from where they are mapped.
    """
    total = Checksum()
    block = memoryview(bytearray(_BLOCK))
    begin, end = HEADER, HEADER  # of what is in it, behind the file's header

    def flush() -> None:
        nonlocal begin, end
        if end > begin:
            total.add(block[begin:end])
            file.write(block[:end])
        begin = end = 0

    for array in layout.arrays:
        held, at = data(array.memory), 0
        while at < len(held):
            piece = held[at : at + _BLOCK - end]
            at += len(piece)
            block[end : end + len(piece)] = piece
            rest = -len(piece) % ALIGN
            block[end + len(piece) : end + len(piece) + rest] = bytes(rest)
            end += len(piece) + rest
            if end == _BLOCK:
                flush()
    flush()
    head = _MAGIC + struct.pack("<IIQQQQQ", VERSION, 0, layout.bytes, mark, total.value(), 0, 0)
    own = Checksum()
    own.add(head)
    file.seek(0)
    file.write(head + struct.pack("<Q", own.value()))


class Checksum:
    """The checksum of `runtime/weights.c`: polynomials over 64-bit words, modulo 2**64.

    Of eight interleaved ones each takes every eighth word: lane = lane * prime + word. The prime is
    odd, so no change of one word goes unseen.
    """

    def __init__(self) -> None:
        self._lanes = np.array([(_BASIS + k) % 2**64 for k in range(8)], np.uint64)

    def add(self, piece: bytes | memoryview) -> None:
        """Go on with bytes: a multiple of 64 of them, but for the last piece (a multiple of 8)."""
        words = np.frombuffer(piece, "<u8")
        rows, rest = divmod(len(words), 8)
        powers = _powers(rows + 1)
        with np.errstate(over="ignore"):
            weighted = words[: 8 * rows].reshape(rows, 8) * powers[1:, None]
            self._lanes = self._lanes * powers[0] + weighted.sum(axis=0, dtype=np.uint64)
            if rest:
                self._lanes[:rest] = self._lanes[:rest] * _PRIME + words[8 * rows :]

    def value(self) -> int:
        """The checksum of all."""
        total = _BASIS
        for lane in self._lanes.tolist():
            total = (total * int(_PRIME) + (lane ^ (lane >> 32))) % 2**64
        return total


@lru_cache(4)
def _powers(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The powers of the prime from count - 1 down to 0."""
    with np.errstate(over="ignore"):
        found = np.full(count, _PRIME, np.uint64)
        found[0] = 1
        return np.multiply.accumulate(found, dtype=np.uint64)[::-1].copy()
