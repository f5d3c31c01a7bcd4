"""Captures of the zoo that tests share: exporting a model takes longer than most tests of it."""

from __future__ import annotations

from functools import cache

from tc.frontend.capture import capture
from tc.frontend.captured import Captured
from tests.models import entry


@cache
def captured(name: str) -> Captured:
    """The model called `name`, captured on a call of batch 1, length 1. Not to be changed."""
    each = entry(name)
    return capture(each.build(), (), each.inputs(1, 1))
