"""`python -m benchmarks.tuning`: its rows, with few trials of small workloads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import tuned_workloads, tuning


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "cache"))
    made = {"gemm M=1": lambda: (torch.nn.Linear(24, 40), (torch.ones(1, 24),))}
    monkeypatch.setattr(tuned_workloads, "WORKLOADS", made)
    monkeypatch.setattr(tuning, "WORKLOADS", made)


def test_the_search_against_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, png = tmp_path / "rows.json", tmp_path / "curves.png"
    folder = tmp_path / "made" / "here"
    arguments = ["search", "--folder", str(folder), "--trials", "3", "--random", "2"]
    tuning.main([*arguments, "--threads", "1", "--json", str(out), "--curves", str(png)])
    found = json.loads(out.read_text())
    assert [row[0] for row in found["rows"]] == [
        "gemm M=1: best of 3 over best of 2 random",
        "geometric mean",
    ]
    assert float(found["rows"][1][1]) > 0
    assert found["cpu"] and found["date"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "geometric mean" in capsys.readouterr().out


def test_who_seemed_best_by_luck_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    really = {"a": 0.9, "b": 0.95, "lucky": 1.1, "crashes now": None}

    class Again:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def measure(self, task, schedules):
            assert task == "the task"
            for name in schedules:
                ratio = really[name]
                yield SimpleNamespace(measured=ratio and SimpleNamespace(ratio=ratio))

    def session(**ratios):
        seen = [SimpleNamespace(seed=1, ratio=r, schedule=name) for name, r in ratios.items()]
        return SimpleNamespace(jobs=[SimpleNamespace(seen=seen)], seed=1, task=lambda _: "the task")

    monkeypatch.setattr("tc.autotune.measure.Measurer", Again)
    own = session(a=0.91, failed=None)
    chance = session(**{"lucky": 0.7, "crashes now": 0.8, "b": 0.96})
    assert tuning._confirmed(own, chance) == [0.9, 0.95]


def test_compiling_with_the_records_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small():
        return torch.nn.Linear(24, 40), {"input": torch.ones(1, 24)}

    monkeypatch.setattr(tuning, "MODELS", (small,))
    monkeypatch.setattr(tuning, "MODEL_NAMES", ("small",))
    monkeypatch.setattr(tuning, "WARM_MOST", 2)
    asked = tuning.Asked(tmp_path, 1, 1, 1, ())
    ((what, measured, wanted, _),) = tuning.warm(asked)  # before there is a database
    assert (what, wanted) == ("small: compiling with records over without", "<= 1.10")
    assert float(measured) > 0


def test_what_times_whole_runs_is_refused_on_busy_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(_: tuple[int, ...], force: bool) -> float:
        if not force:
            raise tuning.load.LoadError("they are busy")
        return 0.9

    monkeypatch.setattr(tuning.load, "require_quiet", busy)
    monkeypatch.setitem(
        tuning.ROWS, "rate", lambda asked: [("trials", str(asked.trials), "", True)]
    )
    command = ["rate", "--folder", str(tmp_path), "--trials", "7"]
    assert tuning.main(command) == 1
    assert capsys.readouterr().err == "error: rate: they are busy\n"
    assert tuning.main([*command, "--force"]) == 0
    assert capsys.readouterr().out.split() == ["trials", "7"]


def test_a_row_that_there_is_not() -> None:
    with pytest.raises(SystemExit):
        tuning.main(["speed"])
