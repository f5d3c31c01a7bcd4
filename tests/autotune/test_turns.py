"""Turns: which of them count, when they end, and what they say; the times are made up."""

from __future__ import annotations

import math
import time

import pytest

from tc.autotune import turns
from tc.autotune.turns import Turns


class Clockwork(Turns):
    """Turns whose times are given."""

    def __init__(self, ours: list[float], theirs: list[float], floor: float = math.inf) -> None:
        self.ours, self.theirs, self._floor = ours, theirs, floor


def test_turns_that_were_disturbed_do_not_count() -> None:
    made = Clockwork([2.0, 2.1, 9.0, 2.0, 2.0], [4.0, 4.0, 4.0, 12.0, 4.1])
    assert made.clean == [(2.0, 4.0), (2.1, 4.0), (2.0, 4.1)]
    found = made.measured(0.0)
    assert (found.ratio, found.least, found.repeats) == (0.5, 2.0, 3)
    assert found.median == 2.0
    assert not made.is_known


def test_a_default_slower_than_ever_says_that_the_machine_is_busy() -> None:
    assert Clockwork([2.0] * 9, [4.0] * 9).is_known
    assert Clockwork([2.0] * 9, [4.0] * 9, floor=3.0).is_known  # a neighbour, not other work
    busy = Clockwork([2.0] * 9, [4.0] * 9, floor=1.0)
    assert busy.clean == []
    assert not busy.is_known


def test_who_is_far_behind_gets_no_more_turns() -> None:
    assert Clockwork([6.0] * 5, [4.0] * 5).is_hopeless
    assert not Clockwork([6.0] * 4, [4.0] * 4).is_hopeless
    assert not Clockwork([6.0, 6.0, 6.0, 6.0, 4.5], [4.0] * 5).is_hopeless
    assert not Clockwork([6.0] * 5, [4.0] * 5, floor=1.0).is_hopeless


def test_who_is_far_behind_is_not_the_best_because_the_default_was_disturbed() -> None:
    made = Clockwork([12.0, 6.0, 12.0, 11.0, 12.0], [30.0, 40.0, 4.0, 4.1, 4.0])
    assert made.is_hopeless
    assert made.clean == []
    assert made.measured(0.0).ratio == 1.5


@pytest.mark.parametrize(("spread", "certain"), [(0.0, True), (0.01, True), (0.15, False)])
def test_the_spread_decides_how_long_it_takes(spread: float, certain: bool) -> None:
    ours = [1.0 + spread * (n % 5 - 2) / 4 for n in range(20)]
    assert Clockwork(ours, [1.0] * 20).is_certain is certain


@pytest.mark.parametrize(("level", "certain"), [(0.9, False), (0.985, False), (1.2, True)])
def test_who_is_behind_for_sure_need_not_be_known_as_well(level: float, certain: bool) -> None:
    ours = [level * (1.0 + 0.04 * (n % 5) / 4) for n in range(20)]
    assert Clockwork(ours, [1.0] * 20).is_certain is certain


@pytest.mark.parametrize(("level", "certain"), [(1.0, False), (1.05, False), (1.1, True)])
def test_the_further_behind_the_less_need_be_known(level: float, certain: bool) -> None:
    ours = [level * (1.0 + 0.14 * (n % 5 - 2) / 4) for n in range(20)]
    assert Clockwork(ours, [1.0] * 20).is_certain is certain


def test_a_gain_that_is_not_certain_is_suspicious() -> None:
    spread = [0.8, 0.85, 0.9, 0.93, 0.95, 0.95, 0.95]
    assert Clockwork(spread, [1.0] * 7).is_suspicious
    assert not Clockwork(spread * 20, [1.0] * 140).is_suspicious  # it was seen often enough
    assert not Clockwork([0.9] * 7, [1.0] * 7).is_suspicious
    assert not Clockwork([x + 0.2 for x in spread], [1.0] * 7).is_suspicious  # no gain


class Copy:
    """A call of a kernel with one copy of its constants; notes that it ran."""

    def __init__(self, number: int, used: list[int]) -> None:
        self.address = number
        self._used = used

    def entry(self, number: int) -> None:
        self._used.append(number)


@pytest.mark.parametrize("counts", [(1, 1), (2, 3), (4, 1)])
def test_no_copy_of_the_constants_is_used_again_before_all_others(
    counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "calls_of_turn", lambda calls, _: counts[calls is theirs])
    used: list[int] = []
    ours, theirs = ([Copy(n, used) for n in range(6)] for _ in range(2))
    taking = Turns(ours, theirs)
    for _ in range(8):
        taking.take()
    assert used == [n % 6 for n in range(8 * sum(counts))]


def test_both_are_first_as_often_and_use_every_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "calls_of_turn", lambda calls, _: 1)
    ours, theirs = [], []
    taking = Turns([Copy(n, ours) for n in range(7)], [Copy(n, theirs) for n in range(7)])
    for _ in range(14):
        taking.take()
    assert sorted(ours) == sorted(theirs) == sorted([*range(7), *range(7)])
    firsts = [a == (b + 1) % 7 for a, b in zip(ours, theirs, strict=True)]
    assert firsts == [True, False] * 7


class Slow:
    """A call that takes so many seconds of a clock of its own."""

    now = 0.0

    def __init__(self, seconds: float) -> None:
        self.seconds, self.made = seconds, 0

    def __call__(self) -> None:
        self.made += 1
        Slow.now += self.seconds


@pytest.mark.parametrize(("seconds", "count", "made"), [(50e-6, 4, 4), (2e-4, 1, 4), (5e-3, 1, 2)])
def test_a_turn_is_long_enough_and_a_long_call_is_not_tried_often(
    seconds: float, count: int, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "now", 0.0)
    call = Slow(seconds)
    found = turns.calls_of_turn([call], lambda: Slow.now)
    assert found in (count, count + 1)  # as the clock rounds
    assert call.made == made


def test_a_kernel_that_works_alone_is_not_charged_for_what_its_core_does_besides() -> None:
    class Interrupted:
        address = 0

        def __call__(self) -> None:
            self.entry(0)

        def entry(self, address: int) -> None:
            assert address == self.address
            time.sleep(0.01)

    for threads, seen in ((1, False), (2, True)):
        taking = Turns([Interrupted()], [Interrupted()], clock=turns.clock_of(threads))
        taking.take()
        assert (min(taking.ours[0], taking.theirs[0]) > 0.005) is seen
