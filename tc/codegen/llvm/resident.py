"""Giving memory back that compiling leaves behind: LLVM's heap, and the pages of its own code.

LLVM's library is some 70 MiB in memory once it has compiled something, and nothing looks at it
until the next compile; the system keeps it in its cache of files, so it costs a few milliseconds
to have it again. This module must not touch memory that was ever written to.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Weights beside which LLVM counts: less are compiled sooner if it stays where it is.
LARGE = 64 << 20
_LIBRARY = "libllvmlite"
_MAPS = Path("/proc/self/maps")


def release() -> None:
    """Call it after a compile; does nothing where the system has no such thing."""
    trim, advise = _functions()
    if trim is not None:
        trim(0)
    if advise is not None:
        for start, end in _code():
            advise(start, end - start, mmap.MADV_DONTNEED)


def _code() -> list[tuple[int, int]]:
    """Where LLVM's library is executable: mapped from its file, and never written to."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        place, rights, *_, path = line.split(maxsplit=5)
        if rights == "r-xp" and _LIBRARY in path.rpartition("/")[2]:
            start, end = place.split("-")
            found.append((int(start, 16), int(end, 16)))
    return found


@functools.cache
def _functions() -> tuple[Callable[[int], Any] | None, Callable[[int, int, int], Any] | None]:
    """The C library's malloc_trim and madvise, each None where it has none."""
    if sys.platform != "linux":
        return None, None
    library = ctypes.CDLL(None)
    trim, advise = getattr(library, "malloc_trim", None), getattr(library, "madvise", None)
    if trim is not None:
        trim.argtypes = [ctypes.c_size_t]
    if advise is not None:
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return trim, advise
