"""The cost model: it learns an order, and what it learned comes back from its file."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tc.autotune import cost_model
from tc.autotune.cost_model import CostModel, Group, Score, score
from tc.autotune.features import NAMES
from tc.errors import TuningError


def groups(seed: int, count: int = 4, rows: int = 40) -> list[Group]:
    """Workloads whose speed is their first feature less the second, on scales of their own."""
    random = Random(seed)
    found = []
    for _ in range(count):
        scale = random.uniform(0.5, 2)
        features = [[random.random() for _ in NAMES] for _ in range(rows)]
        found.append(Group(features, [scale * (2 + f[0] - f[1]) for f in features]))
    return found


@pytest.fixture(scope="module")
def model() -> CostModel:
    return CostModel.learn(groups(1))


def test_it_ranks_what_it_has_not_seen(model: CostModel) -> None:
    found = score(model, groups(2))
    assert found.groups == 4
    assert found.pairwise > 0.8
    assert found.peak1 <= found.peak5 <= found.peak10 <= 1
    assert found.peak5 > 0.9


def test_pairs_that_their_spread_explains_are_not_judged(model: CostModel) -> None:
    (group,) = groups(2, count=1)
    backwards = Group(group.features, [1 + 0.05 / speed for speed in group.speeds])
    assert score(model, [backwards]).pairwise < 0.2
    spreads = [0.5] * len(group.speeds)
    assert score(model, [Group(*(backwards.features, backwards.speeds, spreads))]).pairwise == 1.0
    assert score(model, [Group(group.features, group.speeds, [0.0] * 40)]) == score(model, [group])


def test_without_trials_all_rank_the_same() -> None:
    empty = CostModel.learn([])
    assert not empty.is_trained
    assert empty.rank([[0.0] * len(NAMES)] * 3) == [0.0] * 3
    assert score(empty, []) == Score(0.0, 0.0, 0.0, 0.0, 0)
    with pytest.raises(TuningError, match="learned nothing"):
        empty.save(Path("x.json"))


def test_it_is_a_function_of_the_trials() -> None:
    rows = groups(3)[0].features
    assert CostModel.learn(groups(1)).rank(rows) == CostModel.learn(groups(1)).rank(rows)


def test_what_others_taught_is_not_forgotten(model: CostModel) -> None:
    few = Group(groups(4)[0].features[:16], [1.0 + n % 2 for n in range(16)])  # mere noise
    refreshed = CostModel.learn([few], base=model)
    assert score(refreshed, groups(2)).pairwise > 0.7
    assert score(CostModel.learn([few]), groups(2)).pairwise < 0.65
    first = groups(2)[0].features
    assert refreshed.rank(first) != model.rank(first)


def test_a_workload_of_many_trials_leaves_room_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, known = groups(5), groups(1)[0]
    many = Group(known.features * 20, [1.0 + n % 2 for n in range(20 * len(known.speeds))])
    monkeypatch.setattr(cost_model, "MOST_ROWS", 50 * len(few))
    assert score(CostModel.learn([*few, many]), groups(2)).pairwise > 0.7
    # In the order of their trials as well: what is left is of a whole search.
    taken = cost_model._evenly([many])[0]
    assert len(taken.speeds) == 50 * len(few)
    assert taken.speeds[-1] == many.speeds[-1]


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_it_is_kept_as_a_file(model: CostModel, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    model.save(path)
    rows = groups(2)[0].features
    assert CostModel.load(path).rank(rows) == model.rank(rows)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2", b"\x80\x04K\x01.", b"garbage" * 50])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(TuningError, match="train it anew"):
        CostModel.load(path)
    with pytest.raises(TuningError, match="train it anew"):
        CostModel.load(tmp_path / "none.json")


def test_where_all_are_close_the_order_is_learned_all_the_same() -> None:
    close = [Group(g.features, [1 + s / 1000 for s in g.speeds]) for g in groups(5)]
    wide = Group(groups(6)[0].features, [0.05] * 20 + [1.0] * 20)
    assert score(CostModel.learn([*close, wide]), groups(2)).pairwise > 0.7
