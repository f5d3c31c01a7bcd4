"""Latencies of calls: taking them in turn, and their statistics.

This module must not know what is called, nor print.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from tc.frozen import frozen


@frozen
class Latency:
    """Statistics of the seconds that calls took, and the items a second that they come to."""

    calls: int
    min: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    max: float
    throughput: float

    @staticmethod
    def of(seconds: Sequence[float], items: int) -> Latency:
        """Of at least one call, each of which does `items` items."""
        ordered = sorted(seconds)
        mean = statistics.fmean(ordered)
        return Latency(
            len(ordered),
            ordered[0],
            mean,
            statistics.median(ordered),
            p90=percentile(ordered, 90),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
            max=ordered[-1],
            throughput=items / mean,
        )

    def as_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that at least `share` per cent of the sorted values do not exceed."""
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    warmup: int,
    repeat: int,
    tick: Callable[[], None],
    taken: dict[str, list[float]],
) -> None:
    """Time every call `repeat` times, in turn, so that a busy moment hits all alike.

    The seconds go into `taken` as they come, so that an interrupted run leaves what it has.
    """
    for call in calls.values():
        for _ in range(warmup):
            call()
    for name in calls:
        taken.setdefault(name, [])
    for _ in range(repeat):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
        tick()
