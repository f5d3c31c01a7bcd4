"""A program at one set of shapes, with everything worked out that they determine.

This module must not touch memory or run anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tc.device.run_plan import Plan
from tc.frozen import frozen


@frozen
class Planned:
    """A program at one set of shapes.

    Attributes:
        plan: of its memory.
        outputs: the slots of each result, and what makes its array.
        number: among the plans of this process.
    """

    plan: Plan
    outputs: tuple[tuple[tuple[int, ...], Callable[[], Any]], ...]
    number: int
