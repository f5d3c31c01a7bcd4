"""What a program needs for one set of shapes: sizes, offsets and the constant part of its table.

Everything that depends on the shapes alone is worked out here once for each set and kept, so that
a call only fills in pointers. This module must not touch memory or run anything.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from tc.device.arena import ALIGN, Lifetime, align, place
from tc.device.artifact import (
    FIRST_SLOT,
    Artifact,
    DimArg,
    FallbackArg,
    FallbackCall,
    KernelCall,
    Place,
    Step,
    TensorInfo,
    slot_dims,
    touched,
    turns,
)
from tc.device.dims import Dim, Evaluate, compile_dim
from tc.device.run_empty import require_idle
from tc.frozen import frozen
from tc.ir.types import DType

Shape = tuple[int, ...]


@frozen
class Layout:
    """What all plans of one list of steps have in common.

    Attributes:
        sizes: the slots of the argument table that hold sizes.
        temps: the slots of the temporaries that the steps use.
        places: of each of `temps`, where its memory stands in `lives`.
        lives: (number, first step, last step) of the memory of temporaries.
        scratch: what each kernel call takes for itself: a function of its sizes, and those.
    """

    sizes: tuple[int, ...]
    temps: tuple[int, ...]
    places: tuple[int, ...]
    lives: tuple[tuple[int, int, int], ...]
    scratch: tuple[tuple[Evaluate, tuple[Evaluate, ...]], ...]


_IDLE = Layout((), (), (), (), ())


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One list of steps at one set of shapes. Offsets count from the start of a call's arena.

    Thousands of them are kept, so there is nothing in one that others have too.

    Attributes:
        values: of the symbols.
        layout: says what the numbers in `sizes` and `offsets` are of.
        sizes: the values of `layout.sizes`.
        offsets: of `layout.temps`.
        outputs: (slots, shape, dtype) of every result, in order.
        scratch: offset of the threads' scratch memory, which is last.
        scratch_bytes: of one thread.
        arena_bytes: of all together.
        empty: nothing is to be computed: no result has any element.
    """

    values: tuple[int, ...]
    layout: Layout
    sizes: array[int]
    offsets: array[int]
    outputs: tuple[tuple[tuple[int, ...], Shape, DType], ...]
    scratch: int
    scratch_bytes: int
    arena_bytes: int
    empty: bool = False


class Planner:
    """Makes plans of one artifact."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        self._artifact = artifact
        self._threads = threads
        self._compiled: dict[tuple[Dim, tuple[str, ...]], Evaluate] = {}
        names = artifact.symbol_names
        self._slots = [
            (FIRST_SLOT + len(artifact.storages) + n, self._compile(dim, names))
            for n, dim in enumerate(slot_dims(artifact.prepare, artifact.main))
        ]
        self._shapes = [
            tuple(self._compile(dim, names) for dim in storage.shape)
            for storage in artifact.storages
        ]
        self._outputs = [
            (
                tuple(
                    FIRST_SLOT + s
                    for s, storage in enumerate(artifact.storages)
                    if storage.place is Place.OUTPUT and storage.number == number
                ),
                tuple(self._compile(dim, names) for dim in info.shape),
                info.dtype,
            )
            for number, info in enumerate(artifact.outputs)
        ]
        self._main = self._layout(artifact.main)
        self._prepare = self._layout(artifact.prepare)

    @property
    def table_size(self) -> int:
        """How many slots the argument table has."""
        return FIRST_SLOT + len(self._artifact.storages) + len(self._slots)

    def main(self, values: tuple[int, ...]) -> Plan:
        """The plan of a call with these values of the symbols.

        Raises:
            EmptySizesError: a size of 0 where kernels were made for 1 or more, and they would do
                more for it than give results without elements.
        """
        symbols = self._artifact.symbols
        below = [s.name for s, v in zip(symbols, values, strict=True) if v < s.low]
        return self._empty(values, below) if below else self._plan(self._main, values)

    def _empty(self, values: tuple[int, ...], below: Sequence[str]) -> Plan:
        shapes = self.tensor_shapes(self._artifact.outputs, values)
        require_idle(self._artifact, below, shapes, self._shapes_of(values))
        outputs = tuple(
            ((), shape, info.dtype)
            for shape, info in zip(shapes, self._artifact.outputs, strict=True)
        )
        return Plan(values, _IDLE, array("q"), array("q"), outputs, 0, 0, 0, empty=True)

    def _shapes_of(self, values: tuple[int, ...]) -> list[Shape]:
        """The shape of every storage."""
        return [self.shape(storage, values) for storage in range(len(self._shapes))]

    def shape(self, storage: int, values: tuple[int, ...]) -> Shape:
        """Of one storage."""
        return tuple([size(values) for size in self._shapes[storage]])

    def slots(self, values: tuple[int, ...]) -> list[tuple[int, int]]:
        """(slot, value) of every size in the argument table."""
        return [(slot, dim(values)) for slot, dim in self._slots]

    def prepare(self) -> Plan:
        """The plan of the prepare steps, which depend on no symbol."""
        return self._plan(self._prepare, tuple(s.low for s in self._artifact.symbols))

    def turns(self, call: KernelCall, values: Sequence[int]) -> int:
        """How often a call runs: once, or as its loop does."""
        times = 1 if call.loop is None else call.loop.times
        return self._compile(times, self._artifact.symbol_names)(values)

    def kernel_sizes(self, call: KernelCall, values: Sequence[int]) -> tuple[int, int]:
        """(flops, bytes) of one kernel call, once."""
        kernel = self._artifact.kernels[call.kernel]
        own = [self._compile(d, self._artifact.symbol_names)(values) for d in call.sizes]
        return (
            self._compile(kernel.flops, kernel.symbols)(own),
            self._compile(kernel.bytes, kernel.symbols)(own),
        )

    def tensor_shapes(self, infos: Sequence[TensorInfo], values: Sequence[int]) -> list[Shape]:
        """The shapes of these at those values of the symbols."""
        names = self._artifact.symbol_names
        return [tuple([self._compile(d, names)(values) for d in i.shape]) for i in infos]

    def fallback_dims(self, call: FallbackCall, values: Sequence[int]) -> list[int]:
        """The values of the `DimArg`s of a fallback, in order."""
        names = self._artifact.symbol_names
        return [self._compile(dim, names)(values) for dim in _dims(call.args)]

    def sizes(self, values: tuple[int, ...], wanted: Place) -> dict[int, int]:
        """Bytes of the memory of each number in that place; storages may share a number."""
        found: dict[int, int] = {}
        for s, storage in enumerate(self._artifact.storages):
            if storage.place is wanted:
                size = math.prod(self.shape(s, values)) * storage.dtype.bytes
                found[storage.number] = max(size, found.get(storage.number, 0))
        return found

    def _compile(self, dim: Dim, names: tuple[str, ...]) -> Evaluate:
        found = self._compiled.get((dim, names))
        if found is None:
            found = self._compiled[dim, names] = compile_dim(dim, names)
        return found

    def _scratch_of(self, call: KernelCall) -> tuple[Evaluate, tuple[Evaluate, ...]]:
        kernel = self._artifact.kernels[call.kernel]
        names = self._artifact.symbol_names
        return (
            self._compile(kernel.scratch, kernel.symbols),
            tuple(self._compile(dim, names) for dim in call.sizes),
        )

    def _layout(self, steps: tuple[Step, ...]) -> Layout:
        storages = self._artifact.storages
        lives: dict[int, tuple[int, int]] = {}
        for step, (begin, end) in zip(steps, turns(steps), strict=True):
            for s in touched(step):
                if storages[s].place is Place.TEMP:
                    number = storages[s].number
                    first, _ = lives.get(number, (begin, end))
                    lives[number] = first, end
        places = {number: at for at, number in enumerate(lives)}
        temps = [
            (FIRST_SLOT + s, places[storage.number])
            for s, storage in enumerate(storages)
            if storage.place is Place.TEMP and storage.number in places
        ]
        return Layout(
            tuple(slot for slot, _ in self._slots),
            tuple(slot for slot, _ in temps),
            tuple(at for _, at in temps),
            tuple((number, *life) for number, life in lives.items()),
            tuple(self._scratch_of(step) for step in steps if isinstance(step, KernelCall)),
        )

    def _plan(self, layout: Layout, values: tuple[int, ...]) -> Plan:
        sizes = self.sizes(values, Place.TEMP)
        offsets, used = place([Lifetime(sizes[n], first, last) for n, first, last in layout.lives])
        scratch_bytes = align(
            max((need([d(values) for d in dims]) for need, dims in layout.scratch), default=0)
        )
        # The first line of an arena is the error slot.
        scratch = ALIGN + used
        return Plan(
            values,
            layout,
            array("q", [size(values) for _, size in self._slots]),
            array("q", [ALIGN + offsets[at] for at in layout.places]),
            tuple(
                (slots, tuple([size(values) for size in sizes]), dtype)
                for slots, sizes, dtype in self._outputs
            ),
            scratch,
            scratch_bytes,
            scratch + scratch_bytes * self._threads,
        )


def _dims(args: tuple[FallbackArg, ...]) -> list[Dim]:
    found: list[Dim] = []
    for arg in args:
        if isinstance(arg, DimArg):
            found.append(arg.dim)
        elif isinstance(arg, tuple):
            found += _dims(arg)
    return found
