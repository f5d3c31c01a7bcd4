"""Counting what compiled programs do: each program by itself, and all of this process together.

A call in flight owns its arena alone, so it counts there without a lock; reading sums up. This
module must not know how programs are compiled or run.
"""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Iterable

from tc.codegen.direct import Counter
from tc.device.words import Words, words


class Stats:
    """The counters of one program.

    Attributes:
        compilations: programs compiled, 1 unless it was loaded.
        kernels: kernels in its object code.
        cache_hits: how many times its object code came from the cache.
        program_hits: 1 if all of it came from there.
        fallbacks: calls of eager operators, by name.
        counters: one of the calls on each arena, with the words of `Counter`.
    """

    def __init__(
        self, compilations: int = 1, kernels: int = 0, cache_hits: int = 0, program_hits: int = 0
    ) -> None:
        self.compilations = compilations
        self.kernels = kernels
        self.cache_hits = cache_hits
        self.program_hits = program_hits
        self.fallbacks: Tally[str] = Tally()
        self.counters: list[Words] = []
        with _LOCK:
            _ALL.append(self)

    @property
    def last(self) -> tuple[int, int]:
        """When the last call began, on the clock of `perf_counter_ns`, and its nanoseconds inside
        compiled code."""
        found = [(c[Counter.STARTED], c[Counter.NANOSECONDS]) for c in tuple(self.counters)]
        return max(found, default=(0, 0))

    def count_fallback(self, op: str) -> bool:
        """One more call of an eager operator; True if it is the first one of this name."""
        with _LOCK:
            self.fallbacks[op] += 1
            return self.fallbacks[op] == 1

    def retire(self) -> None:
        """The program is gone: keep its sums, not the object."""
        with _LOCK:
            if self in _ALL:
                _ALL.remove(self)
                _GONE.add(self)


class _Gone:
    """The sums over programs that exist no more."""

    def __init__(self) -> None:
        self.sums: Tally[str] = Tally()
        self.fallbacks: Tally[str] = Tally()
        self.last = (0, 0)

    def add(self, stats: Stats) -> None:
        self.sums.update(_sums((stats,)))
        self.fallbacks.update(stats.fallbacks)
        self.last = max(self.last, stats.last)


def new_counter() -> Words:
    """The words of `Counter`, all 0."""
    return words(len(Counter))


def record(counter: Words, began: int, nanoseconds: int) -> None:
    """One more call, which has ended."""
    counter[Counter.CALLS] += 1
    counter[Counter.STARTED] = began
    counter[Counter.NANOSECONDS] = nanoseconds


_LOCK = threading.RLock()  # a program may be collected while this lock is held
_ALL: list[Stats] = []
_GONE = _Gone()


def _sums(stats: Iterable[Stats]) -> dict[str, int]:
    found = {"compilations": 0, "kernels": 0, "calls": 0, "cache_hits": 0, "program_hits": 0}
    for each in stats:
        found["compilations"] += each.compilations
        found["kernels"] += each.kernels
        found["calls"] += sum(counter[Counter.CALLS] for counter in tuple(each.counters))
        found["cache_hits"] += each.cache_hits
        found["program_hits"] += each.program_hits
    return found


def summary(stats: Iterable[Stats], before: tuple[int, int] = (0, 0)) -> dict[str, object]:
    """The counters of these programs together, as the user reads them.

    `before` is the last call of others, as `Stats.last` tells it.
    """
    listed = list(stats)
    _, last = max([before, *[each.last for each in listed]])
    fallbacks: Tally[str] = Tally()
    for each in listed:
        fallbacks.update(each.fallbacks)
    sums = _sums(listed)
    return {
        "compilations": sums["compilations"],
        "kernels": sums["kernels"],
        "calls": sums["calls"],
        "fallbacks": dict(fallbacks),
        "cache_hits": sums["cache_hits"],
        "program_hits": sums["program_hits"],
        "last_kernel_seconds": last * 1e-9,
    }


def process_stats() -> dict[str, object]:
    """The counters over all programs of this process, those that are gone too."""
    with _LOCK:
        found = summary(_ALL, _GONE.last)
        for key, value in _GONE.sums.items():
            present = found[key]
            assert isinstance(present, int)
            found[key] = present + value
        fallbacks = Tally(_GONE.fallbacks)
        for each in _ALL:
            fallbacks.update(each.fallbacks)
        found["fallbacks"] = dict(fallbacks)
    return found
