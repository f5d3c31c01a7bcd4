"""The report on the cost model: what is kept from it is what it is judged by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tc.autotune import model_report
from tc.autotune.cost_model import CostModel, Group
from tc.autotune.database import Database
from tc.autotune.history import Labelled
from tc.autotune.model_report import report_model
from tests.autotune.test_cost_model import groups


def test_only_what_is_named_is_kept_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [Labelled(name, "here", group) for name, group in zip("abcd", groups(1), strict=True)]
    learned: list[list[Group]] = []

    class Noting:
        @staticmethod
        def learn(given: list[Group], seed: int) -> CostModel:
            learned.append(given)
            return CostModel.learn(given, seed)

    monkeypatch.setattr(model_report, "labelled_groups", lambda _: known)
    monkeypatch.setattr(model_report, "CostModel", Noting)
    with Database.open(tmp_path / "tuning.db") as database:
        (whole,) = report_model(database)
        assert (whole.kept, whole.score.groups, whole.judged) == ("workloads", 4, 160)
        learned.clear()
        (some,) = report_model(database, judged={"a", "b"})
    assert (some.score.groups, some.judged, some.learned) == (2, 80, 120)
    *by_workload, by_target = learned
    assert len(by_workload) == 2
    assert all(given[-2:] == [known[2].group, known[3].group] for given in by_workload)
    assert by_target == []
