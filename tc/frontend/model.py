"""`tc.compile`: from a torch module to the same module running compiled programs.

Here the parts are joined: making or finding programs, running one for each set of arguments, and
the drop-in copy around them. This module must not know how any of them works.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tc.device.run_accuracy import Accuracy
from tc.device.run_explain import RUNS, explain
from tc.device.run_explanation import Explanation
from tc.device.run_stats import summary
from tc.errors import UnsupportedError, describe
from tc.frontend.accuracy import arguments, measure
from tc.frontend.captured import Interface, Request
from tc.frontend.collection import no_collection
from tc.frontend.copies import allow_copies, twin
from tc.frontend.eager import EagerCalls
from tc.frontend.exporting import Exporter
from tc.frontend.hf import dispatcher_of, wrap
from tc.frontend.hf_dispatch import Dispatcher
from tc.frontend.hf_program import Program as ProgramCall
from tc.frontend.hf_types import is_generative
from tc.frontend.layers_kept import Layers
from tc.frontend.options import Options
from tc.frontend.recall import Builder
from tc.frontend.runner import Runner
from tc.frontend.saved import SavedProgram, host_runs, nothing_compiled, save_model

if TYPE_CHECKING:
    from tc.frontend.generate import Generation
    from tc.frontend.generate_capture import Calls
    from tc.frontend.standalone import Parts
    from tc.graph.graph import Graph
    from tc.pipeline import Compiled
    from tc.standalone.loop_report import LoopReport

ModelT = TypeVar("ModelT")


def compile_model(
    model: ModelT,
    *,
    target: Any = "host",
    precision: str = "fp32",
    threads: int | None = None,
    tuning_db: str | os.PathLike[str] | None = None,
    dynamic: bool = True,
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    fallback: str = "warn",
    codegen: str = "llvm",
    natural: bool = True,
    ahead: bool = False,
) -> ModelT:
    """See `tc.compile`; without `natural` nothing is compiled before the first call.

    With `ahead` the programs of a generation are made by processes beside this one from now on
    (see `Builder.ahead`), for they are going to be asked for.

    Raises:
        UnsupportedError: an unknown option, a model that is none or compiled already, or an
            operator that tc lacks where `fallback` forbids it.
        CompileError: the model cannot be traced.
    """
    options = _without_code(
        Options.of(target, precision, threads, tuning_db, dynamic, fallback, codegen)
    )
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            describe(
                f"model of type {type(model).__name__}",
                why="not a torch.nn.Module",
                way_out="pass a module, or wrap the function in one",
            )
        )
    eager = EagerCalls(type(model).__name__, options)

    layers = Layers(model, options)
    of_graph = pipeline_of_several if _generates(model) else pipeline
    build = Builder(options, of_graph, settled=layers.settled)
    calls = _begun(model, build) if ahead else None

    def make(request: Request) -> tuple[Interface, Runner]:
        with no_collection():
            built = build(request)
            return built.interface, Runner(built, options)

    made = wrap(
        model,
        make,
        dynamic=dynamic,
        natural=natural,
        example_inputs=_example(example_inputs),
        on_eager=eager,
    )
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None
    generation = _generation(model, made, make, calls)
    dispatchers = [dispatcher]
    if generation is not None and generation.encodes:
        _compile_encoder(
            made, lambda part: wrap(part, make, natural=False, on_eager=eager), dispatchers
        )
    again = partial(
        compile_model,
        target=options.target,
        precision=precision,
        threads=options.threads,
        tuning_db=tuning_db,
        dynamic=dynamic,
        fallback=fallback,
        codegen=codegen,
        natural=False,
    )
    exact = partial(again, model, precision="fp32")
    name = type(model).__name__
    handle = _Handle(name, dispatchers, eager, generation, layers, made, exact, options)
    exporter = Exporter(partial(_parts, name, dispatchers, generation, made))
    made.__dict__.update(
        stats=handle.stats,
        explain=handle.explain,
        save=handle.save,
        accuracy=handle.accuracy,
        export_c=exporter.export_c,
        export_object=exporter.export_object,
        run_emulated=exporter.run_emulated,
        c_source=exporter.c_source,
        llvm_ir=exporter.llvm_ir,
        asm=exporter.asm,
    )
    allow_copies(made, model, again)
    dispatcher.attend(made)
    return made


def _without_code(options: Options) -> Options:
    """The options; for another machine without code, which is made where it is wanted."""
    seen = options.debug or options.dump_ir is not None
    if options.codegen != "llvm" or seen or host_runs(options.target):
        return options
    return replace(options, codegen="none")


def _generates(model: torch.nn.Module) -> bool:
    can_generate = getattr(model, "can_generate", None)
    return is_generative(model) and can_generate is not None and bool(can_generate())


def _begun(model: torch.nn.Module, build: Builder) -> Calls | None:
    """Have the programs of a generation made beside what comes next; the calls of them."""
    if not _generates(model):
        return None
    from tc.frontend.generate_capture import Calls  # which imports transformers

    try:
        calls = Calls.of(model)
    except UnsupportedError:  # which is said where they are asked for
        return None
    requests = [calls.prompt, calls.step]
    if calls.decoder.cross:
        requests.append(Request.of(model.get_encoder(), (), _ids_and_mask()))  # type: ignore[operator]
    for request in requests:
        build.ahead(request)
    return calls


def _generation(
    model: torch.nn.Module,
    made: torch.nn.Module,
    make: Callable[[Request], tuple[Interface, Runner]],
    calls: Calls | None,
) -> Generation | None:
    """Give the compiled copy of a generative model a `generate` of its own."""
    if not _generates(model):
        return None
    from tc.frontend.generate import Generation  # which imports transformers

    found = made.__dict__["generate"] = Generation(model, made, make, calls)
    return found


def _compile_encoder(
    made: torch.nn.Module,
    compiled: Callable[[torch.nn.Module], torch.nn.Module],
    dispatchers: list[Dispatcher],
) -> None:
    """Let `get_encoder`, which generation runs first, give a compiled encoder, made when asked."""
    own = type(made).get_encoder  # type: ignore[operator,attr-defined,unused-ignore]
    found: dict[int, torch.nn.Module] = {}

    def get_encoder(*args: Any, **kwargs: Any) -> Any:
        part = own(made, *args, **kwargs)
        if not isinstance(part, torch.nn.Module) or part is made:
            return part
        if id(part) not in found:
            found[id(part)] = compiled(part)
            dispatcher = dispatcher_of(found[id(part)])
            assert dispatcher is not None
            dispatchers.append(dispatcher)
        return found[id(part)]

    made.__dict__["get_encoder"] = get_encoder


def pipeline(graph: Graph, options: Options) -> Compiled:
    """The compiler's own pipeline, with the best records there are."""
    from tc.frontend.tuned import records_of
    from tc.pipeline import compile_graph

    return compile_graph(graph, options, records_of(options))


def pipeline_of_several(graph: Graph, options: Options) -> Compiled:
    """As `pipeline`, for one of the programs of a generation, which share their weights."""
    from tc.frontend.tuned import records_of
    from tc.pipeline import compile_graph

    return compile_graph(graph, options, records_of(options).of_several)


class _Handle:
    """What a compiled copy can tell of itself and do."""

    def __init__(
        self,
        name: str,
        dispatchers: Sequence[Dispatcher],
        eager: EagerCalls,
        generation: Generation | None,
        layers: Layers,
        made: torch.nn.Module,
        exact: Callable[[], torch.nn.Module],
        options: Options,
    ) -> None:
        self._name = name
        self._dispatchers = dispatchers  # the model's own first, then those of its parts
        self._eager = eager
        self._generation = generation
        self._layers = layers
        self._made = made
        self._exact = exact
        self._options = options

    @property
    def _runners(self) -> list[Runner]:
        """Every program."""
        made = [] if self._generation is None else self._generation.runners
        parts = [_runners_of(dispatcher) for dispatcher in self._dispatchers]
        return [
            *(runner for part in parts for runner in part),
            *(runner for runner in made if isinstance(runner, Runner)),
        ]

    def stats(self) -> dict[str, object]:
        """The counters of this model: compilations, kernels, calls, fallbacks (operator ->
        count), cache_hits (compiled objects), program_hits (whole programs that were compiled
        before), last_kernel_seconds (time inside compiled code in the last call)."""
        former = [stats for each in self._dispatchers for stats in each.former]
        former += [] if self._generation is None else self._generation.former
        return summary([self._eager.stats, *former, *(r.stats for r in self._runners)])

    def explain(self, runs: int = RUNS, *, static: bool | None = None) -> Explanation | LoopReport:
        """Run each program `runs` times at the sizes of its last call; a table of its kernels.

        In bf16 and int8 also the error of the outputs and of each layer, measured on a sample call,
        and which layers stay in a longer precision. Or run nothing, and look at their inner loops
        instead: where `static` says so, or (None) where this machine cannot run them.
        """
        if static or (static is None and not all(runner.loaded for runner in self._runners)):
            return self._loops()
        return Explanation(
            tuple(
                explain(
                    runner.program,
                    self._title(runner),
                    {symbol.name: symbol.label for symbol in runner.signature.symbols},
                    runs,
                )
                for runner in self._runners
            ),
            self._accuracy_of_sample(),
        )

    def _accuracy_of_sample(self) -> Accuracy | None:
        """The error on the call that the layers were measured on; None in fp32, or before it."""
        sample = self._layers.sample
        if sample is None or not self._dispatchers[0].programs:
            return None
        before = [(runner.program, runner.program.last_values) for runner in self._runners]
        eager, layers = twin(self._layers.model), self._layers.measured
        found = measure(self._made, eager, sample, self._options.precision, layers)
        for program, values in before:
            if values is not None:
                program.last_values = values
        return found

    def _title(self, runner: Runner) -> str:
        return f"{self._name}({_arguments(runner)})"

    def _loops(self) -> LoopReport:
        from tc.standalone.loop_report import report  # which imports LLVM

        return report([(self._title(r), r.artifact) for r in self._runners], self._options.target)

    def accuracy(self, inputs: object) -> Accuracy:
        """The error of the outputs against fp32, and of each layer alone, measured on `inputs`.

        `inputs` are what one call takes: by name in a mapping, in order in a tuple, or one tensor.
        Compiles the model in fp32 for that, and forgets it again.
        """
        given = arguments(inputs)
        layers = self._layers.on(given)
        return measure(self._made, self._exact(), given, self._options.precision, layers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file for `tc.load`, or into `path` if it is a folder.

        Raises:
            TcError: nothing is compiled yet, or the system refuses to write.
        """
        called = _runners_of(self._dispatchers[0])
        if not called:
            raise nothing_compiled(f"saving {self._name}", self._dispatchers[0].refused)
        saved = [SavedProgram(r.with_code(), r.constants(), r.signature) for r in called]
        save_model(path, self._name, saved)


def _parts(
    name: str,
    dispatchers: Sequence[Dispatcher],
    generation: Generation | None,
    model: torch.nn.Module,
) -> Parts:
    """What is exported of a model as it is now."""
    if not dispatchers[0].programs:
        raise nothing_compiled(f"export of {name}", dispatchers[0].refused)
    from tc.frontend.standalone import Parts  # which imports transformers

    return Parts(
        name,
        getattr(model, "config", None),
        getattr(model, "generation_config", None),
        dispatchers[0].programs[0],
        (lambda: None) if generation is None else generation.programs,
        partial(_encoder, model) if generation is not None and generation.encodes else None,
    )


def _encoder(model: torch.nn.Module) -> ProgramCall:
    """The program of an encoder over ids and their mask."""
    part = dispatcher_of(model.get_encoder())  # type: ignore[operator]  # of a model that has one
    assert part is not None
    return part.prepare((), _ids_and_mask())


def _ids_and_mask() -> dict[str, torch.Tensor]:
    """What an encoder is called with."""
    ids = torch.ones(2, 8, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _runners_of(dispatcher: Dispatcher) -> list[Runner]:
    runners = [program.runner for program in dispatcher.programs]
    return [runner for runner in runners if isinstance(runner, Runner)]


def _arguments(runner: Runner) -> str:
    names = [spec.name for spec in runner.signature.inputs]
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, … {len(names) - 3}"


def _example(
    example: object,
) -> tuple[Any, ...] | dict[str, Any] | None:
    if example is None:
        return None
    if isinstance(example, Mapping):
        return dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example)
    if isinstance(example, torch.Tensor):
        return (example,)
    raise UnsupportedError(
        describe(
            f"example_inputs of type {type(example).__name__}",
            why="neither positional arguments nor arguments by name",
            way_out="pass a tuple or a dict",
        )
    )
