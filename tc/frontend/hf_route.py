"""What a kind of call leads to, and what is told of calls that run eagerly.

This module must not know how programs are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch

from tc.device.run_stats import Stats
from tc.errors import describe
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import SizesError
from tc.frontend.hf_program import Program


class OnEager(Protocol):
    """Told that calls run eagerly."""

    def allow(self, why: NoProgramError) -> None:
        """Raises it where that is not wanted."""

    def count(self, why: NoProgramError) -> None:
        """As `allow`, before one call that does."""


class Route:
    """What a key leads to: the programs of its canonical call and the order of their inputs."""

    __slots__ = ("caches", "canonical", "order", "programs", "refused")

    def __init__(
        self,
        canonical: tuple[Any, ...],
        programs: list[Program],
        order: list[int] | None,
        caches: list[int] | None,
    ) -> None:
        self.canonical = canonical
        self.programs = programs
        self.order = order
        self.caches = caches
        self.refused: NoProgramError | None = None  # of calls that no program of these takes


def order_of(given: list[str], wanted: list[str]) -> list[int] | None:
    """Where each wanted name stands among the given, or None where the order is the same."""
    if given == wanted:
        return None
    return [given.index(name) for name in wanted]


def too_many(model: torch.nn.Module, programs: int) -> SizesError:
    """So many programs of a kind of call are enough."""
    return SizesError(
        describe(
            f"call of {type(model).__name__}",
            why=f"{programs} programs exist for it already, none takes its sizes",
            way_out="pad the inputs to fewer distinct sizes",
        )
    )


def stats_of(runners: Iterable[object]) -> list[Stats]:
    """The counters of those that count."""
    found = (getattr(runner, "stats", None) for runner in runners)
    return [stats for stats in found if isinstance(stats, Stats)]
