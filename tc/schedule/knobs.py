"""The decisions of an analytical default, each with what could have been decided instead.

A default schedule asks `Plan.pick` at each place where a number is a matter of opinion: it names
the decision, what it would take, and what else would be legal there. With nobody to ask, it takes
its own. So the space of a workload is what its default can be talked into, and there is one piece
of code for both. This module must not know any decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tc.frozen import frozen


@frozen
class Knob:
    """A decision: its name, the default's value, and all legal values, the default's first."""

    name: str
    default: int
    values: tuple[int, ...]


class Chooser(Protocol):
    """Who decides; must give one of the knob's values."""

    def __call__(self, knob: Knob) -> int: ...


class Given:
    """Decides as a mapping says; what is not in it, or not legal there, is as the default has it.

    Attributes:
        asked: the knobs in the order in which they were asked for.
        taken: what was decided for each.
    """

    def __init__(self, wanted: Mapping[str, int] | None = None) -> None:
        self.wanted = dict(wanted or {})
        self.asked: dict[str, Knob] = {}
        self.taken: dict[str, int] = {}

    def __call__(self, knob: Knob) -> int:
        value = self.wanted.get(knob.name, knob.default)
        if value not in knob.values:
            value = knob.default
        self.asked[knob.name] = knob
        self.taken[knob.name] = value
        return value


def knobs_text(taken: Mapping[str, int]) -> str:
    """Decisions as one line, "mr=4 vectors=3"."""
    return " ".join(f"{name}={value}" for name, value in sorted(taken.items()))


def read_knobs(text: str) -> dict[str, int]:
    """Decisions again from their line. Raises ValueError: no such line."""
    found = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no decision")
        found[name] = int(value)
    return found
