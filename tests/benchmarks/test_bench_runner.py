"""The harness checks before it times, interleaves, and reports honest figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calm import Calm
from benchmarks.comparison import Measured, notes
from benchmarks.protocol import Block, UnavailableError, WorkerError
from benchmarks.runner import (
    Moment,
    Settings,
    block_size,
    inside_ratio,
    interleave,
    measure,
    paired_ratio,
    relative_error,
    unequal_share,
)
from tests.benchmarks.fakes import Fake, FakeMachine

EXPECTED = np.ones(3)
SETTINGS = Settings(rounds=3, block_seconds=0.03, gap_seconds=0.0)


def test_rounds_run_every_contender_in_order():
    log: list[str] = []
    interleave(
        [Fake(name, log) for name in "abc"], SETTINGS, lambda: log.append("look") or Moment()
    )
    pilots, rounds = log[:3], log[3:]
    assert pilots == ["a", "b", "c"]
    assert rounds == ["look", *["a", "look", "b", "look", "c", "look"] * 3]


def test_blocks_are_run_in_calm_while_there_is_patience():
    """A neighbour comes during the first block and after the last: once more, and as it is."""
    log: list[str] = []
    calm = iter((False, True, False, True, True, True))
    settings = replace(SETTINGS, rounds=2, patience=60.0)

    def look() -> Moment:
        log.append("look")
        return Moment(calm=next(calm))

    fakes = [Fake("a", log)]
    blocks = interleave(fakes, settings, look)["a"]
    assert [block.calm for block in blocks] == [True, True]
    assert log[1:] == ["look", "look", "a", "look", "look", "a", "look", "a", "look"]
    impatient = replace(settings, patience=0.0)
    seen = iter((True, False, True))
    (result,) = measure(fakes, EXPECTED, impatient, look=lambda: Moment(calm=next(seen)))
    assert result.crowded == 1.0
    assert "100% of its blocks with a neighbour" in notes(Measured("row", (result,)))[0]


@pytest.mark.parametrize(
    ("rates", "calm"), [((100, 94), [False]), ((100, 96, 110, 104), [True, True, False])]
)
def test_calm_is_a_share_of_the_best_that_was_seen(rates, calm):
    class Machine(FakeMachine):
        def gflops(self, kind: str, threads: int) -> float:
            assert (kind, threads) == ("loaded", 1)
            return float(next(figures))

    figures = iter(rates)
    tell = Calm(Machine(), 1)
    assert [tell() for _ in calm] == calm


def test_wrong_contender_is_reported_and_never_timed():
    log: list[str] = []
    wrong = Fake("wrong", log, value=np.array([1.0, 1.0, 1.1]))
    results = measure([wrong, Fake("right", log)], EXPECTED, SETTINGS)
    assert [result.state for result in results] == ["wrong", "ok"]
    assert "wrong" not in log
    assert results[0].median == 0.0
    assert results[0].error == pytest.approx(0.1)
    assert "allowed 1e-04" in results[0].reason
    assert wrong.closed


@pytest.mark.parametrize(
    "value", [np.ones(4), np.ones((3, 1)), np.array([1, np.nan, 1]), np.array([1, np.inf, 1])]
)
def test_wrong_shape_or_nan_is_wrong(value):
    (result,) = measure([Fake("a", [], value=value)], EXPECTED, SETTINGS)
    assert result.state == "wrong"


def test_unavailable_and_failed_do_not_stop_the_others():
    log: list[str] = []
    contenders = [
        Fake("absent", log, error=UnavailableError("not installed")),
        Fake("broken", log, error=WorkerError("raised")),
        Fake("fine", log),
    ]
    results = measure(contenders, EXPECTED, SETTINGS)
    assert [result.state for result in results] == ["unavailable", "failed", "ok"]
    assert [result.reason for result in results] == ["not installed", "raised", ""]
    assert results[2].ratio == 1.0


def test_nothing_right_means_nothing_timed():
    log: list[str] = []
    (result,) = measure([Fake("a", log, value=np.zeros(3))], EXPECTED, SETTINGS)
    assert (result.state, log) == ("wrong", [])


def test_medians_percentiles_and_ratio():
    slow = Fake("slow", [], seconds=(0.02,))
    varied = Fake("varied", [], seconds=(0.01, 0.01, 0.01, 0.03))
    first, second = measure([slow, varied], EXPECTED, SETTINGS)
    assert (first.median, first.ratio) == (0.02, 1.0)
    assert (second.p10, second.median, second.p90) == (0.01, 0.01, 0.03)
    assert second.ratio == 0.5
    assert second.calls == 9
    assert second.prepare_seconds == 1.5


def test_ratio_is_taken_within_rounds():
    """A machine that slows down threefold between rounds changes no ratio."""
    mine = [Block((2.0,)), Block((6.0,)), Block((6.0,))]
    theirs = [Block((1.0,)), Block((3.0,)), Block((3.0,))]
    assert paired_ratio(mine, theirs) == 2.0


def test_share_is_of_the_limit_in_the_same_round():
    """A core that runs at half its speed for a while changes no share."""
    fake = Fake("a", [], seconds=(1.0,) * 5 + (2.0,) * 3)  # a pilot of three and an untimed first
    settings = Settings(rounds=2, block_seconds=3.0, gap_seconds=0.0)
    limits = iter((0.8, 1.0, 2.2))  # around the first block and the second
    (result,) = measure([fake], EXPECTED, settings, look=lambda: Moment(next(limits)))
    assert result.share == pytest.approx(0.85)
    (unknown,) = measure([Fake("a", [])], EXPECTED, SETTINGS)
    assert math.isnan(unknown.share)


def test_block_size_fills_the_block():
    assert block_size(Fake("a", [], seconds=(0.01,)), SETTINGS) == 3
    assert block_size(Fake("a", [], seconds=(5.0,)), SETTINGS) == 1
    assert block_size(Fake("a", [], seconds=(0.0,)), SETTINGS) == 10_000


def test_load_check_runs_after_preparing_and_closes_all_on_refusal():
    log: list[str] = []
    contenders = [Fake("a", log), Fake("b", log)]

    def refuse() -> None:
        assert log == []
        raise RuntimeError("busy")

    with pytest.raises(RuntimeError, match="busy"):
        measure(contenders, EXPECTED, SETTINGS, refuse)
    assert log == []
    assert all(contender.closed for contender in contenders)


def test_load_check_runs_before_and_after_the_timing():
    log: list[str] = []
    measure([Fake("a", log)], EXPECTED, SETTINGS, lambda: log.append("check"))
    assert log == ["check", *"aaaa", "check"]


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.0, 9.0], [0.0, 10.0], 0.1),
        ([0.5], [0.0], 0.5),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], math.inf),
        ([], [], 0.0),
        ([np.inf], [np.inf], 0.0),
    ],
)
def test_relative_error(actual, expected, error):
    assert relative_error(np.array(actual), np.array(expected)) == pytest.approx(error)


def test_a_tolerance_of_ones_own_and_an_error_of_another_kind():
    settings = Settings(1, 0.001, 0.0, 0.0, {"loose": 1.0}, error=unequal_share)
    tokens = np.array([[1, 2, 3, 5]])
    contenders = [Fake("exact", [], value=tokens), Fake("loose", [], value=tokens + tokens % 2)]
    results = measure(contenders, tokens, settings)
    assert [result.state for result in results] == ["ok", "ok"]
    assert [result.error for result in results] == [0.0, 0.75]
    (wrong,) = measure([Fake("x", [], value=tokens + 1)], tokens, settings)
    assert wrong.state == "wrong"
    (short,) = measure([Fake("loose", [], value=tokens[:, 1:])], tokens, settings)
    assert short.state == "wrong"


def test_times_inside_are_held_against_whole_calls_of_a_peer():
    blocks = [Block((1.0, 1.0), inside=(0.5, 0.5))] * 2
    peer = [Block((2.0,))] * 2
    assert inside_ratio(peer, blocks) == 4.0
    assert inside_ratio(blocks, blocks) == 1.0
    assert math.isnan(inside_ratio(blocks, peer))


def test_more_is_asked_of_the_right_ones_after_the_timing():
    asked: list[str] = []
    contenders = [Fake("right", []), Fake("wrong", [], value=np.zeros(3))]
    measure(contenders, EXPECTED, SETTINGS, then=lambda contender: asked.append(contender.name))
    assert asked == ["right"]


def test_a_call_that_is_a_block_needs_no_pilot():
    log: list[str] = []
    assert block_size(Fake("a", log), Settings(block_seconds=0.0)) == 1
    assert log == []
