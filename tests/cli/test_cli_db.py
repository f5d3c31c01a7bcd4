"""`tensorc db`: every subcommand, as a table and as JSON, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tc.autotune.database import Database
from tc.autotune.measure import Outcome
from tc.autotune.recheck import measure_best
from tc.autotune.rows import FAILED
from tests.autotune.conftest import VERSIONS, a_target, a_trial, fill


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "tuning.db"
    fill(path, [a_trial(0, 1.0), a_trial(1, 0.7), a_trial(2, None, status=FAILED)])
    return path


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        (["list"], "workloads", "add"),
        (["show", "add"], "trials", "split(j, 2)"),
        (["best"], "best", "split(j, 2)"),
        (["best", "--target", "arm"], "best", "no best"),
        (["targets"], "targets", "x86-64-v3 cores=2"),
        (["stats"], "trials_failed", "workloads: 1"),
        (["verify"], "records", "records: 1"),
    ],
)
def test_what_it_shows(run, db: Path, arguments: list[str], key: str, said: str) -> None:
    shown = run("db", *arguments, "--db", db)
    assert (shown.status, said in shown.out) == (0, True), shown
    assert key in json.loads(run("db", *arguments, "--db", db, "--json").out)


def test_a_long_schedule_is_whole_below_the_table_alone(run, tmp_path: Path) -> None:
    db, schedule = tmp_path / "tuning.db", " ".join(f"split(j, {n + 2})" for n in range(40))
    fill(db, [a_trial(0, 0.5, schedule=schedule)])
    best = run("db", "best", "--db", db).out
    assert schedule[:59] + "…" in best
    assert max(map(len, best.splitlines())) < 300
    shown = run("db", "show", "add", "--db", db).out
    assert shown.endswith(f": {schedule}\n")
    assert (
        json.loads(run("db", "best", "--db", db, "--json").out)["best"][0]["schedule"] == schedule
    )


def test_export_import_merge_prune(run, db: Path, tmp_path: Path) -> None:
    shard, other = tmp_path / "s.jsonl", tmp_path / "other.db"
    assert run("db", "export", shard, "--all", "--db", db).out.endswith("trials: 3\n")
    assert "entered: 3" in run("db", "import", shard, "--db", other, "--quiet").out
    assert "known before: 3" in run("db", "merge", other, "--db", db).out
    assert json.loads(run("db", "prune", "--keep", 1, "--db", db, "--json").out) == {"deleted": 1}
    assert "other" not in run("db", "prune", "--other-versions", "--db", db).err
    assert "trials: 0" in run("db", "stats", "--db", db).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nothing"], "there is none of that name or hash"),
        (["show", ""], "there is none of that name or hash"),
        (["show", "%"], "there is none of that name or hash"),
        (["export", "x", "--target", "vax"], "0 targets are meant by that"),
        (["import", "/nowhere/x"], "No such file"),
        (["merge", "/nowhere/x"], "no such file"),
    ],
)
def test_how_it_refuses(run, db: Path, arguments: list[str], said: str) -> None:
    done = run("db", *arguments, "--db", db, "--quiet")
    assert done.status == 1
    assert said in done.err
    assert done.err.count("\n") == 1


def test_no_database_is_an_error_and_makes_no_file(run, tmp_path: Path) -> None:
    done = run("db", "list", "--db", tmp_path / "none.db")
    assert (done.status, "no such file" in done.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_measured_beside_the_default_of_its_version(tmp_path: Path) -> None:
    path = tmp_path / "tuning.db"
    fill(path, [a_trial(0, 1.0, "split(j, 3)")])
    with Database.open(path) as database:
        with database.transaction() as connection:
            connection.execute("UPDATE trials SET tc_version = '0.0.9'")
        fill(path, [a_trial(0, 1.0), a_trial(1, 0.5)])
        tasks = []

        def measure(task, _schedules):
            tasks.append(task)
            yield Outcome(0, None, "not today")

        measurer = SimpleNamespace(measure=measure)
        (found,) = measure_best(database, a_target().fingerprint, VERSIONS, measurer)
    assert (found.problem, tasks[0].default) == ("not today", "split(j, 1)")


def test_a_shard_can_be_the_first_thing_in_the_users_own_file(
    run, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tmp_path / "s.jsonl"
    run("db", "export", shard, "--db", db)
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert "entered: 2" in run("db", "import", shard, "--quiet").out
    assert json.loads(run("db", "stats", "--json").out)["trials"] == 2
    monkeypatch.setenv("TC_CACHE_DIR", str(shard / "cache"))
    done = run("db", "import", shard, "--quiet")
    assert (done.status, "Not a directory" in done.err) == (1, True)


def test_a_record_that_is_no_longer_legal_is_found(run, tmp_path: Path) -> None:
    path = tmp_path / "tuning.db"
    fill(path, [a_trial(0, 0.5, "split(nothing, 2)")])
    done = run("db", "verify", "--db", path, "--quiet")
    assert done.status == 1
    assert "1 of 1 best records: do not hold" in done.err
