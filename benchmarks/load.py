"""Is the machine quiet? Core selection and the check of foreign load, from /proc/stat.

Must not start anything: it only looks, so that a benchmark can refuse to quote timings that
another process has disturbed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

BUSY_LIMIT = 0.05
"""Greatest share of the chosen cores' time that others may use before timings are refused."""

WINDOW_SECONDS = 0.5
"""Length of the observation."""

_IDLE_FIELDS = (3, 4)  # "idle" and "iowait" in /proc/stat; the guest fields repeat user and nice
_COUNTED_FIELDS = 8


class LoadError(RuntimeError):
    """Other processes use the cores on which the timings would be taken."""


def chosen_cores(count: int | None = None) -> tuple[int, ...]:
    """The first `count` cores that this process may use (all of them by default).

    Raises ValueError when there are fewer than `count`.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if count is None:
        return tuple(allowed)
    if not 1 <= count <= len(allowed):
        raise ValueError(f"asked for {count} cores, but this process may use {len(allowed)}")
    return tuple(allowed[:count])


def read_ticks(text: str) -> dict[int, tuple[int, int]]:
    """Per core (busy, total) clock ticks from the text of /proc/stat."""
    ticks: dict[int, tuple[int, int]] = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            values = [int(field) for field in fields[:_COUNTED_FIELDS]]
            idle = sum(values[i] for i in _IDLE_FIELDS if i < len(values))
            ticks[int(name[3:])] = (sum(values) - idle, sum(values))
    return ticks


def busy_share(
    before: Mapping[int, tuple[int, int]],
    after: Mapping[int, tuple[int, int]],
    cores: tuple[int, ...],
) -> float:
    """Share (0 to 1) of the cores' time between two readings that was not idle."""
    busy = sum(after[core][0] - before[core][0] for core in cores)
    total = sum(after[core][1] - before[core][1] for core in cores)
    return busy / total if total else 0.0


def watch_cores(cores: tuple[int, ...], seconds: float = WINDOW_SECONDS) -> float:
    """Busy share of `cores` over the next `seconds`; 0.0 where /proc/stat does not exist."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    before = read_ticks(stat.read_text())
    time.sleep(seconds)
    return busy_share(before, read_ticks(stat.read_text()), cores)


def require_quiet(
    cores: tuple[int, ...],
    force: bool,
    watch: Callable[[tuple[int, ...]], float] = watch_cores,
) -> float:
    """The busy share of `cores`. Raises LoadError above BUSY_LIMIT unless `force`."""
    share = watch(cores)
    if share > BUSY_LIMIT and not force:
        raise LoadError(
            f"cores {', '.join(map(str, cores))} are {share:.0%} busy with other work: timings"
            " would mean nothing; stop that work, or pass --force to time anyway"
        )
    return share
