"""Latencies: statistics of known numbers, turns in the right order."""

from __future__ import annotations

import pytest

from tc.cli.timing import Latency, percentile, take_turns


def test_statistics_of_known_numbers() -> None:
    found = Latency.of([4.0, 1.0, 3.0, 2.0], items=10)
    assert (found.calls, found.min, found.median, found.mean, found.max) == (4, 1.0, 2.5, 2.5, 4.0)
    assert (found.p90, found.p95, found.p99) == (4.0, 4.0, 4.0)
    assert found.throughput == 4.0
    assert found.as_dict()["p99"] == 4.0


@pytest.mark.parametrize(("share", "value"), [(0, 1), (1, 1), (50, 50), (90, 90), (99, 99)])
def test_percentiles_of_a_hundred(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def test_one_call_has_statistics() -> None:
    found = Latency.of([0.5], items=1)
    assert found.min == found.p99 == found.max == 0.5


def test_contenders_take_turns_after_warming_up() -> None:
    seen: list[str] = []
    taken: dict[str, list[float]] = {}
    ticks: list[int] = []
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    take_turns(calls, 2, 3, lambda: ticks.append(1), taken)
    assert "".join(seen) == "aabb" + "ab" * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}
    assert len(ticks) == 3


def test_an_interruption_leaves_what_was_measured() -> None:
    taken: dict[str, list[float]] = {}
    left = iter([None, None, None])

    def call() -> None:
        if next(left, "end") == "end":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_turns({"a": call}, 1, 9, lambda: None, taken)
    assert len(taken["a"]) == 2
