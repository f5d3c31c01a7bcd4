"""`tensorc tune`: a small model, its table, its JSON, its picture, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tc.autotune.database import Database
from tc.cli.tune import _Clock
from tests.autotune.fake_tuning import Fake, session

FUNCTION = "tests.cli.stand_ins:small"


def test_a_small_model(run, tmp_path: Path) -> None:
    db, plot = tmp_path / "tuning.db", tmp_path / "curves.png"
    common = ("tune", FUNCTION, "--db", db, "--threads", 1, "--seed", 3)
    shown = run(*common, "--trials", 2, "--plot", plot)
    assert shown.status == 0, shown.err
    assert "2 trials" in shown.out
    assert "the whole model: default" in shown.out
    assert "2/2 trials" in shown.err
    assert plot.read_bytes().startswith(b"\x89PNG")
    again = run(*common, "--trials", 3, "--json", "--quiet")
    found = json.loads(again.out)
    assert (found["trials"], found["finished"], again.err) == (3, True, "")
    assert json.loads(run("db", "stats", "--db", db, "--json").out)["trials"] == 3
    checked = json.loads(run("db", "verify", "--measure", "--db", db, "--json", "--quiet").out)
    assert (checked["records"], len(checked["measured"])) == (1, 1)


def test_what_cannot_be_tuned(run, tmp_path: Path) -> None:
    db = tmp_path / "tuning.db"
    for arguments, status, said in (
        ((FUNCTION, "--trials", 0), 2, "Invalid value for '--trials'"),
        ((FUNCTION, "--time-limit", 0), 2, "Invalid value for '--time-limit'"),
        ((FUNCTION, "--target", "vax", "--db", db), 1, "unknown target"),
        ((FUNCTION, "--seed", 1 << 63), 2, "Invalid value for '--seed'"),
        ((FUNCTION, "--plot", tmp_path / "no" / "x.png"), 2, "there is no such folder"),
        ((FUNCTION, "--cluster", "tcp://10.0.0.1:1", "--db", db.parent / "c.db"), 1, "takes TLS"),
        (("--report-model", "--db", db), 1, "no such file"),
        ((), 2, "Missing argument 'MODEL'"),
        ((FUNCTION, "--db", tmp_path / "no" / "x.db"), 1, "folder that exists"),
        (("tests.cli.stand_ins:wrong",), 1, "the function returned int"),
        (("tests.cli.stand_ins:raising",), 1, "no model today"),
        (("no_such_module:f",), 1, "no_such_module"),
    ):
        done = run("tune", *arguments, "--quiet")
        assert (done.status, said in done.err) == (status, True), done
    assert not db.exists()


def test_what_is_left_is_what_the_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((100.0, 110.0, 130.0, 200.0))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    clock = _Clock(100, 60.0)
    assert clock.text(0).startswith("ranking")
    assert clock.text(5) == "5/100 trials"
    assert clock.text(15) == "15/100 trials, 60 a minute, 50 s left"
    assert clock.text(90) == "90/100 trials, 170 a minute, 4 s left"
    assert clock.text(91) == "91/100 trials, 52 a minute, 0 s left"


def test_ctrl_c_is_told_by_the_status_whatever_the_limit(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tc.autotune.session.Session.run", stopped)
    db = tmp_path / "tuning.db"
    done = run("tune", FUNCTION, "--db", db, "--time-limit", 60, "--json", "--quiet")
    assert (done.status, json.loads(done.out)["interrupted"]) == (130, True)


def test_a_worker_refuses_strangers(run) -> None:
    for arguments, said in (
        (("tcp://10.0.0.1:8786",), "takes TLS"),
        (("tcp://127.0.0.1:8786", "--target", "arm-neon"), "cannot run its code"),
        (("nowhere",), "no address of a scheduler"),
    ):
        done = run("worker", *arguments, "--quiet")
        assert (done.status, said in done.err) == (1, True), done


def test_the_report_of_the_cost_model(run, tmp_path: Path) -> None:
    db = tmp_path / "tuning.db"
    with Database.open(db) as database:
        session(database).run(Fake(), 3 * 30)
    shown = run("tune", "--report-model", "--db", db)
    assert shown.status == 0, shown.err
    assert "pairwise" in shown.out
    scores = json.loads(run("tune", "--report-model", "--db", db, "--json", "--quiet").out)
    (kept,) = scores["scores"]  # there is one target, so that none can be kept
    assert kept["kept"] == "workloads"
    assert 0 <= kept["pairwise"] <= 1 and kept["peak1"] <= kept["peak5"] <= kept["peak10"] <= 1
    assert kept["groups"] > 1 and kept["learned"] > 0
    learned = tmp_path / "model.ubj"
    said = json.loads(run("db", "learn", learned, "--db", db, "--json", "--quiet").out)
    assert said["trials"] == 90 and said["bytes"] == learned.stat().st_size
    empty = tmp_path / "empty.db"
    Database.open(empty).close()
    refused = run("db", "learn", tmp_path / "none.ubj", "--db", empty, "--quiet")
    assert (refused.status, "learned nothing" in refused.err) == (1, True)
