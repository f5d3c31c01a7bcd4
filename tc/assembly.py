"""Storages and steps of a program: where every value lives, and which call makes it.

The pipeline's last step before code generation. This module must not run a pass, nor know how a
kernel is made: it asks `Kernels` for its number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from tc.device.artifact import (
    Artifact,
    DimArg,
    FallbackArg,
    FallbackCall,
    KernelCall,
    KernelInfo,
    Place,
    Repeat,
    Step,
    Storage,
    StorageArg,
    SymbolInfo,
    TensorInfo,
    touched,
)
from tc.device.dims import dim_of
from tc.errors import InternalError
from tc.graph.fold import Folded
from tc.graph.graph import Arg, Graph, Loop, Node, Value
from tc.graph.group import Computation, Fused, Group, Turns
from tc.graph.in_place import overwritten, written_in_place
from tc.graph.packing import copy_of, pack_value, taken_dim
from tc.ir.expr import Expr
from tc.ir.lower import is_in_place
from tc.ir.types import DType
from tc.schedule.pack import Packing
from tc.target import Target


class Kernels(Protocol):
    """The kernels of a program, by number."""

    @property
    def target(self) -> Target: ...
    @property
    def infos(self) -> list[KernelInfo]: ...
    @property
    def packings(self) -> list[tuple[Packing, ...]]: ...
    def number(
        self,
        name: str,
        made: Computation,
        origin: tuple[str, ...],
        packed: tuple[Packing, ...] = (),
    ) -> int:
        """The number of the kernel for `made`, which reads these of its inputs `packed`."""
        ...


class Assembler:
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
        self.packed: dict[tuple[int, Packing], int] = {}
        # Equal computations as one object, which the kernels know again at once.
        self.packers: dict[tuple[tuple[Expr, ...], DType, Packing], Computation] = {}
        self.loops = 0

    def artifact(self, prepare: Fused, main: Fused) -> Artifact:
        """The program, but for its code."""
        for v in self.folded.prepare.outputs:
            self.shared[v] = self._storage(v, Place.PREPARED)
        self.prepare += _Steps(self, prepare, {}, set(self.graph.params)).all()
        graph = self.folded.main
        own = {v: self._storage(v, Place.INPUT) for v in graph.inputs}
        placed = written_in_place(graph)
        own.update({v: own[target] for v, target in placed.items()})
        outputs = self._outputs(own)
        steps = _Steps(self, main, own, set(self.graph.params))
        calls = steps.all()
        for storage, value in outputs:
            calls.append(steps.copy(value, storage))
        for target, value in graph.mutated:
            if value in placed:
                continue
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

    def next_loop(self) -> int:
        """The number of a new loop."""
        self.loops += 1
        return self.loops - 1

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
        key = (storage, replace(p, buffer=""))  # whichever operand it is
        if key not in self.packed:
            value, made = pack_value(v, p)
            self.packed[key] = self._storage(value, Place.PREPARED)
            made = self.packers.setdefault((v.shape, v.dtype, key[1]), made)
            kernel = self.kernels.number("pack", made, ())
            names = self.kernels.infos[kernel].symbols
            call = KernelCall(kernel, (storage, self.packed[key]), names)
            self.prepare.insert(self._behind(storage), call)
        return self.packed[key]

    def _behind(self, storage: int) -> int:
        """Where in `prepare` what reads `storage` belongs: as soon as it can be read.

        What is only there to be packed then does not lie in memory together with the others.
        """
        memory = self._memory(storage)
        for n in reversed(range(len(self.prepare))):
            if any(self._memory(s) == memory for s in touched(self.prepare[n])):
                return n + 1
        return len(self.prepare)

    def _memory(self, storage: int) -> tuple[Place, int]:
        return self.storages[storage].place, self.storages[storage].number

    def _forget_unread(self, main: list[Step]) -> None:
        """What only prepare steps read need not be kept: it becomes temporary."""
        read = {self._memory(s) for c in main for s in touched(c)}
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
        self, assembler: Assembler, fused: Fused, own: dict[Value, int], params: set[Value]
    ) -> None:
        self.a = assembler
        self.fused = fused
        self.own = own
        self.params = params
        self.made = {v for s in fused.steps for v in s.outputs}
        self.tables: dict[Value, Packing] = {}
        self.taken: dict[int, list[int | None]] = {}  # by the identity of a group's computation

    def all(self) -> list[Step]:
        """One step for each group and fallback, those of its body for each loop."""
        self._find_tables()
        made: list[Step] = []
        for step in self.fused.steps:
            if isinstance(step, Turns):
                made += self._turns(step)
            else:
                made.append(self._call(step) if isinstance(step, Group) else self._fallback(step))
        return made

    def _turns(self, turns: Turns) -> list[Step]:
        """Copies of what the loop begins with, then the calls of its body."""
        loop, node = turns.loop, turns.node
        before: list[Step] = []
        own: dict[Value, int] = {}
        ends = dict(zip((target for target, _ in loop.body.mutated), node.outputs, strict=True))
        for v, arg in turns.given:
            if v in ends:
                own[v] = self.at(ends[v])
            if isinstance(arg, Value):
                own.setdefault(v, self.at(arg))
                before += [self.copy(arg, own[v])] if v in ends else []
        placed = overwritten(turns)
        own.update({value: own[target] for value, target in placed.items()})
        body = _Steps(self.a, turns.fused, own, set())
        calls = body.all()
        for target, value in loop.body.mutated:
            if value not in placed:
                calls.append(body.copy(value, own[target]))
        repeat = Repeat(self.a.next_loop(), loop.index.name, dim_of(loop.times))
        return [*before, *(_in_loop(call, repeat) for call in calls)]

    def _find_tables(self) -> None:
        """How constants that rows are taken from, by data, are packed for a product beside that.

        A weight that is both, as tied embeddings are, then lies in memory once.
        """
        groups = [s for s in self.fused.steps if isinstance(s, Group)]
        rows = {v for g in groups for v, _ in self._rows_taken(g)}
        for group in groups if rows else ():
            if not rows.intersection(group.inputs) or self._rows_taken(group):
                continue
            number = self.a.kernels.number(group.name, group.computation, group.origin)
            for p in self.a.kernels.packings[number]:
                self.tables.setdefault(group.inputs[int(p.buffer.removeprefix("p"))], p)

    def _rows_taken(self, group: Group) -> list[tuple[Value, int]]:
        """The constants of which a group takes parts by data, each with the dim of these parts."""
        found = zip(group.inputs, self._taken_dims(group.computation), strict=True)
        known = ((v, d) for v, d in found if d is not None)
        return [(v, d) for v, d in known if v in self.params or v in self.a.shared]

    def _taken_dims(self, made: Computation) -> list[int | None]:
        """`taken_dim` of each input; equal layers share their computations."""
        if id(made) not in self.taken:
            self.taken[id(made)] = [taken_dim(made, t) for t in made.inputs]
        return self.taken[id(made)]

    def _tables_of(self, group: Group) -> tuple[Packing, ...]:
        """The packings in which a group finds the constants that it takes parts of."""
        taken = [(v, d) for v, d in self._rows_taken(group) if v in self.tables]
        return tuple(
            replace(self.tables[v], buffer=f"p{group.inputs.index(v)}")
            for v, dim in taken
            if self.tables[v].dim == dim
        )

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
        tables = self._tables_of(group)
        kernel = kernels.number(group.name, group.computation, group.origin, tables)
        inputs = [self.at(v) for v in group.inputs]
        for p in kernels.packings[kernel]:
            n = int(p.buffer.removeprefix("p"))
            inputs[n] = self.a.pack(group.inputs[n], inputs[n], p)
        made = zip(group.outputs, group.computation.outputs, strict=True)
        buffers = (*inputs, *(self.at(v) for v, t in made if not is_in_place(t)))
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
        if isinstance(arg, Loop):
            raise InternalError("pipeline: a fallback is given a loop")
        return arg


def _in_loop(step: Step, loop: Repeat) -> Step:
    if not isinstance(step, KernelCall) or step.loop is not None:
        raise InternalError("pipeline: a loop holds more than kernels")
    return replace(step, loop=loop)


def _info(v: Value) -> TensorInfo:
    return TensorInfo(v.name, v.dtype, tuple(map(dim_of, v.shape)))
