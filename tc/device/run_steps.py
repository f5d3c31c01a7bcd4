"""Running one program again and again at sizes that change, as a generation does for each token.

A call of a program plans for its shapes; a generation has new shapes at every token. A stepper is
planned once, at the greatest sizes: its arena and its argument table hold for all smaller ones,
since a buffer never needs more where a size is less. A step then writes the sizes to the table and
makes one foreign call. This module must not allocate anything in a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns

from tc.device.artifact import FIRST_SLOT, Artifact, Place
from tc.device.run_call import Arena, Weights
from tc.device.run_plan import Plan, Planner, Shape
from tc.device.run_stats import record
from tc.errors import InternalError
from tc.frozen import frozen
from tc.ir.types import DType

_MOST_PLANS = 16


@frozen
class StepPlan:
    """What the steppers of one program have in common at the same greatest sizes.

    Attributes:
        slots: (slot, number) of every storage of an input, and of an output.
    """

    plan: Plan
    slots: Mapping[Place, tuple[tuple[int, int], ...]]


class StepPlans:
    """The step plans of one program, by their greatest sizes."""

    def __init__(self, artifact: Artifact, planner: Planner) -> None:
        self._artifact = artifact
        self._planner = planner
        self._found: dict[tuple[int, ...], StepPlan] = {}

    def __call__(self, largest: tuple[int, ...]) -> StepPlan:
        """That for the symbols' values `largest`."""
        found = self._found.get(largest)
        if found is None:
            if len(self._found) >= _MOST_PLANS:
                self._found = {}
            found = self._found[largest] = self._made(largest)
        return found

    def _made(self, largest: tuple[int, ...]) -> StepPlan:
        plan = self._planner.main(largest)
        if plan.empty:
            raise InternalError("stepper: nothing is to be computed at these sizes")
        slots = {
            place: tuple(
                (FIRST_SLOT + s, storage.number)
                for s, storage in enumerate(self._artifact.storages)
                if storage.place is place
            )
            for place in (Place.INPUT, Place.OUTPUT)
        }
        return StepPlan(plan, slots)


class Stepper:
    """One program on one arena; belongs to one thread at a time.

    Attributes:
        outputs: (shape, dtype) of each result at the greatest sizes.
    """

    def __init__(
        self,
        step_plan: StepPlan,
        arena: Arena,
        planner: Planner,
        weights: Weights,
        function: Callable[[int], object],
        fail: Callable[[Arena], object],
        threads: int,
    ) -> None:
        """On `arena`, which is its own as long as it lives.

        Args:
            function: the only entry of the program.
            fail: raises what a kernel has reported on an arena.
            weights: kept alive, so that a step never sees others.
        """
        plan = step_plan.plan
        self.outputs: tuple[tuple[Shape, DType], ...] = tuple(
            (shape, dtype) for _, shape, dtype in plan.outputs
        )
        self._planner = planner
        self._weights = weights
        self._function = function
        self._fail = fail
        self._arena = arena
        self._frame = self._arena.frame(plan, weights, threads, planner.table_size)
        self._slots = step_plan.slots

    def place(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Take inputs from, and write results to, these addresses from now on."""
        for place, addresses in ((Place.INPUT, inputs), (Place.OUTPUT, outputs)):
            for slot, number in self._slots[place]:
                self._frame.table[slot] = addresses[number]

    def __call__(self, values: tuple[int, ...]) -> None:
        """Run once at these values of the symbols, none above `largest`.

        Raises:
            TcError: a kernel has met a value (an id) that it cannot index with.
        """
        table = self._frame.table
        for slot, value in self._planner.slots(values):
            table[slot] = value
        begin = perf_counter_ns()
        self._function(self._frame.address)
        record(self._arena.counter, begin, perf_counter_ns() - begin)
        if self._arena.error.value:
            self._fail(self._arena)
