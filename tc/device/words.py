"""Words of memory that Python and machine code both read and write."""

from __future__ import annotations

import ctypes

Words = ctypes.Array[ctypes.c_int64]


def word() -> Words:
    """One word, 0."""
    return words(1)


def words(count: int) -> Words:
    """So many words, all 0."""
    return (ctypes.c_int64 * count)()
