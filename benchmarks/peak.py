"""What chosen cores can do at best: rates of arithmetic and of reading, measured without tc.

A share of a limit that tc had measured itself would prove little, so a small C program measures
it where a C compiler is there; else tc's own device properties are taken, and said to be.
"""

from __future__ import annotations

import copy
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SOURCE = Path(__file__).with_name("peak.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=gnu11", "-pthread")
KINDS = ("fma", "avx2", "bf16", "int8")
"""Instructions: the widest fp32 FMA, that of 256 bits, bf16 and int8 dot products."""
BEST_SECONDS, NOW_SECONDS = 0.3, 0.005
"""Time for which a limit is measured: to see it at its best, and to see it as it is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A rate of arithmetic in GFLOP/s and of reading in GB/s, and who measured them."""

    gflops: float
    gbytes: float
    source: str

    def bound_seconds(self, flops: float, bytes_moved: float) -> float:
        """The least time in which so much arithmetic and reading can be done."""
        return max(flops / (self.gflops * 1e9), bytes_moved / (self.gbytes * 1e9))


class Machine(Protocol):
    """Measures limits of the first `threads` of the benchmark's cores."""

    source: str

    def gflops(self, kind: str, threads: int) -> float:
        """Gop/s of instructions of one of KINDS, on all `threads`; 0.0 where there is no such."""

    def gbytes(self, footprint: int, threads: int) -> float:
        """GB/s of reading so many bytes again and again, shared between the threads."""

    def now(self) -> Machine:
        """The same machine as it is from now on, not as it is at its best.

        Neighbours slow a core for seconds, so what is timed is held against limits of the moment.
        """


def limits(machine: Machine, kind: str, threads: int, footprint: int) -> Limits:
    """The limits of work on so many bytes; without such instructions, those of fp32 FMA."""
    rate = machine.gflops(kind, threads) or machine.gflops("fma", threads)
    return Limits(rate, machine.gbytes(footprint, threads), machine.source)


def find_compiler() -> str | None:
    """The C compiler: $CC, cc or gcc."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for path in map(shutil.which, filter(None, names)) if path), None)


def step_of(footprint: int) -> int:
    """The nearest of sizes that grow by the square root of two: what is measured in its place."""
    return round(2.0 ** (round(2 * math.log2(max(footprint, 4096))) / 2))


class MeasuredInC:
    """Limits from a C program; each is measured once, when it is first asked for.

    They are the best of many short runs, or where the machine is taken as it is `now` their median.
    """

    source = "measured in C"

    def __init__(self, compiler: str, cores: tuple[int, ...]) -> None:
        self._compiler = compiler
        self._cores = cores
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-peak-")
        self._known: dict[tuple[object, ...], float] = {}
        self._figure, self._seconds = 0, BEST_SECONDS

    def now(self) -> MeasuredInC:
        """See `Machine`."""
        found = copy.copy(self)
        found._known, found._figure, found._seconds = {}, 1, NOW_SECONDS
        return found

    def gflops(self, kind: str, threads: int) -> float:
        """See `Machine`."""
        return self._ask(threads, kind)

    def gbytes(self, footprint: int, threads: int) -> float:
        """See `Machine`."""
        return self._ask(threads, "read", str(step_of(footprint)))

    def _ask(self, threads: int, *what: str) -> float:
        key = (threads, *what)
        if key not in self._known:
            cores = ",".join(map(str, self._cores[:threads]))
            command = [self._program, cores, str(self._seconds), *what]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            self._known[key] = float(done.stdout.split()[self._figure])
        return self._known[key]

    @property
    def _program(self) -> str:
        path = Path(self._folder.name) / "peak"
        if not path.exists():
            subprocess.run([self._compiler, *FLAGS, str(SOURCE), "-o", str(path)], check=True)
        return str(path)


class FromProperties:
    """Limits from the properties of tc's host device: of fp32 and of memory beyond the caches."""

    source = "tc.devices()"

    def __init__(self, properties: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError: properties that are missing or could not be measured."""
        self._gflops = {
            False: float(properties["peak_gflops"]),
            True: float(properties["peak_gflops_core"]),
        }
        self._gbytes = {
            False: float(properties["bandwidth"]),
            True: float(properties["bandwidth_core"]),
        }

    def gflops(self, kind: str, threads: int) -> float:
        """See `Machine`; the other kinds are not known, which counts as not there."""
        return self._gflops[threads == 1] if kind == "fma" else 0.0

    def gbytes(self, footprint: int, threads: int) -> float:
        """See `Machine`; the same for every footprint."""
        del footprint
        return self._gbytes[threads == 1]

    def now(self) -> FromProperties:
        """See `Machine`; what is known is of some time ago."""
        return self


def default_machine(cores: tuple[int, ...]) -> Machine:
    """The C program where a compiler is there, else tc's device. Raises RuntimeError."""
    compiler = find_compiler()
    if compiler is not None:
        return MeasuredInC(compiler, cores)
    try:
        import tc

        devices: Any = tc.devices
        return FromProperties(dict(devices()[0].properties))
    except (ImportError, AttributeError, KeyError, TypeError) as error:
        raise RuntimeError(f"no C compiler and no device properties ({error})") from error
