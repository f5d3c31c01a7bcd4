"""Which candidates to measure next: evolution over a space, ranked by the cost model, ε-greedy.

The first batch is the default, what differs from it in one decision, and some drawn at random. A
later one mutates and crosses the best so far, and takes of these, of the best one's neighbours and
of random ones those that the model ranks first, and a few whatever it says. Everything is a
function of the space, the trials so far, the seed and the batch's number. This module must not
measure, nor read the database.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from tc.autotune.history import Seen
from tc.autotune.space import Candidate, Space
from tc.frozen import frozen
from tc.schedule.knobs import read_knobs

EPSILON: Final = 0.1
ELITE: Final = 8
POOL: Final = 1.5  # candidates ranked for each that is measured
NEAR: Final = 0.4  # of the pool: neighbours of the best
ALPHA, WINDOW = 0.2, 3  # of the task scheduler, as Ansor has them

Rank = Callable[[Sequence[Candidate]], Sequence[float]]


def propose(
    space: Space,
    seen: Sequence[Seen],
    rank: Rank,
    seed: str,
    batch: int,
    size: int,
    elsewhere: Sequence[str] = (),
) -> list[Candidate]:
    """The candidates of a batch, none of them seen; fewer than `size` where there are no more.

    Args:
        rank: the greater, the sooner; all equal where nothing is known.
        seed: of everything random, with the batch's number.
        elsewhere: decisions that are good for the workload at other sizes, the best first; the
            first batch tries them, for a record serves all sizes.
    """
    random = Random(f"{seed} {batch}")
    known = {s.schedule for s in seen}
    found: dict[str, Candidate] = {}

    def take(candidate: Candidate | None) -> None:
        if candidate is not None and candidate.legal:
            text = str(candidate.schedule)
            if text not in known:
                found.setdefault(text, candidate)

    if batch == 0:
        take(space.default)
        for knobs in elsewhere[: size // 2]:
            take(_made(space, knobs))
    first = len(found)
    wanted = first + math.ceil(POOL * size)
    parents = _elite(space, seen) or [space.default]
    near = list(space.neighbours(parents[0]))
    random.shuffle(near)
    _fill(take, found, (space.make(w) for w in near), first + math.ceil(NEAR * wanted))
    _fill(take, found, _offspring(space, parents, random, 4 * wanted), wanted)
    if len(found) < size:  # a small space: what is left of it
        _fill(take, found, _all_near(space, parents[0], random), size)
    return _chosen(list(found.values()), first, rank, random, size)


def _fill(
    take: Callable[[Candidate], None],
    found: dict[str, Candidate],
    source: Iterable[Candidate],
    limit: int,
) -> None:
    for candidate in source:
        if len(found) >= limit:
            return
        take(candidate)


def _offspring(
    space: Space, parents: Sequence[Candidate], random: Random, tries: int
) -> Iterable[Candidate]:
    """Mutations, crossings and random candidates."""
    weights = [1 / (n + 1) for n in range(len(parents))]
    for _ in range(tries):
        (one,) = random.choices(parents, weights)
        way = random.random()
        if way < 0.25:
            yield space.draw(random)
        elif way < 0.45 and len(parents) > 1:
            yield space.cross(one, random.choice(parents), random)
        else:
            yield space.mutate(one, random)


def _all_near(space: Space, start: Candidate, random: Random) -> Iterable[Candidate]:
    for wanted in space.neighbours(start):
        yield space.make(wanted)
        yield space.mutate(space.make(wanted), random)


def _elite(space: Space, seen: Sequence[Seen]) -> list[Candidate]:
    """The best so far, the best first."""
    good = sorted((s for s in seen if s.ratio is not None), key=lambda s: (s.ratio, s.id))
    made = [_made(space, s.knobs) for s in good[:ELITE]]
    return [candidate for candidate in made if candidate is not None]


def _made(space: Space, knobs: str) -> Candidate | None:
    """What decisions lead to; None where their text, which comes from a file, says none."""
    try:
        return space.make(read_knobs(knobs))
    except ValueError:
        return None


def _chosen(
    pool: list[Candidate], first: int, rank: Rank, random: Random, size: int
) -> list[Candidate]:
    """The first ones as they are, then those ranked highest, and a few at random."""
    kept, rest = pool[:first], pool[first:]
    left = max(0, size - len(kept))
    if len(rest) <= left:
        return kept + rest
    ranks = list(rank(rest))
    blind = len(set(ranks)) == 1
    order = sorted(range(len(rest)), key=lambda n: (-ranks[n], n))
    if blind:
        random.shuffle(order)
    lucky = 0 if blind else max(1, round(EPSILON * left)) if left > 1 else 0
    best = order[: left - lucky]
    others = sorted(random.sample(order[left - lucky :], lucky))
    return kept + [rest[n] for n in (*best, *others)]


@frozen
class Progress:
    """How far the search of a workload is, for choosing the next.

    Attributes:
        curve: the best seconds after each batch, times how often a program calls it.
        floor: what the machine's bound asks for, times the same; 0 if not known.
        exhausted: there is nothing left to try.
    """

    curve: tuple[float, ...]
    floor: float = 0.0
    exhausted: bool = False


def next_task(tasks: Sequence[Progress]) -> int | None:
    """The workload whose next batch should save most of the whole model's time.

    Each gets one batch first; then α of the gain of the last batches each, and the rest of what
    optimism says: that as many batches again bring it to its bound (Zheng et al., "Ansor", section
    6, where the bound is 0). None: all are exhausted.
    """
    best: tuple[float, int] | None = None
    for number, task in enumerate(tasks):
        if task.exhausted:
            continue
        if not task.curve:
            return number
        gain = _gain(task)
        if best is None or gain > best[0]:
            best = (gain, number)
    return None if best is None else best[1]


def _gain(task: Progress) -> float:
    curve = task.curve
    count, last = len(curve), max(curve[-1] - task.floor, 0.0)
    window = min(WINDOW, count - 1)
    slope = (curve[-1 - window] - curve[-1]) / window if window else last
    return ALPHA * slope + (1 - ALPHA) * last / count
