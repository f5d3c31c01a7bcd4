"""The space of a workload: what its analytical default could have decided otherwise.

A candidate is a set of decisions, and the schedule and loops that the default makes with them, so
that it is legal by construction. This module must not know any decision, nor judge a candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tc.pipeline import Workload
from tc.schedule.defaults import default_plan
from tc.schedule.defaults.plan import Plan
from tc.schedule.dependence import proven
from tc.schedule.foreign import MOST_BODIES, unrolled
from tc.schedule.knobs import Chooser, Given, Knob, knobs_text
from tc.schedule.step import Schedule

KEPT: Final = 512  # candidates whose loops are remembered


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of a space.

    Attributes:
        knobs: the decisions, as one line.
        func: the loops after the schedule.
        legal: False where the loops unroll beyond measure; it is not to be tried.
    """

    knobs: str
    schedule: Schedule
    func: Func
    taken: Mapping[str, int]
    asked: Mapping[str, Knob]
    legal: bool = True


class Space:
    """The space of one workload.

    Attributes:
        family: the kind of workload.
        default: the analytical candidate.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._known: dict[str, Candidate] = {}
        self.family = ""
        self.default = self.make({})

    def make(self, wanted: Mapping[str, int]) -> Candidate:
        """The candidate with these decisions, and the default's where they say nothing."""
        return self._make(Given(wanted))

    def draw(self, random: Random) -> Candidate:
        """Any candidate: each decision is drawn when the default asks for it."""
        return self._make(_Drawn(random, {}, 1.0))

    def mutate(self, parent: Candidate, random: Random) -> Candidate:
        """A candidate that differs from `parent` in a decision or two."""
        share = 1.5 / max(1, len(parent.asked))
        return self._make(_Drawn(random, parent.taken, share))

    def cross(self, one: Candidate, other: Candidate, random: Random) -> Candidate:
        """A candidate that decides as one or the other does."""
        names = sorted({*one.taken, *other.taken})
        pairs = [one.taken if random.random() < 0.5 else other.taken for _ in names]
        return self.make({n: taken[n] for n, taken in zip(names, pairs, strict=True) if n in taken})

    def neighbours(self, of: Candidate) -> Iterator[dict[str, int]]:
        """The decisions of all candidates that differ in one decision, knob by knob."""
        for name, knob in of.asked.items():
            for value in knob.values:
                if value != of.taken[name]:
                    yield {**of.taken, name: value}

    def size(self) -> int:
        """How many sets of decisions there are, among those that the default meets."""
        return math.prod(len(knob.values) for knob in self.default.asked.values())

    def _make(self, chooser: Given) -> Candidate:
        known = None if isinstance(chooser, _Drawn) else self._known.get(_key(chooser.wanted))
        if known is not None:
            return known
        plan = self._plan(chooser)
        self.family = plan.family
        found = Candidate(
            knobs_text(chooser.taken),
            plan.schedule,
            plan.func,
            dict(chooser.taken),
            dict(chooser.asked),
            unrolled(plan.func.body) <= MOST_BODIES,
        )
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[_key(chooser.wanted)] = self._known[_key(found.taken)] = found
        return found

    def _plan(self, chooser: Chooser) -> Plan:
        made = self.workload.computation
        plan = Plan(self.workload.lowered, self.workload.target, chooser)
        try:
            with proven():  # who builds a candidate applies its steps anew
                return default_plan(made.outputs, made.constants, plan)
        except ScheduleError as error:
            raise ScheduleError(f"a candidate of {plan.family}: {error.message}") from error


class _Drawn(Given):
    """Decides as `wanted` says, but draws a share of the decisions."""

    def __init__(self, random: Random, wanted: Mapping[str, int], share: float) -> None:
        super().__init__(wanted)
        self._random = random
        self._share = share

    def __call__(self, knob: Knob) -> int:
        if self._random.random() < self._share:
            self.wanted[knob.name] = self._random.choice(knob.values)
        return super().__call__(knob)


def _key(wanted: Mapping[str, int]) -> str:
    return knobs_text(wanted)
