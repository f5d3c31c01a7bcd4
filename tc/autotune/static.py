"""How many cycles the inner loops of a candidate need at least, by its machine code alone.

LLVM's model of the processor is asked where llvm-mca is installed; else it is what a usual core
with two ports for products and two for loads could do. This module must not run anything.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.assembly.counts import LoopCounts, count_loops
from tc.codegen.assembly.machine_model import MachineModel
from tc.codegen.llvm.library import library
from tc.errors import UnsupportedError
from tc.ir.loop import Func
from tc.ir.passes import run_passes
from tc.target import Target

_PORTS: Final = 2.0  # for products; for loads too
_FRONT: Final = 4.0  # instructions a cycle
_SPILL: Final = 1.0  # cycle


class Throughput:
    """The static throughput of kernels on one target.

    Attributes:
        source: who says so, for people.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._model: MachineModel | None = None
        self.source = "counts of instructions"
        try:
            self._model = MachineModel(target)
            self.source = f"llvm-mca {self._model.version}"
        except UnsupportedError:
            pass

    def cycles(self, func: Func) -> float:
        """Cycles for a unit of work of the inner loop that does most of it.

        The work is products of floats, or, in a kernel that has none, bytes that are moved: those
        of candidates of one workload can be compared.

        Raises:
            TcError: the target's code cannot be made, or is not understood.
        """
        arch = self._target.llvm_triple.split("-")[0]
        flat = {"kernel": run_passes(func, self._target.fuses)}
        loops = count_loops(library(flat, self._target).assembly(comments=True), arch)
        if not loops:
            return 1.0
        most = max(loops, key=lambda loop: (loop.products, loop.loaded + loop.stored))
        work = most.products or most.loaded + most.stored or 1
        return self._iteration(most) / work

    def _iteration(self, loop: LoopCounts) -> float:
        timing = None if self._model is None else self._model.timing(loop)
        if timing is not None:
            return timing.cycles
        busiest = max(
            loop.fmas / _PORTS,
            loop.loads / _PORTS,
            float(loop.stores),
            loop.instructions / _FRONT,
        )
        return busiest + _SPILL * loop.spills
