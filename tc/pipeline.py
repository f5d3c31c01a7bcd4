"""From a graph to a compiled program: the one list of passes, in their order.

    Graph --GRAPH_PASSES--> Graph --fold--> prepare and main --fuse--> groups
          --lower, schedule--> loops --KERNEL_PASSES--> flat vector IR --LLVM--> object code

Every pass is named here, and nowhere else is one run. Which schedule a kernel gets is the
caller's to say. This module must not decide anything that a pass should decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import tc.ops  # noqa: F401  (fills the operator table)
from tc.device.artifact import (
    Artifact,
    DimArg,
    FallbackArg,
    FallbackCall,
    KernelCall,
    KernelInfo,
    Place,
    Step,
    Storage,
    StorageArg,
    SymbolInfo,
    TensorInfo,
    entries,
    touched,
)
from tc.device.dims import dim_of
from tc.device.run_code import make_code
from tc.errors import InternalError
from tc.graph.compose import Composer
from tc.graph.cost import flops, moved_bytes
from tc.graph.cse import cse
from tc.graph.dead_code import dead_code
from tc.graph.fold import Folded, fold
from tc.graph.fuse import fuse
from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.group import Computation, Fused, Group
from tc.graph.merge_linears import merge_linears
from tc.graph.packing import copy_of, pack_value
from tc.graph.views import simplify_views, unflatten_products
from tc.ir.expr import Expr
from tc.ir.loop import Func
from tc.ir.lower import Lowered, lower_named
from tc.ir.passes import KERNEL_PASSES, place_scratch
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.schedule.pack import Packing, packings
from tc.schedule.step import Schedule
from tc.target import Target

# Each leaves a graph that computes the same. Views are simplified twice, since taking products out
# of their flattened rows makes some; merging comes after cse, which finds common operands.
GRAPH_PASSES: Final[tuple[tuple[str, Callable[[Graph], Graph]], ...]] = (
    ("dead_code", dead_code),
    ("views", simplify_views),
    ("unflatten_products", unflatten_products),
    ("views_again", simplify_views),
    ("cse", cse),
    ("merge_linears", merge_linears),
    ("dead_code_again", dead_code),
)


class Settings(Protocol):
    """What the pipeline must know of its caller's options."""

    @property
    def target(self) -> Target: ...
    @property
    def cache_dir(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Workload:
    """A kernel that wants a schedule; `lowered` is its naive loops."""

    computation: Computation
    lowered: Lowered
    target: Target


Schedules: TypeAlias = Callable[[Workload], Schedule]
Dump: TypeAlias = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program; `cache_hits` counts the objects that were found in the cache folder."""

    artifact: Artifact
    cache_hits: int = 0


@dataclass(frozen=True, slots=True)
class Assembled:
    """A program before code generation: `flat` is every kernel after the last pass."""

    artifact: Artifact
    flat: tuple[Func, ...]


def analytical(workload: Workload) -> Schedule:
    """The schedule that needs no measurement."""
    made = workload.computation
    return default_schedule(
        made.outputs, made.inputs, made.constants, workload.target, workload.lowered
    )


def naive(_workload: Workload) -> Schedule:
    """No steps: the obvious loops, for tests and for finding a wrong schedule."""
    return Schedule()


def compile_graph(
    graph: Graph, settings: Settings, schedules: Schedules = analytical, dump: Dump | None = None
) -> Compiled:
    """The whole pipeline; `dump(pass name, IR)` sees what each pass made."""
    assembled = assemble(graph, settings.target, schedules, dump)
    artifact = assembled.artifact
    found = entries(len(artifact.storages), artifact.prepare, artifact.main)
    made = make_code(assembled.flat, found, settings.target, settings.cache_dir)
    return Compiled(replace(artifact, code=made.code), made.cache_hits)


def assemble(
    graph: Graph, target: Target, schedules: Schedules = analytical, dump: Dump | None = None
) -> Assembled:
    """All passes but code generation."""
    see = dump or _unseen
    folded = optimise(graph, see)
    composer = Composer()
    prepare, main = fuse(folded.prepare, composer), fuse(folded.main, composer)
    kernels = Kernels(target, schedules, see)
    artifact = _Assembler(graph, folded, kernels).artifact(prepare, main)
    return Assembled(artifact, tuple(kernels.flat))


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

    def __init__(self, target: Target, schedules: Schedules, dump: Dump) -> None:
        self.target = target
        self.schedules = schedules
        self.dump = dump
        self.flat: list[Func] = []
        self.infos: list[KernelInfo] = []
        self.packings: list[tuple[Packing, ...]] = []
        self._by_computation: dict[int, tuple[Computation, int]] = {}
        self._by_text: dict[tuple[str, tuple[bool, ...]], int] = {}

    def number(self, name: str, made: Computation, origin: tuple[str, ...]) -> int:
        """The number of the kernel for `made`."""
        known = self._by_computation.get(id(made))
        number = self._make(name, made) if known is None else known[1]
        self._by_computation[id(made)] = (made, number)
        info = self.infos[number]
        places = tuple(dict.fromkeys((*info.origin, *origin)))
        self.infos[number] = replace(info, origin=places)
        return number

    def _make(self, name: str, made: Computation) -> int:
        lowered = lower_named(made.outputs, made.inputs)
        fixed = tuple(p.name in made.constants for p in made.inputs)
        key = (str(lowered.func), fixed)
        if key in self._by_text:
            return self._by_text[key]
        schedule = self.schedules(Workload(made, lowered, self.target))
        number = self._by_text[key] = len(self.flat)
        own = f"k{number}_{name}"[:60]
        func = replace(apply(lowered.func, schedule), name=own)
        self.dump(f"{own}.naive", lowered.func)
        self.dump(f"{own}.scheduled", func)
        flat = func
        for step, run in KERNEL_PASSES:
            flat = run(flat)
            self.dump(f"{own}.{step}", flat)
        flat, scratch = place_scratch(flat)
        self.flat.append(flat)
        self.packings.append(packings(schedule))
        self.infos.append(
            KernelInfo(
                name=own,
                text=str(func),
                schedule=str(schedule),
                symbols=tuple(s.name for s in flat.symbols),
                scratch=dim_of(scratch),
                flops=dim_of(flops(made)),
                bytes=dim_of(moved_bytes(made)),
            )
        )
        return number


class _Assembler:
    """Gives every value its storage and every group its call."""

    def __init__(self, graph: Graph, folded: Folded, kernels: Kernels) -> None:
        self.graph = graph
        self.folded = folded
        self.kernels = kernels
        self.storages: list[Storage] = []
        self.counts = dict.fromkeys(Place, 0)
        self.params: list[Value] = []
        self.shared: dict[Value, int] = {}  # parameters, and what is prepared
        self.prepare: list[Step] = []
        self.packed: dict[tuple[int, int, int], int] = {}

    def artifact(self, prepare: Fused, main: Fused) -> Artifact:
        """The program, but for its code."""
        for v in self.folded.prepare.outputs:
            self.shared[v] = self._storage(v, Place.PREPARED)
        self.prepare += _Steps(self, prepare, {}, set(self.graph.params)).all()
        graph = self.folded.main
        own = {v: self._storage(v, Place.INPUT) for v in graph.inputs}
        outputs = self._outputs(own)
        steps = _Steps(self, main, own, set(self.graph.params))
        calls = steps.all()
        for storage, value in outputs:
            calls.append(steps.copy(value, storage))
        for target, value in graph.mutated:
            calls.append(steps.copy(value, own[target]))
        self._forget_unread(calls)
        return Artifact(
            target=str(self.kernels.target),
            symbols=tuple(SymbolInfo(s.name, s.lo, s.hi) for s in graph.symbols),
            inputs=tuple(map(_info, graph.inputs)),
            outputs=tuple(map(_info, graph.outputs)),
            params=tuple(map(_info, self.params)),
            storages=tuple(self.storages),
            prepare=tuple(self.prepare),
            main=tuple(calls),
            kernels=tuple(self.kernels.infos),
            mutated=tuple(graph.inputs.index(t) for t, _ in graph.mutated),
        )

    def _outputs(self, own: dict[Value, int]) -> list[tuple[int, Value]]:
        """Storages for the results; those that no step writes are to be copied at the end."""
        made = {v for n in self.folded.main.nodes for v in n.outputs}
        copies = []
        for v in self.folded.main.outputs:
            storage = self._storage(v, Place.OUTPUT)
            if v in made and v not in own:
                own[v] = storage
            else:
                copies.append((storage, v))
        return copies

    def _storage(self, v: Value, place: Place, number: int | None = None) -> int:
        if number is None:
            number = self.counts[place]
            self.counts[place] += 1
        self.storages.append(Storage(place, number, v.dtype, tuple(map(dim_of, v.shape))))
        return len(self.storages) - 1

    def shared_storage(self, v: Value) -> int:
        """The storage of a parameter or of what is prepared."""
        if v not in self.shared:
            self.params.append(v)
            self.shared[v] = self._storage(v, Place.PARAM)
        return self.shared[v]

    def alias(self, v: Value, base: int) -> int:
        """A storage that is the memory of another, under the shape of `v`."""
        found = self.storages[base]
        return self._storage(v, found.place, found.number)

    def pack(self, v: Value, storage: int, p: Packing) -> int:
        """The storage of a packed copy of a constant, made once."""
        key = (storage, p.dim, p.factor)
        if key not in self.packed:
            value, made = pack_value(v, p)
            self.packed[key] = self._storage(value, Place.PREPARED)
            kernel = self.kernels.number("pack", made, ())
            names = self.kernels.infos[kernel].symbols
            self.prepare.append(KernelCall(kernel, (storage, self.packed[key]), names))
        return self.packed[key]

    def _forget_unread(self, main: list[Step]) -> None:
        """What only prepare steps read need not be kept: it becomes temporary."""
        read = {(self.storages[s].place, self.storages[s].number) for c in main for s in touched(c)}
        numbers: dict[tuple[Place, int], tuple[Place, int]] = {}
        count = dict.fromkeys((Place.PREPARED, Place.TEMP), 0)
        for n, s in enumerate(self.storages):
            key = (s.place, s.number)
            if s.place not in count:
                continue
            keep = s.place is Place.PREPARED and key in read
            if key not in numbers:
                place = Place.PREPARED if keep else Place.TEMP
                numbers[key] = (place, count[place])
                count[place] += 1
            place, number = numbers[key]
            self.storages[n] = replace(s, place=place, number=number)


class _Steps:
    """The steps of one of the two graphs; `own` maps its values to storages."""

    def __init__(
        self, assembler: _Assembler, fused: Fused, own: dict[Value, int], params: set[Value]
    ) -> None:
        self.a = assembler
        self.fused = fused
        self.own = own
        self.params = params
        self.made = {v for s in fused.steps for v in s.outputs}

    def all(self) -> list[Step]:
        """One step for each group and fallback."""
        return [self._call(s) if isinstance(s, Group) else self._fallback(s)
                for s in self.fused.steps]  # fmt: skip

    def copy(self, value: Value, storage: int) -> Step:
        """A step that copies a value to a storage."""
        kernel = self.a.kernels.number("copy", copy_of(value), ())
        names = self.a.kernels.infos[kernel].symbols
        return KernelCall(kernel, (self.at(value), storage), names)

    def at(self, v: Value) -> int:
        """The storage of a value."""
        if v in self.own:
            return self.own[v]
        if v in self.a.shared or v in self.params:
            return self.a.shared_storage(v)
        if v in self.fused.aliases:
            self.own[v] = self.a.alias(v, self.at(self.fused.aliases[v]))
        elif v in self.made:
            self.own[v] = self.a._storage(v, Place.TEMP)
        else:
            raise InternalError(f"pipeline: value {v.name} is read and never made")
        return self.own[v]

    def _call(self, group: Group) -> Step:
        kernels = self.a.kernels
        kernel = kernels.number(group.name, group.computation, group.origin)
        inputs = [self.at(v) for v in group.inputs]
        for p in kernels.packings[kernel]:
            n = int(p.buffer.removeprefix("p"))
            inputs[n] = self.a.pack(group.inputs[n], inputs[n], p)
        buffers = (*inputs, *(self.at(v) for v in group.outputs))
        return KernelCall(kernel, buffers, kernels.infos[kernel].symbols)

    def _fallback(self, node: Node) -> Step:
        args = tuple(self._arg(a) for a in node.args)
        return FallbackCall(node.op, args, tuple(map(self.at, node.outputs)), node.origin)

    def _arg(self, arg: Arg) -> FallbackArg:
        if isinstance(arg, Value):
            return StorageArg(self.at(arg))
        if isinstance(arg, Expr):
            return DimArg(dim_of(arg))
        if isinstance(arg, tuple):
            return tuple(self._arg(a) for a in arg)
        return arg


def _info(v: Value) -> TensorInfo:
    return TensorInfo(v.name, v.dtype, tuple(map(dim_of, v.shape)))
