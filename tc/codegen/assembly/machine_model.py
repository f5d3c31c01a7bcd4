"""How many cycles an inner loop takes by LLVM's model of a processor, as llvm-mca has it.

The model knows latencies, units and how many micro-operations a cycle begins; every load hits the
first cache. llvm-mca is a program of LLVM's own packages, not part of llvmlite. Without it there
are no cycles. This module must not read assembly.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cached_property, lru_cache
from typing import Final

from tc.codegen.assembly.counts import LoopCounts, probes
from tc.errors import UnsupportedError, describe
from tc.frozen import frozen
from tc.target import Target

_VERSIONS: Final = range(30, 13, -1)  # later ones know more processors, and better
_ITERATIONS: Final = 200
_PROBES: Final = {"aarch64": 24, "x86_64": 14}  # independent sums that fit the registers


@frozen
class Timing:
    """What the model says of a loop.

    Attributes:
        cycles: of an iteration, on average over many.
        units, front: the cycles that the busiest unit and that dispatch need at least.
        peak: the share of the rate of multiply-adds that the processor could reach; 0 without any.
    """

    cycles: float
    units: float
    front: float
    peak: float

    @property
    def limit(self) -> str:
        """What keeps it from being faster: "units", "front end", or "latency"."""
        if self.cycles > 1.1 * max(self.units, self.front):
            return "latency"
        return "units" if self.units >= self.front else "front end"


class MachineModel:
    """LLVM's model of the processor of a target."""

    def __init__(self, target: Target) -> None:
        """Raises UnsupportedError: llvm-mca is not installed; names the package."""
        self._command = (find_mca(), f"-mtriple={target.llvm_triple}", f"-mcpu={target.llvm_cpu}")
        self._attributes = target.llvm_features
        self._arch = target.llvm_triple.split("-")[0]
        self._sums = _PROBES.get(self._arch, 1)
        self.cpu = target.llvm_cpu

    @cached_property
    def version(self) -> str:
        """The version of llvm-mca."""
        said = subprocess.run(
            [self._command[0], "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"version (\d+)", said)
        return found[1] if found is not None else "?"

    def timing(self, loop: LoopCounts) -> Timing | None:
        """What the model says; None where it does not know an instruction."""
        found = self._run(loop.body)
        if found is None:
            return None
        cycles, units, front = found
        fastest = 0.0
        for kind, count in loop.kinds:
            fastest += count * self._alone(kind)
        return Timing(cycles, units, front, fastest / cycles)

    def _alone(self, kind: str) -> float:
        """The cycles of an instruction of a kind where nothing else is to be done."""
        every = [
            self._run(tuple(probe.format(n=n) for n in range(self._sums)))
            for probe in probes(kind, self._arch)
        ]
        return min((found[0] for found in every if found is not None), default=0.0) / self._sums

    def _run(self, body: tuple[str, ...]) -> tuple[float, float, float] | None:
        return _run_mca((*self._command, f"-mattr={self._attributes}"), body)


@lru_cache(1024)
def _run_mca(command: tuple[str, ...], body: tuple[str, ...]) -> tuple[float, float, float] | None:
    """Cycles of an iteration, of the busiest unit and of dispatch."""
    options = [f"-iterations={_ITERATIONS}", "-instruction-info=false", "-resource-pressure=false"]
    done = subprocess.run(
        [*command, *options],
        input="\n".join([*body, ""]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or "error:" in done.stderr:  # some leave out what they do not know
        return None
    names = ("Total Cycles", "Block RThroughput", "Total uOps", "Dispatch Width")
    found = {name: re.search(rf"{name}:\s+([\d.]+)", done.stdout) for name in names}
    cycles, units, operations, width = (float(m[1]) if m else 0.0 for m in found.values())
    return cycles / _ITERATIONS, units, operations / _ITERATIONS / max(width, 1.0)


def find_mca() -> str:
    """The path of llvm-mca, of the latest version that is installed.

    Raises:
        UnsupportedError: there is none; names the package.
    """
    for name in (*(f"llvm-mca-{n}" for n in _VERSIONS), "llvm-mca"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise UnsupportedError(
        describe(
            "cycles of a loop by a machine model",
            why="there is no llvm-mca on this machine",
            way_out="install llvm (Debian's name)",
        )
    )
