"""Two kernels timed in turns, on a machine that may have other work to do.

What disturbs a kernel only ever makes it slower, and hits whichever has its turn: a turn counts
where neither took much longer than the least time seen of it. A default that is slower all along
than it was ever seen to be says that something else has the cores. This module must not check
results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from tc.autotune.runnable import Call
from tc.errors import TuningError
from tc.frozen import frozen

LEAST_TURNS, FEW_TURNS, MOST_TURNS = 7, 14, 400
HOPELESS: Final = 1.25  # times the default's time: not worth more turns
KNOWN: Final = 0.004  # the standard error of the ratio at which turns end
ROUGHLY: Final = 0.01  # the same, where the candidate is behind for sure,
FARTHER: Final = 0.1  # and such a share of what it is behind by on top
SURE: Final = 4  # standard errors
SUSPICIOUS: Final = (
    0.01  # that of a candidate that seems to be better, which is then looked at again
)
SAMPLE_SECONDS: Final = 200e-6  # of one turn at least
LONG: Final = 5  # times that: a call that no disturbance makes a turn of one
CLEAN: Final = 1.2  # times the least time of these turns: what no other work explains
BUSY: Final = 1.7  # times the least time ever: a core whose other half works falls to 0.6 or so
MOST_CALLS: Final = 1000

Clock = Callable[[], float]


class DisturbedError(TuningError):
    """A candidate could not be measured, through no fault of its own: it is to be tried again."""


@frozen
class Measured:
    """What a candidate did; times in seconds."""

    median: float
    least: float
    p90: float
    default: float
    ratio: float
    repeats: int
    error: float


def clock_of(threads: int) -> Clock:
    """What times kernels of so many threads.

    One that works alone is timed by what it had of a core: what else the core did in between does
    not count. Several wait for each other, and that does.
    """
    return time.thread_time if threads == 1 else time.perf_counter


class Turns:
    """The turns of a candidate and the default.

    Attributes:
        ours, theirs: seconds of a call, of the candidate and of the default, turn by turn.
        spent: seconds of all calls.
    """

    def __init__(
        self,
        ours: Sequence[Call],
        theirs: Sequence[Call],
        floor: float = math.inf,
        their_count: int = 0,
        clock: Clock = time.perf_counter,
    ) -> None:
        """Each has a call for each copy of its constants.

        Args:
            floor: the default's least time.
            their_count: what `calls_of_turn` found for the default; 0: to be found.
        """
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.spent = 0.0
        self._floor = floor
        self._calls = (ours, theirs)
        self._clock = clock
        self._counts = [
            calls_of_turn(ours, clock),
            their_count or calls_of_turn(theirs, clock),
        ]
        self._place = 0

    def take(self) -> None:
        """One turn of each; who was first is second the next time.

        Each begins with the copy after the last one that the other used: both may have the very
        same copies, and who came second would find them in the caches.
        """
        order = ((1, self.theirs), (0, self.ours))
        for number, found in order if self.count % 2 == 0 else order[::-1]:
            calls, count = self._calls[number], self._counts[number]
            found.append(_turn(calls, self._place, count, self._clock))
            self.spent += found[-1] * count
            self._place += count

    @property
    def count(self) -> int:
        """How many turns there were of each."""
        return len(self.ours)

    @property
    def clean(self) -> list[tuple[float, float]]:
        """The turns in which nothing disturbed either."""
        mine = min(self.ours) * CLEAN
        other = min(min(self.theirs) * CLEAN, self._floor * BUSY)
        pairs = zip(self.ours, self.theirs, strict=True)
        return [(a, b) for a, b in pairs if a <= mine and b <= other]

    @property
    def is_known(self) -> bool:
        """Whether there were turns enough."""
        return self.count >= LEAST_TURNS and len(self.clean) >= LEAST_TURNS

    @property
    def is_certain(self) -> bool:
        """Whether more of them would not change much: the less, the further it is behind."""
        pairs = self.clean
        error = _uncertainty(pairs)
        behind = _middle(sorted(a / b for a, b in pairs)) - 1
        return error < (ROUGHLY + FARTHER * behind if behind > SURE * error else KNOWN)

    @property
    def is_suspicious(self) -> bool:
        """Whether it seems to beat the default, but on turns that differ too much to tell."""
        pairs = self.clean
        if not pairs or _middle(sorted(a / b for a, b in pairs)) >= 1:
            return False
        return _uncertainty(pairs) > SUSPICIOUS

    @property
    def is_hopeless(self) -> bool:
        """Whether the candidate is far behind, in each of a few turns that nothing disturbed."""
        least = min(min(self.theirs) * CLEAN, self._floor * BUSY)
        good = sum(b <= least for b in self.theirs)
        return good >= 3 and self.count >= 5 and min(self.ours) > HOPELESS * min(self.theirs)

    def measured(self, error: float) -> Measured:
        """What they say, of those that count; where none does, the least time of each."""
        pairs = self.clean or [(min(self.ours), min(self.theirs))]
        ours = sorted(a for a, _ in pairs)
        theirs = sorted(b for _, b in pairs)
        return Measured(
            median=_middle(ours),
            least=ours[0],
            p90=ours[min(len(ours) - 1, int(0.9 * len(ours)))],
            default=_middle(theirs),
            ratio=_middle(sorted(a / b for a, b in pairs)),
            repeats=len(pairs),
            error=error,
        )


def _middle(ordered: Sequence[float]) -> float:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def calls_of_turn(calls: Sequence[Call], clock: Clock = time.perf_counter) -> int:
    """How many calls make a turn long enough to be timed."""
    least = math.inf
    calls[0]()
    for n in range(3):
        start = clock()
        calls[n % len(calls)]()
        least = min(least, clock() - start)
        if least > LONG * SAMPLE_SECONDS:
            break  # one is enough, whatever disturbed it
    return max(1, min(MOST_CALLS, math.ceil(SAMPLE_SECONDS / max(least, 1e-7))))


def _turn(calls: Sequence[Call], at: int, count: int, clock: Clock) -> float:
    """Seconds of a call, of so many that begin with the copy `at`."""
    order = [calls[(at + n) % len(calls)] for n in range(count)]
    pairs = [(call.entry, call.address) for call in order]
    start = clock()
    for entry, address in pairs:
        entry(address)
    return (clock() - start) / count


def _uncertainty(pairs: Sequence[tuple[float, float]]) -> float:
    """The standard error of the median ratio, from the middle half of the pairs."""
    ratios = sorted(a / b for a, b in pairs)
    quarter = len(ratios) // 4
    spread = ratios[-1 - quarter] - ratios[quarter]
    return 0.93 * spread / math.sqrt(len(ratios)) / max(_middle(ratios), 1e-9)
