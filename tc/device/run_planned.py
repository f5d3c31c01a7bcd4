"""A program at one set of shapes, with everything worked out that they determine.

This module must not touch memory or run anything by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tc.device.run_plan import Plan
from tc.device.run_profile import Profile


class Planned:
    """A program at one set of shapes: a queue runs it on inputs that are known to be ready.

    Attributes:
        plan: of its memory.
        outputs: the slots of each result, and what makes its array.
    """

    __slots__ = ("_run", "outputs", "plan")

    def __init__(
        self,
        plan: Plan,
        outputs: tuple[tuple[tuple[int, ...], Callable[[], Any]], ...],
        run: Callable[[Planned, Sequence[Any], Profile | None], list[Any]],
    ) -> None:
        self.plan = plan
        self.outputs = outputs
        self._run = run

    def run(self, args: Any, /) -> list[Any]:
        """The results for arrays that `Arrays.ready` would give back as they are."""
        return self._run(self, args, None)
