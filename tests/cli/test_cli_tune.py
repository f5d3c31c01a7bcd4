"""`tensorc tune`: a small model, its table, its JSON, its picture, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

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
        ((FUNCTION, "--target", "arm-neon", "--db", db), 1, "cannot run its code"),
        ((FUNCTION, "--db", tmp_path / "no" / "x.db"), 1, "folder that exists"),
        (("tests.cli.stand_ins:wrong",), 1, "the function returned int"),
        (("tests.cli.stand_ins:raising",), 1, "no model today"),
        (("no_such_module:f",), 1, "no_such_module"),
    ):
        done = run("tune", *arguments, "--quiet")
        assert (done.status, said in done.err) == (status, True), done
    assert not db.exists()
