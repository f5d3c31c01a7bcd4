"""From a graph to a compiled program: the one list of passes, in their order.

    Graph --GRAPH_PASSES--> Graph --fold--> prepare and main --fuse--> groups
          --lower, schedule--> loops --kernel_passes--> flat vector IR --LLVM or C--> object code

What was scheduled and emitted before, for equal naive loops, is taken from the store instead.
Every pass is named here, and nowhere else is one run. Which schedule a kernel gets is the
caller's to say. This module must not decide anything that a pass should decide.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import tc.ops  # noqa: F401  (fills the operator table)
from tc.assembly import Assembler
from tc.codegen.llvm.emit import KernelText
from tc.codegen.llvm.hardware import product_rate
from tc.config import read as config
from tc.device.artifact import Artifact, KernelInfo, entries
from tc.device.dims import dim_of
from tc.device.run_code import Coder
from tc.dump import Dump, dumper
from tc.errors import ScheduleError
from tc.frozen import frozen
from tc.graph.compose import Composer
from tc.graph.cost import factors, flops, moved_bytes
from tc.graph.cse import cse
from tc.graph.dead_code import dead_code
from tc.graph.fold import Folded, fold
from tc.graph.fuse import fuse
from tc.graph.graph import Graph
from tc.graph.group import Computation
from tc.graph.in_place import in_place
from tc.graph.join_attention import join_attention
from tc.graph.merge_linears import merge_linears
from tc.graph.pad_convolutions import pad_convolutions
from tc.graph.precision import shorten
from tc.graph.views import simplify_views, unflatten_products
from tc.ir.loop import Func
from tc.ir.lower import Lowered, lower_named
from tc.ir.passes import kernel_passes, place_scratch
from tc.ir.printer import computation_lines
from tc.kernel_store import NO_CODE, KernelStore, StoredKernel
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.schedule.foreign import scheduled
from tc.schedule.pack import Packing, packings
from tc.schedule.step import Arg, Schedule
from tc.target import Target

# Each leaves a graph that computes the same. Views are simplified twice, since taking products out
# of their flattened rows makes some; merging comes after cse, which finds common operands.
GRAPH_PASSES: Final[tuple[tuple[str, Callable[[Graph], Graph]], ...]] = (
    ("dead_code", dead_code),
    ("pad_convolutions", pad_convolutions),
    ("views", simplify_views),
    ("unflatten_products", unflatten_products),
    ("views_again", simplify_views),
    ("cse", cse),
    ("join_attention", join_attention),
    ("merge_linears", merge_linears),
    ("in_place", in_place),
    ("dead_code_again", dead_code),
)


class Settings(Protocol):
    """What the pipeline must know of its caller's options."""

    @property
    def target(self) -> Target: ...
    @property
    def precision(self) -> str: ...
    @property
    def kept(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def factors(self) -> tuple[str, ...]: ...
    @property
    def cache_dir(self) -> Path | None: ...
    @property
    def dump_ir(self) -> Path | None: ...
    @property
    def debug(self) -> int: ...
    @property
    def codegen(self) -> str: ...


@frozen
class Workload:
    """A kernel that wants a schedule; `lowered` is its naive loops."""

    computation: Computation
    lowered: Lowered
    target: Target


@frozen
class Chosen:
    """The schedule that a workload gets.

    Attributes:
        source: where it comes from, for people: "given", "tuned (trial 7)".
        trusted: False for one that was read from somewhere: where it is not legal, the analytical
            one takes its place, with a warning.
    """

    schedule: Schedule
    source: str = "given"
    trusted: bool = True


Packings: TypeAlias = tuple[Packing, ...]
# None: the analytical schedule, which needs no measurement and is a function of the workload alone.
Schedules: TypeAlias = Callable[[Workload], Chosen | None]
Begin: TypeAlias = Callable[[Func | KernelText], Func | KernelText]


@frozen
class Compiled:
    """A program; `cache_hits` counts the objects that were found in the cache folder."""

    artifact: Artifact
    cache_hits: int = 0


@frozen
class Assembled:
    """A program before machine code.

    Attributes:
        code: every kernel after the last pass, or what was emitted for it before.
        new: keys in the store of those kernels that it lacks, by number.
    """

    artifact: Artifact
    code: tuple[Func | KernelText, ...]
    new: Mapping[int, str]


def analytical(_workload: Workload) -> None:
    """The schedule that needs no measurement."""


def naive(_workload: Workload) -> Chosen:
    """No steps: the obvious loops, for tests and for finding a wrong schedule."""
    return Chosen(Schedule())


def default_of(workload: Workload) -> Schedule:
    """The analytical schedule of a workload."""
    made = workload.computation
    return default_schedule(
        made.outputs, made.inputs, made.constants, workload.target, workload.lowered
    )


def compile_graph(
    graph: Graph, settings: Settings, schedules: Schedules = analytical, dump: Dump | None = None
) -> Compiled:
    """The whole pipeline.

    `dump(pass name, IR)` sees what each pass made; without it the settings say where that goes.
    """
    see = dump or dumper(settings.dump_ir, settings.debug)
    store = None
    if settings.cache_dir is not None and see is None and settings.codegen != "c":
        store = KernelStore(settings.cache_dir, settings.target, settings.codegen == "llvm")
    if settings.precision != "fp32":
        graph = shortened(graph, settings, see or _unseen)
    with Coder(settings.target, settings.cache_dir, settings.codegen, config().cc) as coder:
        assembled = assemble(graph, settings.target, schedules, see, store, coder.begin)
        artifact = assembled.artifact
        found = entries(len(artifact.storages), artifact.prepare, artifact.main)
        made = coder.code(assembled.code, found)
    for number, (info, code) in enumerate(zip(artifact.kernels, made.kernels, strict=True)):
        if settings.codegen == "none":
            code = NO_CODE
        elif isinstance(code, Func):
            continue  # nothing calls it
        elif see is not None:
            see(f"{info.name}.{settings.codegen}", code.text)
        if isinstance(code, KernelText) and store is not None and number in assembled.new:
            store.put(assembled.new[number], StoredKernel(replace(info, origin=()), code))
    return Compiled(replace(artifact, code=made.code), made.cache_hits)


def assemble(
    graph: Graph,
    target: Target,
    schedules: Schedules = analytical,
    dump: Dump | None = None,
    store: KernelStore | None = None,
    begin: Begin | None = None,
) -> Assembled:
    """All passes but code generation; no pass is run on a kernel that `store` has.

    `begin` gets each kernel as soon as it is made, and says what is kept of it.
    """
    see = dump or _unseen
    folded = optimise(graph, see)
    composer = Composer()
    prepare, main = fuse(folded.prepare, composer), fuse(folded.main, composer)
    kernels = Kernels(target, schedules, see, store, begin)
    artifact = Assembler(graph, folded, kernels).artifact(prepare, main)
    return Assembled(artifact, tuple(kernels.code), kernels.new)


def shortened(graph: Graph, settings: Settings, dump: Dump) -> Graph:
    """The graph with its contractions in the precision of the settings.

    The passes are run before as well as after it: merged products share their operands.
    """
    for _, run in GRAPH_PASSES:
        graph = run(graph)
    kept = dict(settings.kept)
    graph = shorten(graph, settings.precision, settings.target, kept, settings.factors)
    dump("shorten", graph)
    return graph


def optimise(graph: Graph, see: Dump | None = None) -> Folded:
    """The graph passes, and the cut into what is prepared and what is run at each call."""
    dump = see or _unseen
    dump("import", graph)
    for name, run in GRAPH_PASSES:
        graph = run(graph)
        dump(name, graph)
    folded = fold(graph)
    dump("prepare", folded.prepare)
    dump("main", folded.main)
    return folded


def _unseen(_name: str, _ir: object) -> None:
    pass


class Kernels:
    """Computations to kernels; equal ones are made once."""

    def __init__(
        self,
        target: Target,
        schedules: Schedules,
        dump: Dump,
        store: KernelStore | None,
        begin: Begin | None = None,
    ) -> None:
        self.target = target
        self.schedules = schedules
        self.dump = dump
        self.store = store
        self.begin = begin
        self.code: list[Func | KernelText] = []
        self.infos: list[KernelInfo] = []
        self.packings: list[tuple[Packing, ...]] = []
        self.new: dict[int, str] = {}
        self._by_computation: dict[tuple[int, Packings], tuple[Computation, int]] = {}
        self._by_text: dict[tuple[str, tuple[bool, ...], Packings], int] = {}

    def number(
        self, name: str, made: Computation, origin: tuple[str, ...], packed: Packings = ()
    ) -> int:
        """The number of the kernel for `made`, which reads these of its inputs `packed`."""
        known = self._by_computation.get((id(made), packed))
        number = self._find(name, made, packed) if known is None else known[1]
        self._by_computation[id(made), packed] = (made, number)
        info = self.infos[number]
        places = tuple(dict.fromkeys((*info.origin, *origin)))
        self.infos[number] = replace(info, origin=places)
        return number

    def _find(self, name: str, made: Computation, packed: Packings) -> int:
        lowered = lower_named(made.outputs, made.inputs)
        fixed = tuple(p.name in made.constants for p in made.inputs)
        text = str(lowered.func)
        if (text, fixed, packed) in self._by_text:
            return self._by_text[text, fixed, packed]
        number = self._by_text[text, fixed, packed] = len(self.code)
        own = f"k{number}_{name}"[:60]
        workload = Workload(made, lowered, self.target)
        chosen = self.schedules(workload)
        if packed:
            chosen = self._with_packed(workload, chosen, packed)
        asked = None if chosen is None else str(chosen.schedule)
        stored = None
        if self.store is not None:
            key = self.store.key(text, fixed, "default" if asked is None else asked)
            stored = self.store.get(key)
            if stored is None:
                self.new[number] = key
        if stored is None:
            self._make(own, workload, chosen)
        else:
            self._add(_renamed(stored.info, own), stored.code)
        info = self.infos[number]
        source = "default" if chosen is None or info.schedule != asked else chosen.source
        self.infos[number] = replace(info, source=source)
        return number

    def _make(self, own: str, workload: Workload, chosen: Chosen | None) -> None:
        """Schedule a kernel, and run the passes."""
        made, naive = workload.computation, workload.lowered.func
        schedule = self._schedule(workload, chosen)
        func = replace(apply(naive, schedule), name=own)
        self.dump(f"{own}.naive", naive)
        self.dump(f"{own}.schedule", schedule)
        self.dump(f"{own}.scheduled", func)
        flat = func
        for step, run in kernel_passes(self.target.fuses):
            flat = run(flat)
            self.dump(f"{own}.{step}", flat)
        flat, scratch = place_scratch(flat)
        kind = factors(made)
        info = KernelInfo(
            name=own,
            text=str(func),
            schedule=str(schedule),
            symbols=tuple(s.name for s in flat.symbols),
            scratch=dim_of(scratch),
            flops=dim_of(flops(made)),
            bytes=dim_of(moved_bytes(made)),
            factors=kind,
            rate=product_rate(self.target, kind),
            expression="\n".join(computation_lines(naive.body)),
        )
        self._add(info, flat)

    def _schedule(self, workload: Workload, chosen: Chosen | None) -> Schedule:
        """The chosen schedule if it is legal, else the analytical one."""
        if chosen is not None and chosen.trusted:
            return chosen.schedule
        if chosen is not None:
            try:
                scheduled(workload.lowered.func, chosen.schedule)
            except ScheduleError as error:
                said = f"a record is not used: {chosen.source}: {error.message}"
                warnings.warn(said, RuntimeWarning, stacklevel=2)
            else:
                return chosen.schedule
        return default_of(workload)

    def _with_packed(
        self, workload: Workload, chosen: Chosen | None, packed: Packings
    ) -> Chosen | None:
        """The schedule of a kernel that finds inputs packed, where that can be; else `chosen`."""
        schedule = self._schedule(workload, chosen)
        for p in packed:
            group: dict[str, Arg] = {"along": p.along, "group": p.group} if p.group > 1 else {}
            schedule = schedule.then("pack", p.buffer, p.dim, p.factor, **group)
        try:
            apply(workload.lowered.func, schedule)
        except ScheduleError:
            return chosen
        return Chosen(schedule, "default" if chosen is None else chosen.source)

    def _add(self, info: KernelInfo, code: Func | KernelText) -> None:
        self.code.append(code if self.begin is None else self.begin(code))
        self.infos.append(info)
        self.packings.append(packings(Schedule.parse(info.schedule)))


def _renamed(info: KernelInfo, name: str) -> KernelInfo:
    """The description under the number that the kernel has in this program."""
    text = info.text.replace(f"def {info.name}(", f"def {name}(", 1)
    return replace(info, name=name, text=text)
