"""What ships in `tuning_db/`: every record is legal today, and says whether it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tc.autotune import records
from tc.autotune.cost_model import SHIPPED as MODEL
from tc.autotune.cost_model import shipped_model
from tc.autotune.database import Database
from tc.autotune.records import SHIPPED, shipped
from tc.autotune.shards import import_shard
from tc.target import Target

SHARDS = sorted(SHIPPED.glob("*/*.jsonl"))
MEASURED = {"x86-64-v3"}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_level_has_a_shard() -> None:
    assert {path.parent.name for path in SHARDS} == {"x86-64-v3", "x86-64-v4", "arm-neon"}


@pytest.mark.parametrize("shard", SHARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shard_holds_what_it_says(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, *rest = lines(shard)
    target = Target.parse(head["target"]["target"])
    assert target.level == shard.parent.name
    workloads = {row["hash"]: row for row in rest if "text" in row}
    trials = [row for row in rest if "text" not in row]
    assert len({row["family"] for row in workloads.values()}) >= 3
    assert {row["status"] for row in trials} == (
        {"ok"} if target.level in MEASURED else {"predicted"}
    )
    better = [row for row in trials if row["best"] and row["number"]]
    assert better
    assert all(row["ratio"] <= 1.02 for row in better)
    # The others are defaults, which other tests prove legal.
    used = [workloads[each] for each in {row["workload"] for row in better}]
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps(line) + "\n" for line in [head, *used, *better]))
    with Database.open(tmp_path / "tuning.db") as database:
        found = import_shard(database, short)
    assert (found.entered, found.refused) == (len(better), 0)
    row = better[0]
    for here in (False, True):
        monkeypatch.setattr(records, "_runs_here", lambda target, here=here: here)
        record = dict(shipped(SHIPPED, target, row["threads"])).get(row["workload"])
        if target.level in MEASURED:
            assert record is not None
            assert record.source.startswith("shipped")
        elif here:
            assert record is None
        else:
            assert record is not None
            assert record.source.startswith("predicted")


def test_the_cost_model_is_for_these_features() -> None:
    assert shipped_model().is_trained
    assert MODEL.stat().st_size < 2 << 20
