"""Timings are refused on a busy machine."""

from __future__ import annotations

import pytest

from benchmarks.load import LoadError, busy_share, chosen_cores, read_ticks, require_quiet

BEFORE = "cpu  9 9 9 9\ncpu0 100 0 50 800 50 0 0 0 70 0\ncpu1 0 0 0 1000 0 0 0 0 0 0\nintr 5\n"
AFTER = "cpu  9 9 9 9\ncpu0 110 0 55 870 55 0 0 10 80 0\ncpu1 0 0 0 1100 0 0 0 0 0 0\nintr 6\n"


def test_ticks_count_neither_guest_time_nor_waiting_as_busy():
    assert read_ticks(BEFORE) == {0: (150, 1000), 1: (0, 1000)}


def test_busy_share_is_of_the_chosen_cores():
    before, after = read_ticks(BEFORE), read_ticks(AFTER)
    assert busy_share(before, after, (0,)) == pytest.approx(0.25)
    assert busy_share(before, after, (1,)) == 0.0
    assert busy_share(before, after, (0, 1)) == pytest.approx(0.125)
    assert busy_share(before, before, (0,)) == 0.0


def test_busy_machine_is_refused_unless_forced():
    with pytest.raises(LoadError, match=r"cores 0, 1 are 34% busy.*--force"):
        require_quiet((0, 1), force=False, watch=lambda _: 0.34)
    assert require_quiet((0, 1), force=True, watch=lambda _: 0.34) == 0.34
    assert require_quiet((0, 1), force=False, watch=lambda _: 0.01) == 0.01


def test_cores_are_those_that_the_process_may_use():
    assert len(chosen_cores(1)) == 1
    with pytest.raises(ValueError, match="asked for 4096 cores"):
        chosen_cores(4096)
