"""What is tuned of torch: its workloads at the sizes of a call, and whole programs in turns.

The model is compiled as `tc.compile` does; here it is noted what the pipeline asks schedules for,
and what a call at the example's sizes spends on each kernel. This module must not search.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch

from tc.autotune.session import Wanted
from tc.autotune.tune import Timing
from tc.autotune.workload import key_of
from tc.device.artifact import KernelCall
from tc.device.dims import compile_dim
from tc.device.run import Program
from tc.device.run_account import account
from tc.device.run_code import load_functions
from tc.frontend.captured import Interface, Request
from tc.frontend.folder import without_grad
from tc.frontend.hf import wrap
from tc.frontend.layers_kept import Layers
from tc.frontend.options import Options
from tc.frontend.recall import Builder
from tc.frontend.recall_entry import Built
from tc.frontend.runner import Runner
from tc.frontend.tensors import TorchArrays
from tc.graph.graph import Graph
from tc.pipeline import Chosen, Compiled, Workload, compile_graph
from tc.schedule.step import Schedule

RUNS: Final = 9  # of each program in turns
COLD_SHARE: Final = 2  # constants of more than this part of the last cache do not stay in it


@dataclass(slots=True)
class Part:
    """A program that is tuned.

    Attributes:
        options: it is compiled under them.
        workloads: those of its kernels, by number.
        load: another program of the same graph, from its compilation.
        tensors: the arguments of the call that it is tuned for.
    """

    graph: Graph
    options: Options
    workloads: list[Workload]
    load: Callable[[Compiled], Program] | None = None
    program: Program | None = None
    tensors: list[torch.Tensor] | None = None


class _Recording(Runner):
    """A runner that keeps the arguments of its last call."""

    def __init__(self, built: Built, options: Options, part: Part) -> None:
        super().__init__(built, options)
        self._part = part

    def __call__(self, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        self._part.tensors = list(tensors)
        return super().__call__(tensors)


class Programs:
    """Programs and a call of each, as `tc.autotune.tune` wants them.

    Attributes:
        name, inputs: see `Subject`.
        parts: the programs.
    """

    def __init__(self, name: str, options: Options, parts: Sequence[Part]) -> None:
        self.name = name
        self._options = options
        self.parts = list(parts)
        shapes = (list(t.shape) for part in self.parts for t in part.tensors or ())
        self.inputs = " ".join(map(str, shapes))

    def wanted(self) -> list[Wanted]:
        """See `Subject.wanted`."""
        found: dict[tuple[str, tuple[int, ...]], Wanted] = {}
        spent: dict[tuple[str, tuple[int, ...]], float] = {}
        for part in self.parts:
            for step, workload, seconds in self._steps(part):
                assert part.program is not None
                sizes = _sizes(part.program, step, workload)
                key = (key_of(workload).hash, sizes)
                before = found.get(key)
                spent[key] = spent.get(key, 0.0) + seconds
                if before is not None:
                    found[key] = replace(before, calls=before.calls + 1)
                    continue
                info = part.program.artifact.kernels[step.kernel]
                name = info.name.partition("_")[2] or info.name
                cold = self._is_cold(part.program) and bool(workload.computation.constants)
                found[key] = Wanted(name, workload, sizes, 1, 0.0, cold, info.rate)
        total = sum(spent.values()) or 1.0
        shared = [replace(w, share=spent[key] / total) for key, w in found.items()]
        return sorted(shared, key=lambda w: -w.share)

    def time(self, choices: Sequence[Mapping[str, Schedule]]) -> list[Timing]:
        """See `Subject.time`."""
        totals = [0.0] * len(choices)
        spent: list[dict[str, float]] = [{} for _ in choices]
        for part in self.parts:
            programs = [self._variant(part, choice) for choice in choices]
            assert part.tensors is not None
            for number, (total, steps) in enumerate(_in_turns(programs, part.tensors)):
                totals[number] += total
                for kernel, seconds in steps.items():
                    key = key_of(part.workloads[kernel]).hash
                    spent[number][key] = spent[number].get(key, 0.0) + seconds
        return [Timing(total, each) for total, each in zip(totals, spent, strict=True)]

    def _variant(self, part: Part, choice: Mapping[str, Schedule]) -> Program:
        """The program with other schedules."""
        assert part.load is not None

        def chosen(workload: Workload) -> Chosen | None:
            schedule = choice.get(key_of(workload).hash)
            return None if schedule is None else Chosen(schedule, "finalist", trusted=False)

        return part.load(compile_graph(part.graph, part.options, chosen))

    def _steps(self, part: Part) -> list[tuple[KernelCall, Workload, float]]:
        """The kernel calls of a program, with their workloads and seconds."""
        assert part.program is not None and part.tensors is not None
        found = account(part.program, part.tensors, 3)
        return [
            (time_.step, part.workloads[time_.step.kernel], seconds)
            for time_, seconds in zip(found.last, found.steps, strict=True)
            if isinstance(time_.step, KernelCall)
        ]

    def _is_cold(self, program: Program) -> bool:
        size = sum(n for _, n in program.constant_memory().values())
        target = self._options.target
        return COLD_SHARE * size > max(target.l3_bytes, target.l2_bytes)


def _sizes(program: Program, step: KernelCall, workload: Workload) -> tuple[int, ...]:
    """The values of a workload's symbols in a call."""
    artifact, values = program.artifact, program.last_values
    assert values is not None
    names = artifact.kernels[step.kernel].symbols
    known = {
        name: compile_dim(dim, artifact.symbol_names)(values)
        for name, dim in zip(names, step.sizes, strict=True)
    }
    return tuple(known[name] for name in key_of(workload).symbols)


def _in_turns(
    programs: Sequence[Program], tensors: list[torch.Tensor]
) -> list[tuple[float, dict[int, float]]]:
    """Of each program its seconds, and those of its kernels by number: lower quartiles."""
    totals: list[list[float]] = [[] for _ in programs]
    steps: list[list[dict[int, float]]] = [[] for _ in programs]
    for program in programs:
        program(tensors)
    for turn in range(RUNS):
        order = list(enumerate(programs))
        for number, program in order if turn % 2 == 0 else order[::-1]:
            program(tensors)
            start = time.perf_counter()
            program(tensors)
            totals[number].append(time.perf_counter() - start)
            spent: dict[int, float] = {}
            for each in program.profile(tensors):
                if isinstance(each.step, KernelCall):
                    kernel = each.step.kernel
                    spent[kernel] = spent.get(kernel, 0.0) + each.nanoseconds * 1e-9
            steps[number].append(spent)
    found = []
    for each_total, each_steps in zip(totals, steps, strict=True):
        kernels = {k: _low([spent[k] for spent in each_steps]) for k in each_steps[0]}
        found.append((_low(each_total), kernels))
    return found


def _low(values: Sequence[float]) -> float:
    """The lower quartile: what disturbs a run only makes it slower."""
    return statistics.quantiles(values, n=4)[0]


class TorchSubject(Programs):
    """A torch model and a call of it."""

    def __init__(
        self, model: torch.nn.Module, options: Options, example: tuple[Any, ...] | dict[str, Any]
    ) -> None:
        """Compile the model, and call it once.

        Raises:
            UnsupportedError, CompileError: as `tc.compile`.
        """
        parts: list[Part] = []

        def pipeline(graph: Graph, options: Options) -> Compiled:
            parts.append(Part(graph, options, []))
            return compile_graph(graph, options, parts[-1].workloads.append)

        build = Builder(options, pipeline, recall=False, settled=Layers(model, options).settled)

        def make(request: Request) -> tuple[Interface, Runner]:
            built = build(request)
            part, runner = parts[-1], _Recording(built, options, parts[-1])
            part.load = partial(_load, part.graph, built, options)
            part.program = runner.program
            return built.interface, runner

        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        self._made = wrap(model, make, dynamic=options.dynamic, example_inputs=example)
        without_grad(self._made, *args, **kwargs)
        called = [part for part in parts if part.tensors is not None]
        super().__init__(type(model).__name__, options, called)


def _load(graph: Graph, built: Built, options: Options, compiled: Compiled) -> Program:
    """A program of the same graph and weights as `built`."""
    numbers = {value.name: number for number, value in enumerate(graph.params)}
    order = tuple(numbers[info.name] for info in compiled.artifact.params)
    return Runner(replace(built, artifact=compiled.artifact, order=order), options).program


class GraphSubject(Programs):
    """One graph with its weights, and a call of it."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        options: Options,
        weights: Sequence[torch.Tensor],
        tensors: Sequence[torch.Tensor],
    ) -> None:
        """Compile the graph, and call it once.

        Args:
            weights: in the order of the graph's parameters.
        """
        given = list(tensors)
        part = Part(graph, options, [], tensors=given)
        numbers = {value.name: number for number, value in enumerate(graph.params)}

        def load(compiled: Compiled) -> Program:
            artifact = compiled.artifact
            picked = [weights[numbers[info.name]] for info in artifact.params]
            functions, arrays = load_functions(artifact), TorchArrays()
            return Program(artifact, functions, arrays, picked, threads=options.threads)

        part.load = load
        part.program = load(compile_graph(graph, options, part.workloads.append))
        part.program(given)
        super().__init__(name, options, [part])
