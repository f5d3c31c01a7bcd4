"""Shards of records: what is written comes back, and what is malformed is refused whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tc
from tc.autotune import shards
from tc.autotune.database import Database
from tc.autotune.rows import FAILED
from tc.autotune.shards import Imported, export_shard, import_shard, merge
from tc.errors import TuningError
from tests.autotune.conftest import a_context, a_target, a_trial, a_workload, fill

TRIALS = [a_trial(0, 1.0), a_trial(1, 0.7), a_trial(2, 0.8), a_trial(3, None, status=FAILED)]


@pytest.fixture
def shard(path: Path, tmp_path: Path) -> Path:
    """All trials of a database, as a shard."""
    fill(path, TRIALS)
    out = tmp_path / "folder" / "all.jsonl"
    with Database.open(path) as database:
        assert export_shard(database, out, a_target().fingerprint, everything=True) == 4
    return out


def counts(path: Path) -> dict[str, int]:
    with Database.open(path) as database:
        return {
            t: database.query(f"SELECT COUNT(*) AS n FROM {t}")[0]["n"]
            for t in ("targets", "workloads", "trials")
        }


def test_a_shard_comes_back(shard: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Database.open(other) as database:
        assert import_shard(database, shard) == Imported(4, 0, 0)
        assert import_shard(database, shard) == Imported(0, 4, 0)
        again = tmp_path / "again.jsonl"
        export_shard(database, again, a_target().fingerprint, everything=True)
    assert again.read_text() == shard.read_text()


def test_the_best_and_the_default_are_exported(path: Path, tmp_path: Path) -> None:
    fill(path, TRIALS)
    out = tmp_path / "best.jsonl"
    with Database.open(path) as database:
        assert export_shard(database, out, a_target().fingerprint) == 2
        with pytest.raises(TuningError, match="there are no such records"):
            export_shard(database, out, a_target().fingerprint, family="attention")
        with pytest.raises(TuningError, match="there are no such records"):
            export_shard(database, out, "nothing")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line.get("schedule") for line in lines[2:]] == ["split(j, 1)", "split(j, 2)"]
    assert [line["best"] for line in lines[2:]] == [False, True]


def changed(shard: Path, line: int, change: Callable[[dict[str, Any]], object]) -> None:
    lines = shard.read_text().splitlines()
    value = json.loads(lines[line])
    change(value)
    lines[line] = json.dumps(value)
    shard.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("line", "change", "said"),
    [
        (0, lambda x: x.update(format="else"), "no shard of tuning records"),
        (0, lambda x: x.update(version=2), "version 2; this tc reads 1"),
        (0, lambda x: x["target"].update(target="vax"), "no target"),
        (0, lambda x: x["target"].update(cpu="else"), "fingerprint"),
        (0, lambda x: x["target"].pop("cores"), "no target"),
        (1, lambda x: x.update(text="def kernel("), "line 2: no record: workload"),
        (1, lambda x: x.update(constants="c"), "hash is that of another"),
        (1, lambda x: x.update(flops="__import__('os')"), "size .* not an integer expression"),
        (1, lambda x: x.update(bytes="M * 8"), "size 'M \\* 8'"),
        (1, lambda x: x.update(name="\ud800"), "name is"),
        (2, lambda x: x.update(knobs="grain=?"), "line 3: no record: invalid literal"),
        (2, lambda x: x.update(sizes="n0=1 n1=2"), "sizes of other symbols"),
        (2, lambda x: x.update(ratio=0), "a ratio of 0"),
        (2, lambda x: x.update(tc="\ud800"), "tc is no short text"),
        (2, lambda x: x.update(workload="0" * 32), "workload that the shard does not have"),
        (2, lambda x: x.update(ratio="fast"), "ratio is 'fast'"),
        (2, lambda x: x.update(seconds_min=-1.0), "seconds_min"),
        (2, lambda x: x.update(ratio=True), "ratio is True"),
        (2, lambda x: x.update(repeats=1 << 70), "repeats"),
        (2, lambda x: x.update(status="great"), "status 'great'"),
        (2, lambda x: x.update(sizes="all"), "sizes"),
        (2, lambda x: x.update(threads=0), "threads"),
        (2, lambda x: x.pop("schedule"), "no record"),
    ],
)
def test_a_malformed_shard_is_refused_whole(
    shard: Path, tmp_path: Path, line: int, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    changed(shard, line, change)
    other = tmp_path / "other.db"
    with Database.open(other) as database, pytest.raises(TuningError, match=said):
        import_shard(database, shard)
    assert set(counts(other).values()) == {0}


def test_an_import_that_fails_leaves_nothing(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(shards, "insert_trial", full)
    other = tmp_path / "other.db"
    with Database.open(other) as database, pytest.raises(TuningError, match="make room"):
        import_shard(database, shard)
    assert set(counts(other).values()) == {0}


def test_what_is_no_shard_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.jsonl"
    with Database.open(tmp_path / "x.db") as database:
        for content in (b"", b"\xff\xfe", b"[1]\n", b"{" * 100_000, b'{"a": NaN}', b"\0"):
            file.write_bytes(content)
            with pytest.raises(TuningError, match="nothing of it was entered"):
                import_shard(database, file)
        with pytest.raises(TuningError, match="No such file"):
            import_shard(database, tmp_path / "none")
        file.write_text("too long")
        monkeypatch.setattr(shards, "MOST_BYTES", 5)
        for endless in (file, Path("/dev/zero")):
            with pytest.raises(TuningError, match="MiB"):
                import_shard(database, endless)


@pytest.mark.parametrize(
    "schedule", ["split(nothing, 8)", "__import__('os')", "split(j, 99999999)", "merge(i, i)"]
)
def test_a_schedule_that_is_not_legal_is_left_out(
    shard: Path, tmp_path: Path, schedule: str
) -> None:
    changed(shard, 3, lambda x: x.update(schedule=schedule))
    with Database.open(tmp_path / "other.db") as database:
        assert import_shard(database, shard) == Imported(3, 0, 1)


def test_a_shard_cut_anywhere_is_refused_or_whole(shard: Path, tmp_path: Path) -> None:
    data = shard.read_bytes()
    ends = {n + 1 for n, byte in enumerate(data) if byte == ord("\n")}
    with Database.open(tmp_path / "other.db") as database:
        for end in range(0, len(data), 53):
            shard.write_bytes(data[:end])
            if end in ends or end + 1 in ends:
                continue
            with pytest.raises(TuningError):
                import_shard(database, shard)


def test_what_was_chosen_in_a_program_is_merged_too(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    context = fill(other, TRIALS)
    with Database.open(other) as database:
        (row,) = database.query("SELECT id AS target_id FROM targets")
        model = {"name": "Model", "threads": 2, "inputs": "[1]", "tc_version": "0.1.0", "seed": 0,
                 "llvm_version": "22.1", "default_seconds": 2.0, "tuned_seconds": 1.0}  # fmt: skip
        database.select(context, TRIALS[2].schedule, database.put_model({**row, **model}))
    chosen = "SELECT schedule, chosen FROM best_schedules"
    models = "SELECT name, model_id FROM selections JOIN models ON models.id = model_id"
    with Database.open(path) as database, Database.open(other, readonly=True) as second:
        for _ in range(2):
            merge(database, second)
            assert database.query(chosen) == second.query(chosen)
            assert database.query(models) == [{"name": "Model", "model_id": 1}]
            assert database.query("SELECT COUNT(*) AS n FROM models") == [{"n": 1}]
        database.select(context, TRIALS[1].schedule, None)
        merge(database, second)
        (best,) = database.query(chosen)
        assert best["schedule"] == TRIALS[1].schedule  # what was chosen here stays


def test_what_somebody_wrote_into_the_other_file_is_not_merged(path: Path, tmp_path: Path) -> None:
    other, shard = tmp_path / "other.db", tmp_path / "shard.jsonl"
    fill(other, TRIALS)
    with Database.open(other) as second, Database.open(path) as database:
        with second.transaction() as connection:
            connection.execute("UPDATE trials SET knobs = x'00', gflops = 'x' WHERE id = 2")
        assert tc.tuned_devices(other)[0].coverage.best_gflops == {}
        with pytest.raises(TuningError, match="what is no record: .* is b'.x00'"):
            merge(database, second)
        export_shard(second, shard, a_target().fingerprint, everything=True)
        with pytest.raises(TuningError, match="gflops is 'x'"):
            import_shard(database, shard)
    assert set(counts(path).values()) == {0}


def test_merging_takes_what_is_not_there(path: Path, tmp_path: Path) -> None:
    fill(path, TRIALS[:2])
    other = tmp_path / "other.db"
    fill(other, TRIALS)
    fill(other, [a_trial(0)], name="mul")
    with Database.open(path) as database, Database.open(other, readonly=True) as second:
        assert merge(database, second) == Imported(3, 2, 0)
        assert merge(database, second) == Imported(0, 5, 0)
        database.verify()
        assert len(database.trials(a_context(a_workload("mul"), a_target()))) == 1
