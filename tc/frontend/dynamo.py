"""tc as a backend of torch.compile: `torch.compile(model, backend="tc", options={…})`.

Graphs of inference come from AOTAutograd and go through the same importer and pipeline as models;
their sizes may be symbolic. Graphs that need gradients run eagerly, operator by operator: right,
warned of once, and counted. What torch found to be a parameter is laid out once and watched for
changes. This module must not know how graphs are compiled.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch.fx import GraphModule

from tc.device.dims import compile_dim
from tc.device.run import Program
from tc.device.run_code import load_functions
from tc.device.run_stats import Stats
from tc.errors import TcError, TuningError, UnsupportedError, describe
from tc.frontend import model as front
from tc.frontend.dynamo_graph import Lifted, lift
from tc.frontend.importer import import_graph
from tc.frontend.layers_kept import kept_of
from tc.frontend.options import Options, from_mapping
from tc.frontend.runner import refuse_fallbacks
from tc.frontend.samples import Contents
from tc.frontend.tensors import FallbackWarning, TorchArrays
from tc.frontend.tuned import require_here
from tc.frontend.tuning import prepare_records, tune_graph
from tc.graph.graph import Graph
from tc.pipeline import Compiled

OPTIONS = ("target", "precision", "threads", "tuning_db", "fallback", "tune")
# Schedules to measure of each graph. The others are modes that PyTorch's own backend has, and
# transformers asks for: a call costs as little in any.
MODES = {
    "default": 0,
    "reduce-overhead": 0,
    "max-autotune": 512,
    "max-autotune-no-cudagraphs": 512,
}
Run = Callable[..., Any]


def backend(
    graph: GraphModule,
    example_inputs: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Run:
    """Compile one graph of torch.compile.

    Args:
        options: those of `tc.compile` that `OPTIONS` lists.
        mode: one of `MODES`; "max-autotune" tunes each graph at its first call, as `tune=512` does.

    Raises:
        UnsupportedError: an unknown option or mode, or with fallback="error" a graph that cannot
            be compiled as a whole.
        TuningError: a number of trials that is none, or a target to tune for that is not here.
    """
    given: dict[str, Any] = from_mapping(options or {}, OPTIONS)
    trials = _trials(mode, given.pop("tune", None))
    if trials:
        prepare_records(given.get("tuning_db"))
    chosen = Options.of(**given)
    if trials:
        require_here(chosen.target)

    def forward(inner: GraphModule, inputs: Sequence[Any]) -> Run:
        del inputs
        return _eager(inner, chosen, "a graph that needs gradients")

    def inference(inner: GraphModule, inputs: Sequence[Any]) -> Run:
        return _compile(inner, inputs, chosen, trials)

    compiled: Run = aot_autograd(
        fw_compiler=forward, bw_compiler=forward, inference_compiler=inference
    )(graph, list(example_inputs))
    return compiled


def _trials(mode: object, tune: object) -> int:
    """How many schedules of each graph are to be measured."""
    if mode is not None and mode not in MODES:
        known = " or ".join(map(repr, MODES))
        raise UnsupportedError(
            describe(f"mode={mode!r}", why="no such value", way_out=f"use {known}")
        )
    if tune is None:
        return MODES[str(mode or "default")]
    if type(tune) is not int or tune < 0:
        why, way_out = "not a whole number of at least 0", "give a number of trials"
        raise TuningError(describe(f"option tune={tune!r}", why=why, way_out=way_out))
    return tune


def _compile(graph: GraphModule, inputs: Sequence[Any], options: Options, trials: int) -> Run:
    del inputs  # the sizes of the example say nothing that the graph does not
    try:
        lifted = lift(graph)
        imported = import_graph(lifted.captured).graph
        compiled = front.pipeline(imported, options)
        refuse_fallbacks(compiled.artifact, options)
    except UnsupportedError as error:
        return _eager(graph, options, error.message)
    call = _call(lifted, imported, compiled, options)
    if not trials and options.precision == "fp32":
        return _boxed(call)
    return _boxed(_SettledFirst(graph, lifted, imported, call, options, trials))


def _call(lifted: Lifted, graph: Graph, compiled: Compiled, options: Options) -> _Call:
    numbers = {value.name: number for number, value in enumerate(graph.params)}
    order = [numbers[info.name] for info in compiled.artifact.params]
    return _Call(lifted, compiled, order, options)


def _boxed(call: Run) -> Run:
    boxed: Run = make_boxed_func(call)
    return boxed


class _Call:
    """A compiled graph as torch.compile calls it: with every placeholder's value, in order."""

    def __init__(
        self, lifted: Lifted, compiled: Compiled, order: list[int], options: Options
    ) -> None:
        self._lifted = lifted
        self._artifact = compiled.artifact
        self._functions = load_functions(compiled.artifact)
        self._order = order
        self._threads = options.threads
        self._stats = Stats(1, len(compiled.artifact.kernels), compiled.cache_hits)
        self._program: Program | None = None
        self._seen: list[tuple[int, int]] | None = None  # of the weights in the program
        self._contents = Contents(())
        self._lock = threading.Lock()
        names = [symbol.name for symbol in lifted.captured.signature.symbols]
        self._sizes = {number: compile_dim(size, names) for number, size in lifted.sizes.items()}

    def __call__(self, *args: Any) -> list[Any]:
        lifted = self._lifted
        weights = [*(args[number] for number in lifted.weights), *lifted.constants]
        seen = [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        if seen != self._seen or not self._contents.same():
            with self._lock:
                self._contents = Contents(weights)
                self._take(weights)
                self._seen = seen
        program = self._program
        assert program is not None
        inputs = [args[number] for number in lifted.inputs]
        made = program(inputs)
        if not lifted.special:
            return made
        return self._results(args, inputs, made, program)

    def _take(self, weights: Sequence[torch.Tensor]) -> None:
        picked = [weights[number] for number in self._order]
        if self._program is not None:
            self._program.set_weights(picked)
            return
        self._program = Program(
            self._artifact,
            self._functions,
            TorchArrays(),
            picked,
            threads=self._threads,
            stats=self._stats,
        )

    def _results(
        self,
        args: Sequence[Any],
        inputs: Sequence[torch.Tensor],
        made: Sequence[Any],
        program: Program,
    ) -> list[Any]:
        """The outputs where some are not computed: arguments, views of them, sizes, constants."""
        make = self._lifted.views
        views = make(*args) if make is not None else ()
        values = program.bind(tuple(tuple(t.shape) for t in inputs)) if self._sizes else ()
        found: list[Any] = []
        for number, (kind, value) in enumerate(self._lifted.outputs):
            match kind:
                case "made":
                    found.append(made[value])
                case "argument":
                    found.append(args[value])
                case "view":
                    found.append(views[value])
                case "size":
                    found.append(self._sizes[number](values))
                case _:
                    found.append(value)
        return found


class _SettledFirst:
    """A compiled graph that is made anew at its first call, by what that call tells: the layers
    that shorter numbers would spoil, and the best schedules for its sizes."""

    def __init__(
        self,
        eager: GraphModule,
        lifted: Lifted,
        graph: Graph,
        call: _Call,
        options: Options,
        trials: int,
    ) -> None:
        self._eager = eager
        self._lifted = lifted
        self._graph = graph
        self._call = call
        self._options = options
        self._trials = trials
        self._settled = False
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> list[Any]:
        if not self._settled:
            with self._lock:
                if not self._settled:
                    self._settle(args)
                    self._settled = True
        return self._call(*args)

    def _settle(self, args: Sequence[Any]) -> None:
        lifted, before = self._lifted, self._options
        weights = [*(args[number] for number in lifted.weights), *lifted.constants]

        def run() -> object:
            own = list(args)
            for number in lifted.inputs:
                own[number] = args[number].clone()  # which the graph may write to
            return self._eager(*own)

        if before.precision != "fp32":
            names = (value.name for value in self._graph.params)
            named = dict(zip(names, weights, strict=True))
            with contextlib.suppress(Exception):  # whatever the graph raises, a call will as well
                found = kept_of(named, run, before)
                if found:
                    self._options = replace(before, kept=tuple(sorted(found.items())))
        if self._trials:
            inputs = [args[number].clone() for number in lifted.inputs]
            tune_graph("graph", self._graph, self._options, self._trials, weights, inputs)
        if self._trials or self._options is not before:
            compiled = front.pipeline(self._graph, self._options)
            self._call = _call(lifted, self._graph, compiled, self._options)


_WARNED: set[str] = set()
_EAGER_STATS: list[Stats] = []


def _eager(graph: GraphModule, options: Options, why: str) -> Run:
    """Run a graph operator by operator, counted as a fallback at each call."""
    if options.fallback == "error":
        raise UnsupportedError(
            describe(
                "graph of torch.compile",
                why=f"{why}, and fallback='error' forbids to run it eagerly",
                way_out="use fallback='warn'",
            )
        )
    if why not in _WARNED:
        _WARNED.add(why)
        warnings.warn(
            f"torch.compile(backend='tc'): {why}; it runs eagerly", FallbackWarning, stacklevel=2
        )
    if not _EAGER_STATS:
        _EAGER_STATS.append(Stats(0, 0))
    stats = _EAGER_STATS[0]

    def run(*args: Any) -> Any:
        stats.count_fallback("eager graph")
        return graph(*args)

    return _boxed(run)


__all__ = ["OPTIONS", "TcError", "backend"]
