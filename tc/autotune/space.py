"""The space of a workload: what its analytical default could have decided otherwise.

A candidate is a set of decisions, and the schedule and loops that the default makes with them, so
that it is legal by construction. This module must not know any decision, nor judge a candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tc.errors import ScheduleError
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.pipeline import Workload
from tc.schedule.defaults import default_plan
from tc.schedule.defaults.plan import Plan, Steps
from tc.schedule.dependence import proven
from tc.schedule.foreign import MOST_BODIES, unrolled
from tc.schedule.knobs import Chooser, Given, Knob, knobs_text
from tc.schedule.step import Schedule

KEPT: Final = 512  # candidates whose loops are remembered


@frozen
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
        self._steps = Steps()
        self._root, self._count = _Node(), 0
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
        """What the default makes with these decisions; those known to lead there need no work."""
        answers: list[int] = []
        node = self._root
        while node.knob is not None:
            answers.append(chooser(node.knob))
            node = node.next.setdefault(answers[-1], _Node())
        found = node.found
        if found is None:
            following = _Following(self._root, answers, chooser)
            plan = self._plan(following)
            self.family = plan.family
            self._count += 1
            following.node.found = found = Candidate(
                knobs_text(chooser.taken),
                plan.schedule,
                plan.func,
                dict(chooser.taken),
                dict(chooser.asked),
                unrolled(plan.func.body) <= MOST_BODIES,
            )
        if self._count >= KEPT:
            self._root, self._count = _Node(), 0
        return found

    def _plan(self, chooser: Chooser) -> Plan:
        made = self.workload.computation
        plan = Plan(self.workload.lowered, self.workload.target, chooser, self._steps)
        try:
            with proven():  # who builds a candidate applies its steps anew
                return default_plan(made.outputs, made.constants, plan)
        except ScheduleError as error:
            raise ScheduleError(f"a candidate of {plan.family}: {error.message}") from error


@dataclass(slots=True)
class _Node:
    """A place among decisions: what is asked for next, or the candidate that was made there."""

    knob: Knob | None = None
    next: dict[int, _Node] = field(default_factory=dict)
    found: Candidate | None = None


class _Following:
    """Decides as it was decided before, then as `chooser` says, and notes what is asked for.

    Attributes:
        node: where the decisions so far lead.
    """

    def __init__(self, root: _Node, answers: Sequence[int], chooser: Chooser) -> None:
        self.node = root
        self._answers = answers
        self._given = 0
        self._chooser = chooser

    def __call__(self, knob: Knob) -> int:
        if self._given < len(self._answers):
            value = self._answers[self._given]
            self._given += 1
        else:
            self.node.knob = knob
            value = self._chooser(knob)
        self.node = self.node.next.setdefault(value, _Node())
        return value


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
