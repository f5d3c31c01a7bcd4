"""Captures of the zoo that tests share: exporting a model takes longer than most tests of it."""

from __future__ import annotations

from functools import lru_cache

from tc.frontend.capture import Captured, capture
from tests.models import entry


# The tests of one model run one after another (see conftest.py), so that a few are enough.
@lru_cache(maxsize=4)
def captured(name: str) -> Captured:
    """The model called `name`, captured on a call of batch 2, length 5. Not to be changed."""
    each = entry(name)
    return capture(each.build(), (), each.inputs(2, 5))
