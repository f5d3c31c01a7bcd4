"""What one core can do at best: FMA rate and read bandwidth, measured without tc.

A share of a limit that tc had measured itself would prove little, so a small C program measures
it where a C compiler is there; else tc's own device properties are taken, and said to be.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("peak.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=gnu11")


@dataclass(frozen=True, slots=True)
class Limits:
    """One core's fp32 FMA rate in GFLOP/s and read bandwidth in GB/s, and who measured them."""

    gflops: float
    gbytes: float
    source: str

    def bound_seconds(self, flops: float, bytes_moved: float) -> float:
        """The least time in which a core can do this much arithmetic and reading."""
        return max(flops / (self.gflops * 1e9), bytes_moved / (self.gbytes * 1e9))


Measure = Callable[[int], Limits]
"""Limits for a working set of so many bytes."""


def find_compiler() -> str | None:
    """The C compiler: $CC, cc or gcc."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((path for path in map(shutil.which, filter(None, names)) if path), None)


@functools.cache
def _program(compiler: str) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    folder = tempfile.TemporaryDirectory(prefix="benchmarks-peak-")
    path = Path(folder.name) / "peak"
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(path)], check=True)
    return path, folder


def measure_in_c(compiler: str, core: int) -> Measure:
    """Measure on `core` with a program that `compiler` builds."""

    @functools.cache
    def measure(working_set: int) -> Limits:
        path, _ = _program(compiler)
        pinned = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
        command = [*pinned, str(path), str(working_set)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        gflops, gbytes = map(float, text.split())
        return Limits(gflops, gbytes, "measured in C")

    return measure


def from_properties(properties: Mapping[str, Any], cores: int) -> Limits:
    """One core's limits from the properties of tc's host device. Raises KeyError."""
    return Limits(
        float(properties["peak_gflops"]) / cores,
        float(properties["bandwidth_gbs"]) / cores,
        "tc.devices()",
    )


def default_measure(core: int) -> Measure:
    """The C program where a compiler is there, else tc's device. Raises RuntimeError."""
    compiler = find_compiler()
    if compiler is not None:
        return measure_in_c(compiler, core)
    try:
        import tc

        devices: Any = tc.devices
        properties = dict(devices()[0].properties)
        limits = from_properties(properties, int(properties["cores"]))
    except (ImportError, AttributeError, KeyError) as error:
        raise RuntimeError(f"no C compiler and no device properties ({error})") from error
    return lambda _: limits
