"""Building beside each other: each candidate once, and none that goes wrong is waited for."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tc.autotune import runnable
from tc.autotune.bench import Bench
from tc.autotune.builders import Builders
from tc.autotune.kernels import Kernels
from tc.autotune.measure import Measurer
from tc.autotune.runnable import Compiled
from tc.autotune.space import Space
from tc.errors import TuningError
from tc.schedule.step import Schedule
from tests.autotune.test_measure import HOST, SMALL, a_task


def test_each_is_built_once_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    def build(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 2:
            raise TuningError("no such thing")
        with (tmp_path / str(number)).open("x") as file:  # a second time is an error
            file.write(str(os.getpid()))

    builders = Builders(2, 6, build)
    builders.wait(60.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3", "4", "5"]
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def test_who_gets_nothing_done_is_killed(tmp_path: Path) -> None:
    def build(number: int) -> None:
        (tmp_path / str(number)).write_text(str(os.getpid()))
        if number == 0:
            time.sleep(1000)

    builders = Builders(2, 3, build)
    builders.wait(1.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)
    builders.close()  # once more does no harm


def test_a_kernel_that_was_kept_is_loaded_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task()
    schedule = str(Space(SMALL(HOST)).draw(Random(3)).schedule)
    Kernels(task.text, HOST, None, tmp_path).build(schedule)
    bench = Bench(task, None, tmp_path)
    bench.prepare()
    built = runnable.build
    asked: list[object] = []
    monkeypatch.setattr(runnable, "build", lambda *a: asked.append(a) or built(*a))
    assert bench.checked(schedule)[1] <= 1
    assert [a for a in asked if str(a[1]) == schedule] == []
    asked.clear()
    bench.forget(schedule)
    bench.forget(task.default)  # which other batches want
    again = Kernels(task.text, HOST, None, tmp_path)
    again.get(schedule)
    again.get(task.default)
    assert [str(a[1]) for a in asked] == [schedule]


def test_what_is_kept_says_all_of_a_kernel(tmp_path: Path) -> None:
    task = a_task()
    bench = Bench(task, None, tmp_path)
    kept = [Compiled.load(path) for path in tmp_path.glob("*.kernel")]
    (made,) = (k for k in kept if runnable.load(k, Schedule.parse(task.default), HOST).packings)
    loaded = runnable.load(made, Schedule.parse(task.default), HOST)
    assert loaded.params((9,)) == bench._default.params((9,))
    assert loaded.packings == bench._default.packings
    path = tmp_path / "again.kernel"
    made.save(path)
    assert Compiled.load(path) == made


def test_a_batch_is_built_before_it_is_measured(tmp_path: Path) -> None:
    task = a_task()
    space, random = Space(SMALL(HOST)), Random(1)
    drawn = {str(space.draw(random).schedule) for _ in range(3)}
    schedules = [task.default, *sorted(drawn - {task.default})]
    with Measurer(tmp_path, builders=2) as measurer:
        measurer.get_ready()
        found = [o for o in measurer.measure(task, schedules) if not o.disturbed]
        assert all(o.measured is not None for o in found)
        kept = list(Path(measurer._folder.name).glob("*.kernel"))
        wanted = {Kernels(task.text, HOST, None, Path(measurer._folder.name))._file(s)
                  for s in schedules[1:]}  # fmt: skip
        assert not wanted & set(kept)  # what is measured is let go
    assert np.isfinite([o.measured.ratio for o in found if o.measured]).all()
