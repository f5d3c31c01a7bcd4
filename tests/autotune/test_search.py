"""The search: what it proposes, that it learns, and that it ends."""

from __future__ import annotations

import pytest

from tc.autotune.history import Seen, batch_of, before
from tc.autotune.search import Progress, next_task, propose
from tc.autotune.space import Candidate, Space
from tc.target import Target
from tests.autotune.workloads import WORKLOADS

V3 = Target.parse("x86-64-v3 cores=2 l3=32M")
SIZE = 6


@pytest.fixture
def space() -> Space:
    return Space(WORKLOADS["gemm, odd"](V3))


def nothing(candidates) -> list[float]:
    return [0.0] * len(candidates)


def seen(candidates: list[Candidate], ratios: list[float | None], start: int = 0) -> list[Seen]:
    return [
        Seen(start + n, str(c.schedule), c.knobs, ratio, 0, start + n)
        for n, (c, ratio) in enumerate(zip(candidates, ratios, strict=True))
    ]


def test_the_first_batch_begins_with_the_default(space: Space) -> None:
    found = propose(space, [], nothing, "0 w", 0, SIZE)
    assert len({str(c.schedule) for c in found}) == len(found) == SIZE
    assert found[0].schedule == space.default.schedule
    assert any(len([k for k in c.taken if c.taken[k] != space.default.taken.get(k)]) == 1
               for c in found)  # fmt: skip


def test_proposals_follow_from_seed_batch_and_trials(space: Space) -> None:
    first = propose(space, [], nothing, "0 w", 0, SIZE)
    known = seen(first, [1.0, 0.9, 1.2, None, 0.8, 2.0])
    texts = [
        [c.knobs for c in propose(Space(space.workload), known, nothing, seed, 1, SIZE)]
        for seed in ("0 w", "0 w", "1 w")
    ]
    assert texts[0] == texts[1] != texts[2]


def test_nothing_is_proposed_twice(space: Space) -> None:
    known: list[Seen] = []
    for batch in range(3):
        found = propose(space, known, nothing, "0 w", batch, SIZE)
        assert not {str(c.schedule) for c in found} & {s.schedule for s in known}
        known += seen(found, [1.0] * len(found), len(known))


def test_the_model_decides_but_for_a_few(space: Space) -> None:
    known = seen([space.default], [1.0])
    pool: list[Candidate] = []

    def heights(candidates) -> list[float]:
        pool[:] = candidates
        return [float(c.taken["mr"]) for c in candidates]

    found = propose(space, known, heights, "0 w", 1, SIZE)
    ordered = sorted((c.taken["mr"] for c in pool), reverse=True)
    assert [c.taken["mr"] for c in found[: SIZE - 1]] == ordered[: SIZE - 1]


def test_a_small_space_is_searched_to_its_end() -> None:
    space = Space(WORKLOADS["column sums"](V3))
    known: list[Seen] = []
    for batch in range(4):
        found = propose(space, known, nothing, "0 w", batch, 4)
        known += seen(found, [1.0] * len(found), len(known))
    assert len(known) == space.size()
    assert propose(space, known, nothing, "0 w", 9, 4) == []


def test_the_workload_that_promises_most_is_next() -> None:
    assert next_task([Progress((5.0,)), Progress(())]) == 1
    assert next_task([Progress((5.0,)), Progress((9.0,))]) == 1
    assert next_task([Progress((5.0,)), Progress((9.0,), exhausted=True)]) == 0
    assert next_task([Progress((), exhausted=True)]) is None
    still = Progress((9.0, 9.0, 9.0, 9.0, 9.0, 9.0), floor=8.0)
    falling = Progress((6.0, 5.0, 4.0, 3.0))
    assert next_task([still, falling]) == 1


def test_a_batch_that_was_cut_short_is_found_again(space: Space) -> None:
    trials = seen([space.default] * 9, [1.0] * 9, 10)
    numbered = [Seen(s.id, s.schedule, s.knobs, s.ratio, 7, n) for n, s in enumerate(trials)]
    foreign = Seen(3, "x", "", 1.0, 8, 0)
    assert batch_of([foreign, *numbered], 7, 4) == (2, 18)
    assert batch_of([foreign], 7, 4) == (0, None)
    assert [s.id for s in before([foreign, *numbered], 12)] == [3, 10, 11]
    assert len(before(numbered, None)) == 9
