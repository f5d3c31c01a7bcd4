"""Which OpenMP runtime the entry of a program calls, and under which addresses.

The runtime that this process already holds is taken, so that there is one pool of threads: looked
up in /proc/self/maps, then the copies that torch and xgboost carry, then the system's. Without any
of them, programs run on one thread. How long its threads wait for work before they sleep is said
where this module loads it; one that is there already goes on as whoever loaded it wants.

This module must not import torch or xgboost.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tc.frozen import frozen

SYMBOLS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")

# libgomp's own count is for 3 to 15 ms of an idle core after each call; this is for less than one,
# also where a pause takes 140 cycles. The next call of a loop comes sooner, and finds them awake.
_SPINS: Final = "20000"
_WAITING: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@frozen
class Runtime:
    """A loaded OpenMP runtime: the file it came from, and the address of each of `SYMBOLS`."""

    path: str
    addresses: tuple[tuple[str, int], ...]


@functools.cache
def runtime() -> Runtime | None:
    """The runtime of this process, loaded on the first call; None where there is none."""
    for path in _candidates():
        try:
            with _soon_asleep():
                library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            found = [(s, ctypes.cast(library[s], ctypes.c_void_p).value) for s in SYMBOLS]
        except (OSError, AttributeError):
            continue  # not there, or not an OpenMP runtime with the interface of GCC
        return Runtime(path, tuple((s, a) for s, a in found if a is not None))
    return None


@contextlib.contextmanager
def _soon_asleep() -> Iterator[None]:
    """A runtime that is loaded meanwhile lets its threads sleep soon, if nothing else is said.

    It reads its settings from the environment, once.
    """
    if any(name in os.environ for name in _WAITING):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = _SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def _candidates() -> Iterator[str]:
    yield from _loaded(Path("/proc/self/maps"))
    for package, pattern in (
        ("torch", "lib/libgomp*.so*"),
        ("xgboost", "../xgboost.libs/libgomp*"),
    ):
        for folder in _folders(package):
            yield from (str(p) for p in sorted(folder.glob(pattern)))
    yield "libgomp.so.1"


def _loaded(maps: Path) -> list[str]:
    """The OpenMP runtimes of GCC that are mapped into this process, in order of address."""
    try:
        text = maps.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []  # not Linux
    found = re.findall(r"(/\S*/libgomp[^/\s]*\.so[^/\s]*)$", text, re.MULTILINE)
    return list(dict.fromkeys(found))


def _folders(package: str) -> list[Path]:
    """Where a package lies; it is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
