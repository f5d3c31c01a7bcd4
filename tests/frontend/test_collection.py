"""When cycles are looked for: not meanwhile, once at the end, and never on the host's behalf."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tc.frontend.collection import no_collection


class Ring:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing is frozen, as the tests have all that they import."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_what_was_left_behind_is_freed_and_the_rest_counts_as_old() -> None:
    with no_collection():
        assert not gc.isenabled()
        gone, kept = weakref.ref(Ring()), Ring()
        assert gone() is not None
    assert gc.isenabled() and gone() is None
    assert any(x is kept for x in gc.get_objects(generation=2))


def test_inside_another_and_where_the_host_has_no_collector_nothing_is_looked_at() -> None:
    with no_collection():
        with no_collection():
            left = weakref.ref(Ring())
        assert not gc.isenabled() and left() is not None
    gc.disable()
    try:
        with no_collection():
            left = weakref.ref(Ring())
        assert not gc.isenabled() and left() is not None
    finally:
        gc.enable()
    gc.collect()


def test_what_the_host_has_frozen_stays_frozen() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    with no_collection():
        pass
    assert gc.get_freeze_count() >= before - 100
