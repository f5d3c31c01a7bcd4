"""Running an artifact: weights in, then arrays in and fresh arrays out, from any number of threads.

The path of a call is: make the inputs dense, look up the plan for their shapes, take an arena from
the pool, fill in pointers, one foreign call for each run of kernels. This module must not know any
framework (see `arrays`), nor compile.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter_ns
from typing import Any, NoReturn

from tc.device.arena import Block
from tc.device.arrays import Arrays
from tc.device.artifact import (
    FIRST_SLOT,
    Artifact,
    KernelCall,
    Place,
)
from tc.device.artifact_file import RawTensor
from tc.device.faults import QueueClosedError
from tc.device.physical import shared_device
from tc.device.run_bind import Binder
from tc.device.run_call import Arena, Weights
from tc.device.run_direct import Direct, direct
from tc.device.run_execute import Executor
from tc.device.run_items import Function, Item, Kernels, items_of, raise_reported
from tc.device.run_plan import Planner
from tc.device.run_planned import Planned
from tc.device.run_prepared import find, keys, share
from tc.device.run_profile import CallTime, Profile
from tc.device.run_stats import Stats, record
from tc.device.run_steps import Stepper, StepPlans
from tc.device.words import word
from tc.errors import InternalError, TcError, UnsupportedError, describe

_MOST_PLANS = 4096
_SET = -1  # in place of the number of a plan, of values that a caller has set
_NUMBERS = itertools.count(1)


class Program:
    """A compiled program on this host.

    Safe to call from several threads at once. A call's results are fresh memory and never change
    afterwards; its inputs are not written to, but for those that the artifact names.

    Attributes:
        artifact: what it runs.
        stats: what it has done.
        threads: of a call.
        arrays: of which kind it takes and gives them.
    """

    def __init__(
        self,
        artifact: Artifact,
        functions: Mapping[str, Function],
        arrays: Arrays,
        weights: Sequence[Any],
        *,
        threads: int = 1,
        stats: Stats | None = None,
    ) -> None:
        """Make it ready to run, which runs the prepare steps.

        Args:
            functions: of each of the artifact's entries by name, called with a table's address.
            arrays: whose arrays it takes and gives.
            weights: an array, or memory of a saved file, for each of the artifact's params.

        Raises:
            TcError: a weight of another dtype or shape than the artifact says.
        """
        self.artifact = artifact
        self.threads = threads
        self.stats = stats or Stats(kernels=len(artifact.kernels))
        weakref.finalize(self, self.stats.retire)
        self._functions = functions
        self._arrays = self.arrays = arrays
        self._last = word()  # the number of a plan, or 0
        self._values: dict[int, tuple[int, ...]] = {}
        self._epoch = word()
        self._binder = Binder(artifact)
        self._planner = Planner(artifact, threads)
        self._table_size = self._planner.table_size
        self._execute = Executor(artifact, arrays, self._planner, self.stats)
        self._main = self._items("main")
        only = self._main[0] if len(self._main) == 1 else None
        self._only = only if isinstance(only, Kernels) else None
        self._inputs = tuple(
            (FIRST_SLOT + s, storage.number)
            for s, storage in enumerate(artifact.storages)
            if storage.place is Place.INPUT
        )
        self._planned: dict[tuple[tuple[int, ...], ...], Planned] = {}
        self._step_plans = StepPlans(artifact, self._planner)
        self._pool: list[Arena] = []
        self._queue = shared_device().queue
        self.set_weights(weights)

    def __call__(self, args: Sequence[Any]) -> list[Any]:
        """Run on the queue that all programs of this process share; see `run`."""
        try:
            return self._queue.run(self, args)  # type: ignore[return-value]  # what `run` returns
        except QueueClosedError:
            self._queue = shared_device().queue
            return self._queue.run(self, args)  # type: ignore[return-value]

    def run(self, args: Any, /) -> list[Any]:
        """The results for these inputs, in the order of the artifact's.

        Raises:
            TcError: inputs of other number, dtype or shape than the program takes, or with values
                (ids) that it cannot index with.
        """
        return self._run(args, None)

    @property
    def last_values(self) -> tuple[int, ...] | None:
        """Of the symbols in the last call; None: not called yet."""
        return self._values.get(self._last[0])

    @last_values.setter
    def last_values(self, values: tuple[int, ...]) -> None:
        self._values[_SET] = values
        self._last[0] = _SET

    def direct(self, shapes: tuple[tuple[int, ...], ...]) -> Direct | None:
        """What machine code needs to call it as `__call__` does, on inputs of these shapes.

        The call is another way into the same queue, with an arena of the same pool. None where it
        has to be Python; TcError where the shapes do not fit.
        """
        if (only := self._only) is None or self.artifact.mutated:
            return None
        planned = self._planned.get(shapes) or self._plan(shapes)
        arena, weights = self._take_arena(), self._weights
        frame = arena.frame(planned.plan, weights, self.threads, self._table_size)
        found = direct(only.function, self._queue, arena, frame, planned, self._inputs)
        self._pool.append(arena)
        if found is None:
            return None
        conditions = (*found.conditions, (ctypes.addressof(self._epoch), self._epoch[0]))
        last = ctypes.addressof(self._last)
        return replace(
            found, pool=self._pool, weights=weights, last=last, conditions=conditions, kept=self
        )

    def fixed(self, args: Sequence[Any]) -> tuple[Callable[[], None], list[Any]]:
        """A function that runs on these arrays, and the results that it fills, each time anew.

        It has memory of its own and is for one thread at a time; weights are those of now.

        Raises:
            TcError: as `run`, and for an array that would have to be copied.
        """
        infos = self.artifact.inputs
        inputs = [self._arrays.ready(a, info) for a, info in zip(args, infos, strict=False)]
        plan = self._plan(tuple([tuple(a.shape) for a in args])).plan
        for given, own, info in zip(args, inputs, infos, strict=True):
            if given is not own:
                why, way_out = "is not dense and row-major", "bind a contiguous copy"
                raise TcError(describe(f"input {info.name}", why=why, way_out=way_out))
        weights, arena = self._weights, self._take_arena()
        frame = arena.frame(plan, weights, self.threads, self._table_size)
        for slot, number in self._inputs:
            frame.table[slot] = self._arrays.address(inputs[number])
        outputs = []
        for slots, shape, dtype in plan.outputs:
            outputs.append(self._arrays.maker(shape, dtype)())
            for slot in slots:
                frame.table[slot] = self._arrays.address(outputs[-1])

        def run() -> None:
            begin = perf_counter_ns()
            spent = 0 if plan.empty else self._execute(self._main, arena, frame, plan, None)
            record(arena.counter, begin, spent)

        run.kept = (inputs, outputs, weights)  # type: ignore[attr-defined]  # read and written to
        return run, outputs

    def profile(self, args: Sequence[Any]) -> list[CallTime]:
        """Run once and tell the time of each kernel and fallback call, in order.

        What kernels report of the values is nobody's concern then: they may be made up.
        """
        profile = Profile(self.threads)
        self._run(args, profile)
        return profile.times

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take these weights from the next call on; calls in progress go on with the old ones."""
        infos = self.artifact.params
        if len(weights) != len(infos):
            raise InternalError(f"{len(weights)} weights for {len(infos)} params")
        ready = [
            w if isinstance(w, RawTensor) else self._arrays.ready(w, info)
            for w, info in zip(weights, infos, strict=True)
        ]
        for array, info in zip(ready, infos, strict=True):
            if tuple(array.shape) != info.shape:
                raise TcError(
                    describe(
                        f"weight {info.name}",
                        why=f"has shape {tuple(array.shape)}, was compiled with {info.shape}",
                        way_out="compile the model anew",
                    )
                )
        slots = [
            (FIRST_SLOT + s, self._weight_address(ready[storage.number]))
            for s, storage in enumerate(self.artifact.storages)
            if storage.place is Place.PARAM
        ]
        made = self._prepare(ready, slots)
        self._epoch[0] += 1  # before the old ones may go
        self._weights = made

    def constant_memory(self) -> dict[int, tuple[int, int]]:
        """Of each storage that holds a parameter or something prepared: (address, bytes).

        Valid until the weights are changed.
        """
        values = self._planner.prepare().values
        found = {}
        for slot, address in self._weights.slots:
            storage = self.artifact.storages[slot - FIRST_SLOT]
            shape = self._planner.shape(slot - FIRST_SLOT, values)
            found[slot - FIRST_SLOT] = (address, math.prod(shape) * storage.dtype.bytes)
        return found

    def stepper(self, largest: tuple[int, ...]) -> Stepper | None:
        """The program for many calls at sizes up to `largest`; None: it has eager operators."""
        if (only := self._only) is None:
            return None
        arena = self._take_arena()
        stepper = Stepper(
            self._step_plans(largest),
            arena,
            self._planner,
            self._weights,
            only.function,
            partial(raise_reported, messages=only.messages),
            self.threads,
        )
        weakref.finalize(stepper, self._pool.append, arena).atexit = False
        return stepper

    def kernel_sizes(self, call: KernelCall, values: Sequence[int]) -> tuple[int, int]:
        """(flops, bytes) of one kernel call at these values of the symbols."""
        return self._planner.kernel_sizes(call, values)

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """The values of the symbols for inputs of these shapes, as `run` reads them."""
        return self._binder.bind(shapes)

    def input_shapes(self, values: Sequence[int]) -> list[tuple[int, ...]]:
        """The shapes of the inputs at these values of the symbols."""
        return self._planner.tensor_shapes(self.artifact.inputs, values)

    def storage_shapes(self, numbers: Sequence[int], values: tuple[int, ...]) -> str:
        """The shapes of these storages as text, "[2, 8] [8, 4]"."""
        return " ".join(str(list(self._planner.shape(n, values))) for n in numbers)

    def __reduce__(self) -> NoReturn:
        # Machine code belongs to its process; copy.copy, copy.deepcopy and pickle all come here.
        raise UnsupportedError(
            describe(
                "copy of a compiled program",
                why="its code and its memory belong to it alone",
                way_out="copy the model and compile the copy, or save it and tc.load that",
            )
        )

    def _items(self, label: str) -> tuple[Item, ...]:
        return items_of(self.artifact, self._functions, label)

    def _weight_address(self, weight: Any) -> int:
        return weight.address if isinstance(weight, RawTensor) else self._arrays.address(weight)

    def _prepare(self, ready: Sequence[Any], slots: list[tuple[int, int]]) -> Weights:
        plan = self._planner.prepare()
        sizes = self._planner.sizes(plan.values, Place.PREPARED)
        wanted = self._keys(ready) if sizes else None
        blocks = None if wanted is None else find(wanted)
        if blocks is None:
            blocks = {number: Block(size) for number, size in sizes.items()}
            weights = Weights(ready, blocks, slots + self._prepared_slots(blocks))
            items = self._items("prepare")
            if items:
                arena = Arena()
                frame = arena.frame(plan, weights, self.threads, self._table_size)
                self._execute(items, arena, frame, plan, None)
            if wanted is not None:
                blocks = share(wanted, blocks)
        return Weights(ready, blocks, slots + self._prepared_slots(blocks))

    def _keys(self, ready: Sequence[Any]) -> dict[int, str] | None:
        """How everything prepared is made, or None where that cannot be told."""
        if any(isinstance(w, RawTensor) for w in ready):
            return None
        identities = [self._arrays.identity(w) for w in ready]
        if any(identity is None for identity in identities):
            return None
        found = keys(self.artifact, identities)
        places = [s for s in self.artifact.storages if s.place is Place.PREPARED]
        return found if {s.number for s in places} == set(found) else None

    def _prepared_slots(self, blocks: Mapping[int, Block]) -> list[tuple[int, int]]:
        return [
            (FIRST_SLOT + s, blocks[storage.number].address)
            for s, storage in enumerate(self.artifact.storages)
            if storage.place is Place.PREPARED
        ]

    def _run(self, args: Sequence[Any], profile: Profile | None) -> list[Any]:
        arrays = self._arrays
        ready = arrays.ready
        infos = self.artifact.inputs
        inputs = [ready(a, info) for a, info in zip(args, infos, strict=False)]
        planned = self._planned.get(tuple([a.shape for a in inputs]))
        if planned is None or len(args) != len(infos):
            planned = self._plan(tuple([tuple(a.shape) for a in args]))
        outputs = self._run_planned(planned, inputs, profile)
        for number in self.artifact.mutated:
            if inputs[number] is not args[number]:
                arrays.give_back(inputs[number], args[number])
        return outputs

    def _run_planned(
        self, planned: Planned, inputs: Sequence[Any], profile: Profile | None
    ) -> list[Any]:
        """The results for ready inputs of the shapes that this was planned for."""
        plan = planned.plan
        weights = self._weights  # kept alive until the end of this call, whatever comes meanwhile
        arena = self._take_arena()
        try:
            if plan.empty:
                record(arena.counter, perf_counter_ns(), 0)
                return [make() for _, make in planned.outputs]
            frame = arena.frame(plan, weights, self.threads, self._table_size)
            table, address = frame.table, self._arrays.address
            for slot, number in self._inputs:
                table[slot] = address(inputs[number])
            outputs = []
            for slots, make in planned.outputs:
                output = make()
                outputs.append(output)
                for slot in slots:
                    table[slot] = address(output)
            self._last[0] = planned.number
            begin = perf_counter_ns()
            if (only := self._only) is not None and profile is None:
                only.function(frame.address)
                record(arena.counter, begin, perf_counter_ns() - begin)
                if arena.error.value:
                    raise_reported(arena, only.messages)
            else:
                spent = self._execute(self._main, arena, frame, plan, profile)
                record(arena.counter, begin, spent)
        finally:
            self._pool.append(arena)
        return outputs

    def _plan(self, shapes: tuple[tuple[int, ...], ...]) -> Planned:
        plan = self._planner.main(self._binder.bind(shapes))
        if len(self._planned) >= _MOST_PLANS:
            self._planned, self._values = {}, {}
        outputs = [
            (slots, self._arrays.maker(shape, dtype)) for slots, shape, dtype in plan.outputs
        ]
        number = next(_NUMBERS)
        self._values[number] = plan.values
        found = self._planned[shapes] = Planned(plan, tuple(outputs), number)
        return found

    def _take_arena(self) -> Arena:
        if self._pool:
            with suppress(IndexError):  # another thread may have taken the last one
                return self._pool.pop()
        arena = Arena()
        self.stats.counters.append(arena.counter)
        return arena
