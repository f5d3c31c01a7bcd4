"""Tuning a whole model: what is chosen, what the report says, and what is refused."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tc
from tc.autotune.bench import Task
from tc.autotune.database import Database
from tc.autotune.measure import Outcome
from tc.autotune.report import TuningReport, curve_of
from tc.autotune.rows import target_row
from tc.autotune.session import Bound
from tc.autotune.tune import Plan, Timing, tune
from tc.device import physical
from tc.device.physical import HostDevice
from tc.device.properties import Measurement
from tc.errors import TuningError, UnsupportedError
from tc.frontend.tuning import machine
from tc.schedule.step import Schedule
from tc.target import Target
from tests.autotune.fake_tuning import V3, VERSIONS, Fake, wanted
from tests.cli.stand_ins import Small


class Model:
    """A model whose times are made up: what is chosen for a workload makes it `factor` as slow."""

    name, inputs = "Model", "[16, 24]"

    def __init__(self, factor: float, whole: float | None = None) -> None:
        self.factor = factor
        self.whole = factor if whole is None else whole
        self.asked: list[Mapping[str, Schedule]] = []

    def wanted(self):
        return wanted()

    def time(self, choices: Sequence[Mapping[str, Schedule]]) -> list[Timing]:
        self.asked += choices
        return [
            Timing(self.whole if choice else 1.0, dict.fromkeys(choice, self.factor) or KEYS)
            for choice in choices
        ]


KEYS: dict[str, float] = {}


@pytest.fixture(autouse=True)
def keys() -> None:
    from tc.autotune.workload import key_of

    KEYS.update({key_of(w.workload).hash: 1.0 for w in wanted()})


def tuned(path: Path, model: Model, trials: int = 20) -> TuningReport:
    with Database.open(path) as database:
        given = (database, target_row(V3, ""), VERSIONS, 2, Plan(trials), Fake(), wanted())
        return tune(model, *given)


def chosen(path: Path) -> set[str]:
    with Database.open(path) as database:
        rows = database.query("SELECT number FROM selections JOIN trials ON trials.id = trial_id")
    return {"default" if row["number"] == 0 else "tuned" for row in rows}


def test_what_is_faster_in_the_program_is_chosen(path: Path) -> None:
    model = Model(0.8)
    report = tuned(path, model)
    assert report.gain == pytest.approx(1.25)
    assert "tuned" in {w.chosen for w in report.workloads}
    assert model.asked[0] == {}
    assert "tuned" in chosen(path)
    with Database.open(path) as database:
        (row,) = database.query("SELECT * FROM models")
        assert (row["default_seconds"], row["tuned_seconds"]) == (1.0, 0.8)


@pytest.mark.parametrize("model", [Model(1.0), Model(1.2), Model(0.8, whole=1.1)])
def test_a_program_never_becomes_slower(path: Path, model: Model) -> None:
    report = tuned(path, model)
    assert report.gain == 1.0
    assert {w.chosen for w in report.workloads} == {"default"}
    assert chosen(path) == {"default"}


def test_the_report(path: Path, tmp_path: Path) -> None:
    report = tuned(path, Model(0.8))
    text = str(report)
    assert "20 trials" in text
    assert "the whole model: default 1000.000 ms, tuned 800.000 ms, gain 1.250" in text
    assert all(w.name in text for w in report.workloads)
    assert json.loads(json.dumps(report.as_dict()))["gain"] == report.gain
    report.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TuningError, match="name another file"):
        report.plot(tmp_path / "none" / "curves.png")


class Slowing(Fake):
    """A machine that is slower with every candidate."""

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]:
        for found in super().measure(task, schedules):
            made, mood = found.measured, 1 + len(self.asked) / 10
            if made is None:
                yield found
                continue
            slow = replace(made, median=mood * made.median, default=mood * made.default)
            yield replace(found, measured=slow)


def test_default_and_best_are_of_the_same_moment(path: Path) -> None:
    with Database.open(path) as database:
        given = (database, target_row(V3, ""), VERSIONS, 2, Plan(8), Slowing(), wanted())
        report = tune(Model(0.8), *given)
    found = [w for w in report.workloads if w.trials]
    assert found
    for w in found:
        assert w.default_seconds and w.best_seconds
        assert w.default_seconds / w.best_seconds == pytest.approx(w.gain)


def test_a_curve_never_rises() -> None:
    assert curve_of([None, 1.0, 0.5, None, 0.7]) == (1.0, 1.0, 0.5, 0.5, 0.5)


def test_a_run_that_is_stopped_says_so(path: Path) -> None:
    with Database.open(path) as database:
        fake = Fake(stop_after=6)
        given = (database, target_row(V3, ""), VERSIONS, 2, Plan(20), fake, wanted())
        report = tune(Model(0.8), *given)
        again = tune(Model(0.8), *given[:5], Fake(), wanted())
    assert (report.finished, report.interrupted, report.trials) == (False, True, 6)
    assert "the same command goes on" in str(report)
    assert (again.interrupted, again.trials, again.measured) == (False, 20, 14)
    assert "20 trials, 14 of them in" in str(again)


def test_a_finalist_that_is_no_schedule_is_passed_over(path: Path) -> None:
    tuned(path, Model(0.8))
    with Database.open(path) as database, database.transaction() as connection:
        connection.execute("UPDATE trials SET schedule = 'os.system()', ratio = 0.01 WHERE id = 2")
    report = tuned(path, Model(0.8))
    assert "tuned" in {w.chosen for w in report.workloads}
    assert not [w for w in report.workloads if "system" in w.schedule]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trials": 0}, "trials=0"),
        ({"trials": 1.5}, "trials=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1 << 63}, "seed=9223372036854775808"),
        ({"time_limit": 0}, "time_limit=0"),
        ({"cluster": "tcp://10.0.0.1:1"}, "beyond this machine it takes TLS"),
        ({"example_inputs": 7}, "example_inputs are a int"),
        ({"example_inputs": None}, "nothing says what it is called with"),
    ],
)
def test_bad_requests(path: Path, given: dict, said: str) -> None:
    arguments = {"example_inputs": (torch.ones(3, 8),), "tuning_db": path, **given}
    with pytest.raises(TuningError, match=said):
        tc.tune(Small(), **arguments)


def test_what_is_no_model_or_target(path: Path) -> None:
    with pytest.raises(UnsupportedError, match="not a torch.nn.Module"):
        tc.tune(7, tuning_db=path)
    with pytest.raises(UnsupportedError, match="unknown target"):
        tc.tune(Small(), target="vax", tuning_db=path)
    path.write_text("garbage" * 100)
    with pytest.raises(TuningError, match="not a tuning database"):
        tc.tune(Small(), example_inputs=(torch.ones(3, 8),), tuning_db=path)


def test_a_real_model_from_tuning_to_compiling(path: Path) -> None:
    x = torch.linspace(-1, 1, 24).reshape(3, 8)
    report = tc.tune(Small(), example_inputs=(x,), trials=3, tuning_db=path, threads=1)
    assert report.trials == 3
    assert report.default_seconds and report.tuned_seconds
    assert report.tuned_seconds <= report.default_seconds
    assert [w.problem for w in report.workloads] == [""]
    again = tc.tune(Small(), example_inputs=(x,), trials=3, tuning_db=path, threads=1)
    assert again.trials == 3
    model = tc.compile(Small(), example_inputs=(x,), tuning_db=path, threads=1)
    torch.testing.assert_close(model(x), Small()(x))
    assert {row.source.split()[0] for row in model.explain(1).rows} == {"tuned"}


def test_compiling_can_tune_first(path: Path) -> None:
    x = torch.linspace(-1, 1, 24).reshape(3, 8)
    model = tc.compile(Small(), example_inputs=(x,), tuning_db=path, threads=1, tune=2)
    torch.testing.assert_close(model(x), Small()(x))
    with Database.open(path) as database:
        assert database.query("SELECT COUNT(*) AS n FROM trials") == [{"n": 2}]
    with pytest.raises(TuningError, match="trials=-1"):
        tc.compile(Small(), example_inputs=(x,), tuning_db=path, tune=-1)
    nothing = tc.compile(torch.nn.Identity(), example_inputs=(x,), tuning_db=path, tune=2)
    torch.testing.assert_close(nothing(x), x)
    with pytest.raises(TuningError, match="no kernel of it has a choice"):
        tc.tune(torch.nn.Identity(), example_inputs=(x,), tuning_db=path)


def test_a_model_of_fixed_sizes_can_be_tuned(path: Path) -> None:
    given = {"example_inputs": (torch.ones(3, 8),), "tuning_db": path, "threads": 1}
    report = tc.tune(Small(), trials=2, dynamic=False, **given)
    assert {w.sizes for w in report.workloads} == {""}
    model = tc.compile(Small(), dynamic=False, **given)
    model(torch.ones(3, 8))
    assert {row.source.split()[0] for row in model.explain(1).rows} == {"tuned"}


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Target] = []

    def measured(target: Target, _memory: int | None) -> Measurement:
        asked.append(target)
        return Measurement(1.0, 2.0, 3.0, 4.0, datetime.date.today().isoformat())

    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path))
    for _ in range(2):  # two processes
        monkeypatch.setattr(physical, "_HOST", [HostDevice(measure=measured)])
        row, bound = machine(Target.parse("host"), 1)
        assert (row.peak_gflops, row.bandwidth, bound) == (2.0, 4.0, Bound(1e9, 3e9))
    assert len(asked) == 1


def test_schedules_for_a_target_that_is_not_here_are_predicted(path: Path) -> None:
    x = torch.linspace(-1, 1, 256).reshape(4, 64)
    model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.Softmax(-1)).eval()
    given = {"target": "arm-neon", "example_inputs": (x,), "tuning_db": path, "threads": 2}
    report = tc.tune(model, trials=16, **given)
    assert report.trials == 0 and report.finished
    assert (report.default_seconds, report.gain) == (None, None)
    assert {w.chosen for w in report.workloads} <= {"default", "predicted"}
    with Database.open(path) as database:
        rows = database.query("SELECT status, cpu, ratio, seconds_median FROM trials "
                              "JOIN targets ON targets.id = target_id")  # fmt: skip
    assert {(r["status"], r["cpu"], r["seconds_median"]) for r in rows} == {("predicted", "", None)}
    assert sum(r["ratio"] == 1 for r in rows) == len(report.workloads)
    compiled = tc.compile(model, **given)
    shown = str(compiled.explain())
    sources = {row.source.split()[0] for part in compiled.explain().sections for row in part.rows}
    assert "predicted" in sources, shown
    assert tc.tune(model, trials=16, **given).workloads == report.workloads
    # Of a limit that one workload takes up, the same call takes the next one.
    given |= {"tuning_db": path.with_name("limited.db"), "time_limit": 1e-9}
    limited = [tc.tune(model, trials=16, **given) for _ in report.workloads]
    assert [each.finished for each in limited] == [False, True]
    assert limited[-1].workloads == report.workloads
