"""What is tuned of a torch model for a machine that is not at hand: its workloads, not its time.

The model runs here once, which tells the sizes; its graphs then go through the pipeline for the
target, as far as code. How the time is shared is estimated from operations and bytes. This module
must not search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from tc.autotune.session import Wanted
from tc.autotune.tune import Timing
from tc.autotune.workload import key_of
from tc.device.artifact import KernelCall
from tc.device.dims import compile_dim
from tc.frontend.options import Options
from tc.frontend.tuning_subject import COLD_SHARE, Part, Programs, TorchSubject
from tc.pipeline import Workload, assemble, shortened
from tc.schedule.step import Schedule
from tc.target import host

_BYTE: Final = 4.0  # operations that take as long as moving a byte, on a usual machine


class ForeignSubject:
    """The workloads of a model on another machine."""

    def __init__(
        self, model: torch.nn.Module, options: Options, example: tuple[Any, ...] | dict[str, Any]
    ) -> None:
        """Call the model here once.

        Raises:
            UnsupportedError, CompileError: as `tc.compile`.
        """
        # Other precisions need instructions that may not be here; sizes are the same.
        here = replace(options, target=host(), precision="fp32", codegen="llvm")
        self._options = options
        self._made: Programs = TorchSubject(model, here, example)
        self.name, self.inputs = self._made.name, self._made.inputs

    def wanted(self) -> list[Wanted]:
        """See `Subject.wanted`."""
        found: dict[tuple[str, tuple[int, ...]], Wanted] = {}
        for part in self._made.parts:
            for each in self._of(part):
                key = (key_of(each.workload).hash, each.sizes)
                known = found.setdefault(key, each)
                if known is not each:
                    share = known.share + each.share
                    found[key] = replace(known, calls=known.calls + 1, share=share)
        total = sum(each.share for each in found.values()) or 1.0
        shared = [replace(each, share=each.share / total) for each in found.values()]
        return sorted(shared, key=lambda each: -each.share)

    def time(self, choices: Sequence[Mapping[str, Schedule]]) -> list[Timing]:
        """Nothing can be timed: an empty list."""
        del choices
        return []

    def _of(self, part: Part) -> list[Wanted]:
        options, program = self._options, part.program
        assert program is not None and program.last_values is not None
        values = dict(zip(program.artifact.symbol_names, program.last_values, strict=True))
        graph = part.graph
        if options.precision != "fp32":
            graph = shortened(graph, options, lambda *_: None)
        workloads: list[Workload] = []
        artifact = assemble(graph, options.target, workloads.append).artifact
        given = [values[name] for name in artifact.symbol_names]
        weights = sum(n for _, n in program.constant_memory().values())
        target = options.target
        cold = COLD_SHARE * weights > max(target.l3_bytes, target.l2_bytes)
        found = []
        for step in artifact.main:
            if not isinstance(step, KernelCall):
                continue
            info, workload = artifact.kernels[step.kernel], workloads[step.kernel]
            known = {
                name: compile_dim(dim, artifact.symbol_names)(given)
                for name, dim in zip(info.symbols, step.sizes, strict=True)
            }
            sizes = tuple(known[name] for name in key_of(workload).symbols)
            own = [known[name] for name in info.symbols]
            cost = compile_dim(info.flops, info.symbols)(own) / info.rate
            cost += _BYTE * compile_dim(info.bytes, info.symbols)(own)
            name = info.name.partition("_")[2] or info.name
            fixed = bool(workload.computation.constants)
            found.append(Wanted(name, workload, sizes, 1, cost, cold and fixed, info.rate))
        return found
