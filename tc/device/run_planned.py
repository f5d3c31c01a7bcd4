"""A program at one set of shapes, with everything worked out that they determine.

This module must not touch memory or run anything by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tc.device.run_plan import Plan


class Planned:
    """A program at one set of shapes: a queue runs it on inputs that are known to be ready.

    Attributes:
        plan: of its memory.
        outputs: the slots of each result, and what makes its array.
        run: from arrays that `Arrays.ready` would give back as they are to the results.
    """

    __slots__ = ("outputs", "plan", "run")

    def __init__(
        self,
        plan: Plan,
        outputs: tuple[tuple[tuple[int, ...], Callable[[], Any]], ...],
        run: Callable[..., list[Any]],
    ) -> None:
        self.plan = plan
        self.outputs = outputs
        # Bound here: a method would be one more level of every call.
        self.run = partial(run, self, profile=None)
