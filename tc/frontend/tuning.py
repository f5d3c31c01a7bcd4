"""Tuning torch models: their workloads, at the sizes of an example, and whole programs in turns.

The model is compiled as `tc.compile` does; here it is noted what the pipeline asks schedules for,
and what a call at the example's sizes spends on each kernel. This module must not search.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from tc.autotune.cost_model import CostModel
from tc.autotune.database import Database
from tc.autotune.measure import Measurer
from tc.autotune.records import versions
from tc.autotune.report import TuningReport
from tc.autotune.rows import TargetRow, target_row
from tc.autotune.session import Bound, Job, Session, Wanted
from tc.autotune.tune import Plan, Timing, tune
from tc.autotune.workload import key_of
from tc.device.artifact import KernelCall
from tc.device.dims import compile_dim
from tc.device.physical import host_device
from tc.device.run_account import account
from tc.errors import TuningError, UnsupportedError, describe
from tc.frontend.captured import Interface, Request
from tc.frontend.folder import without_grad
from tc.frontend.hf import wrap
from tc.frontend.hf_natural import natural_inputs
from tc.frontend.options import Options
from tc.frontend.recall import Builder
from tc.frontend.recall_entry import Built
from tc.frontend.runner import Runner
from tc.frontend.tuned import processor
from tc.graph.graph import Graph
from tc.pipeline import Chosen, Compiled, Workload, compile_graph
from tc.schedule.step import Schedule
from tc.target import Target, host

RUNS: Final = 9  # of each program in turns
COLD_SHARE: Final = 2  # constants of more than this part of the last cache do not stay in it


@dataclass(slots=True)
class _Part:
    """A program of the model: what it was made from, and its last call."""

    graph: Graph
    workloads: list[Workload]
    built: Built | None = None
    runner: Runner | None = None
    tensors: list[torch.Tensor] | None = None


class _Recording(Runner):
    """A runner that keeps the arguments of its last call."""

    def __init__(self, built: Built, options: Options, part: _Part) -> None:
        super().__init__(built, options)
        self._part = part

    def __call__(self, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        self._part.tensors = list(tensors)
        return super().__call__(tensors)


class TorchSubject:
    """A torch model and a call of it, as `tc.autotune.tune` wants it."""

    def __init__(
        self, model: torch.nn.Module, options: Options, example: tuple[Any, ...] | dict[str, Any]
    ) -> None:
        """Compile the model, and call it once.

        Raises:
            UnsupportedError, CompileError: as `tc.compile`.
        """
        self.name = type(model).__name__
        self._options = options
        self._parts: list[_Part] = []
        build = Builder(options, self._pipeline, recall=False)

        def make(request: Request) -> tuple[Interface, Runner]:
            built = build(request)
            part = self._parts[-1]
            part.built, part.runner = built, _Recording(built, options, part)
            return built.interface, part.runner

        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        self._made = wrap(model, make, dynamic=options.dynamic, example_inputs=example)
        without_grad(self._made, *args, **kwargs)
        self._parts = [part for part in self._parts if part.tensors is not None]
        shapes = (list(t.shape) for part in self._parts for t in part.tensors or ())
        self.inputs = " ".join(map(str, shapes))

    def wanted(self) -> list[Wanted]:
        """See `Subject.wanted`."""
        found: dict[tuple[str, tuple[int, ...]], Wanted] = {}
        spent: dict[tuple[str, tuple[int, ...]], float] = {}
        for part in self._parts:
            for step, workload, seconds in self._steps(part):
                assert part.runner is not None
                sizes = _sizes(part.runner, step, workload)
                key = (key_of(workload).hash, sizes)
                before = found.get(key)
                spent[key] = spent.get(key, 0.0) + seconds
                if before is not None:
                    found[key] = replace(before, calls=before.calls + 1)
                    continue
                info = part.runner.artifact.kernels[step.kernel]
                name = info.name.partition("_")[2] or info.name
                cold = self._is_cold(part.runner) and bool(workload.computation.constants)
                found[key] = Wanted(name, workload, sizes, 1, 0.0, cold, info.rate)
        total = sum(spent.values()) or 1.0
        shared = [replace(w, share=spent[key] / total) for key, w in found.items()]
        return sorted(shared, key=lambda w: -w.share)

    def time(self, choices: Sequence[Mapping[str, Schedule]]) -> list[Timing]:
        """See `Subject.time`."""
        totals = [0.0] * len(choices)
        spent: list[dict[str, float]] = [{} for _ in choices]
        for part in self._parts:
            runners = [self._variant(part, choice) for choice in choices]
            assert part.tensors is not None
            for number, (total, steps) in enumerate(_in_turns(runners, part.tensors)):
                totals[number] += total
                for kernel, seconds in steps.items():
                    key = key_of(part.workloads[kernel]).hash
                    spent[number][key] = spent[number].get(key, 0.0) + seconds
        return [Timing(total, each) for total, each in zip(totals, spent, strict=True)]

    def _pipeline(self, graph: Graph, options: Options) -> Compiled:
        part = _Part(graph, [])
        self._parts.append(part)
        return compile_graph(graph, options, part.workloads.append)

    def _variant(self, part: _Part, choice: Mapping[str, Schedule]) -> Runner:
        """The program with other schedules."""
        assert part.built is not None

        def chosen(workload: Workload) -> Chosen | None:
            schedule = choice.get(key_of(workload).hash)
            return None if schedule is None else Chosen(schedule, "finalist", trusted=False)

        compiled = compile_graph(part.graph, self._options, chosen)
        numbers = {value.name: number for number, value in enumerate(part.graph.params)}
        order = tuple(numbers[info.name] for info in compiled.artifact.params)
        built = replace(part.built, artifact=compiled.artifact, order=order)
        return Runner(built, self._options)

    def _steps(self, part: _Part) -> list[tuple[KernelCall, Workload, float]]:
        """The kernel calls of a program, with their workloads and seconds."""
        assert part.runner is not None and part.tensors is not None
        program = part.runner.program
        found = account(program, part.tensors, 3)
        return [
            (time_.step, part.workloads[time_.step.kernel], seconds)
            for time_, seconds in zip(found.last, found.steps, strict=True)
            if isinstance(time_.step, KernelCall)
        ]

    def _is_cold(self, runner: Runner) -> bool:
        size = sum(n for _, n in runner.program.constant_memory().values())
        target = self._options.target
        return COLD_SHARE * size > max(target.l3_bytes, target.l2_bytes)


def _sizes(runner: Runner, step: KernelCall, workload: Workload) -> tuple[int, ...]:
    """The values of a workload's symbols in a call."""
    artifact, values = runner.artifact, runner.program.last_values
    assert values is not None
    names = artifact.kernels[step.kernel].symbols
    known = {
        name: compile_dim(dim, artifact.symbol_names)(values)
        for name, dim in zip(names, step.symbols, strict=True)
    }
    return tuple(known[name] for name in key_of(workload).symbols)


def _in_turns(
    runners: Sequence[Runner], tensors: list[torch.Tensor]
) -> list[tuple[float, dict[int, float]]]:
    """Of each program its seconds, and those of its kernels by number: lower quartiles."""
    totals: list[list[float]] = [[] for _ in runners]
    steps: list[list[dict[int, float]]] = [[] for _ in runners]
    for runner in runners:
        runner(tensors)
    for turn in range(RUNS):
        order = list(enumerate(runners))
        for number, runner in order if turn % 2 == 0 else order[::-1]:
            runner(tensors)
            start = time.perf_counter()
            runner(tensors)
            totals[number].append(time.perf_counter() - start)
            spent: dict[int, float] = {}
            for each in runner.program.profile(tensors):
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


def tune_model(
    model: Any,
    *,
    target: str | Target = "host",
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    trials: int = 512,
    tuning_db: str | os.PathLike[str] | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    dynamic: bool = True,
    tick: Callable[[Session, Job], None] | None = None,
) -> TuningReport:
    """See `tc.tune`."""
    plan = Plan(trials, seed, time_limit)
    options = Options.of(target, precision, threads, None, dynamic)
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            describe(
                f"model of type {type(model).__name__}",
                why="not a torch.nn.Module",
                way_out="pass a module",
            )
        )
    _require_here(options.target)
    path = options.tuning_db if tuning_db is None else tuning_db
    if tuning_db is None:
        options.tuning_db.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Database.open(os.fspath(path)) as database:  # before any work that would be for nothing
        subject = TorchSubject(model, options, _example(model, example_inputs))
        with Measurer(options.cache_dir) as measurer:
            row, bound = machine(options.target, options.threads)
            return tune(
                subject,
                database,
                row,
                versions(),
                options.threads,
                plan,
                measurer,
                bound=bound,
                base=CostModel(),
                tick=tick,
            )


def machine(target: Target, threads: int) -> tuple[TargetRow, Bound]:
    """The row of a target on this machine, with its measured rates."""
    properties = host_device().properties
    one, all_ = properties.peak_gflops_core or 0.0, properties.peak_gflops or 0.0
    slow, fast = properties.bandwidth_core or 0.0, properties.bandwidth or 0.0
    row = replace(
        target_row(target, processor(target)),
        peak_gflops_core=one or None,
        peak_gflops=all_ or None,
        bandwidth_core=slow or None,
        bandwidth=fast or None,
        measured_on=properties.measured_on,
    )
    flops, moved = (one, slow) if threads == 1 else (all_, fast)
    return row, Bound(flops * 1e9, moved * 1e9)


def _require_here(target: Target) -> None:
    """Refuse a target whose code this machine cannot run."""
    here = host()
    missing = [f for f in target.llvm_features.split(",") if f[:1] == "+" and not here.has(f[1:])]
    if target.arch != here.arch or missing:
        raise TuningError(
            describe(
                f"target {str(target)!r}",
                why="this machine cannot run its code, so nothing can be measured"
                + (f" (it lacks {' '.join(missing)})" if missing else ""),
                way_out="tune on such a machine and import its records with `tensorc db import`",
            )
        )


def _example(model: torch.nn.Module, given: object) -> tuple[Any, ...] | dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, torch.Tensor):
        return (given,)
    if isinstance(given, (tuple, list)):
        return tuple(given)
    found = natural_inputs(model) if given is None else None
    if found is None:
        raise TuningError(
            describe(
                f"model {type(model).__name__}",
                why="nothing says what it is called with"
                if given is None
                else f"example_inputs are a {type(given).__name__}",
                way_out="pass example_inputs, a tuple or a dict, of the sizes to tune for",
            )
        )
    return dict(found)
