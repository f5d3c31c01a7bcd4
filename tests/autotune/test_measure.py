"""Measuring: right candidates are measured, wrong ones never pass, and nothing ends the run."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path
from random import Random

import pytest

from tc.autotune.bench import KEPT_PACKINGS, Bench, Task, WrongResultError
from tc.autotune.database import Database
from tc.autotune.forked import Nursery
from tc.autotune.guarded import Guarded
from tc.autotune.measure import Measurer, Outcome
from tc.autotune.records import versions
from tc.autotune.rows import FAILED, OK, target_row
from tc.autotune.session import Session, Wanted
from tc.autotune.space import Space
from tc.autotune.turns import LEAST_TURNS
from tc.autotune.workload import key_of
from tc.errors import ScheduleError, TuningError
from tc.target import Target
from tests.autotune import bad_worker
from tests.autotune.workloads import WORKLOADS, product

HOST = Target.parse("host")
BAD = (sys.executable, "-m", "tests.autotune.bad_worker")
SMALL = product(None, 24, 20)


def a_task(build=SMALL, sizes: tuple[int, ...] = (9,), **other: object) -> Task:
    workload = build(HOST)
    key = key_of(workload)
    default = str(Space(workload).default.schedule)
    checked = ((1,), (17,)) if key.symbols else ()
    values = {"checked": checked, "threads": 1, "seconds": 0.002, **other}
    sizes = sizes if key.symbols else ()
    return Task(key.text, key.constants, sizes, default=default, target=str(HOST), **values)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", ["gemm, odd", "softmax, odd", "transposed", "column sums", "gemv"])
def test_a_default_is_right(name: str, cache: Path) -> None:
    task = a_task(WORKLOADS[name])
    assert Bench(task, cache).checked(task.default)[1] <= 1


@pytest.mark.parametrize("threads", [1, 2])
def test_random_candidates_are_right(cache: Path, threads: int) -> None:
    space, random = Space(SMALL(HOST)), Random(5)
    bench = Bench(a_task(threads=threads, cold=threads == 2), cache)
    for _ in range(3):
        assert bench.checked(str(space.draw(random).schedule))[1] <= 1


def test_what_is_slow_by_itself_is_not_disturbed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()
    monkeypatch.setattr("tc.autotune.bench.clock_of", lambda _: lambda: float(next(seconds)))
    task = a_task(seconds=0.0, patience=0.0)
    found = Bench(task, cache).measure(task.default)
    assert (found.median, found.ratio) == (1.0, 1.0)
    assert found.repeats >= LEAST_TURNS


def test_references_are_made_once(cache: Path, tmp_path: Path) -> None:
    task = a_task()
    Bench(task, cache, tmp_path).checked(task.default)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    again = Bench(task, cache, tmp_path)
    again._compute = None  # type: ignore[assignment,method-assign]  # it must not be asked
    again.checked(task.default)


def test_an_illegal_schedule_is_an_error(cache: Path) -> None:
    with pytest.raises(ScheduleError, match="no loop"):
        Bench(a_task(), cache).checked("split(nothing, 4)")


# "far" leaves the memory of the process and "beside" may: a process of its own sees to those.
@pytest.mark.parametrize("what", sorted({*bad_worker.MISCOMPILED} - {"far"}))
def test_a_miscompiled_candidate_never_passes(
    what: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(a_task(), cache)
    monkeypatch.setattr("tc.autotune.runnable.build", bad_worker.build)
    with pytest.raises(WrongResultError):
        bench.checked(f"uniform({what})")


def test_what_goes_wrong_is_an_outcome_and_the_rest_goes_on(cache: Path) -> None:
    task = a_task()
    names = ["far", "crash", "hog", "exit", "hang", "tail"]
    schedules = [f"uniform({name})" for name in names] + [task.default, "split(nothing, 3)"]
    with Measurer(cache, command=BAD, trial_seconds=3.0) as measurer:
        found = list(measurer.measure(task, schedules))
        for _ in range(20):  # other work on the machine may take the cores just then
            if not found[6].disturbed:
                break
            (again,) = measurer.measure(task, [task.default])
            found[6] = replace(again, number=6)
    assert [outcome.number for outcome in found] == list(range(8))
    said = dict(zip([*names, "right", "illegal"], found, strict=True))
    assert "SIGSEGV" in said["far"].error
    assert "SIGSEGV" in said["crash"].error
    assert "more memory than it may have" in said["hog"].error
    assert "status 7: goodbye" in said["exit"].error
    assert "does not end within 3 s" in said["hang"].error
    assert "times what is tolerable" in said["tail"].error
    assert "no loop" in said["illegal"].error
    assert said["right"].measured is not None
    assert all(outcome.measured is None for name, outcome in said.items() if name != "right")


def test_what_is_timed_has_the_memory_of_the_default(cache: Path) -> None:
    bench = Bench(a_task(cold=True), cache)
    space, random = Space(SMALL(HOST)), Random(5)
    default, *others = (
        bench._memory(bench._kernels.get(str(schedule)), bench.task.sizes, guarded=False).addresses
        for schedule in (bench.task.default, *(space.draw(random).schedule for _ in range(3)))
    )
    for addresses in others:
        assert (addresses[0], addresses[-1]) == (default[0], default[-1])
    assert len(set(default)) == len(default)


class Broken(Measurer):
    """A code generator that gets the default right, and each other candidate wrong in a way."""

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]:
        ways = cycle([*sorted(bad_worker.MISCOMPILED), "crash", "exit"])
        broken = [s if s == task.default else f"uniform({next(ways)})" for s in schedules]
        return super().measure(replace(task, seconds=0.002), broken)


def test_what_is_miscompiled_is_recorded_as_failed_and_never_used(cache: Path, path: Path) -> None:
    wanted = Wanted("gemm", SMALL(HOST), (9,))
    with Broken(cache, command=BAD) as measurer, Database.open(path) as database:
        session = Session(database, target_row(HOST, ""), versions(), 1, [wanted], batch=10)
        session.run(measurer, 20)
        rows = database.query("SELECT number, status, error, ratio FROM trials ORDER BY number")
        best = database.query("SELECT trial_id FROM best_schedules")
    assert [row["number"] for row in rows] == list(range(20))
    assert {row["status"] for row in rows[1:]} == {FAILED}
    assert (rows[0]["status"], len(best)) == (OK, 1)
    assert all(row["error"] and row["ratio"] is None for row in rows[1:])
    assert session.jobs[0].best is not None
    assert session.jobs[0].best.number == 0


def test_a_workload_that_cannot_be_measured_is_an_error(cache: Path) -> None:
    with Measurer(cache, setup_seconds=60.0) as measurer:
        broken = Task("def kernel(", "", (), (), "", str(HOST), 1)
        with pytest.raises(TuningError, match="cannot be measured: .*text cannot be read"):
            list(measurer.measure(broken, ["split(i, 2)"]))
        assert list(measurer.measure(a_task(), [])) == []


def test_guards() -> None:
    held = Guarded(100)
    held.fill(7)
    assert (held.address % 64, held.view().sum(), held.trespassed()) == (0, 700, False)
    ctypes.memset(held.address + 100, 0, 1)
    assert held.trespassed()
    held = Guarded(100)
    ctypes.memset(held.address - 1, 0, 1)
    assert held.trespassed()


def test_a_closed_buffer_cannot_be_written_to() -> None:
    held = Guarded(100)
    held.fill(7)
    held.close()
    assert held.view().sum() == 700
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        ctypes.memset(held.address, 0, 1)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGSEGV


def test_constants_are_laid_out_once(cache: Path) -> None:
    space, random = Space(SMALL(HOST)), Random(5)
    bench = Bench(a_task(cold=True), cache)
    schedules = [str(space.draw(random).schedule) for _ in range(8)]
    for schedule in (*schedules, *schedules):
        assert bench.checked(schedule)[1] <= 1
        for number in (1, 2):
            kept = [key for key in bench._constants if key[0] == number]
            assert len(kept) <= KEPT_PACKINGS


class Said:
    """A process that has said these lines and ended."""

    def __init__(self, *lines: str) -> None:
        self.answers, say = os.pipe()
        os.write(say, "".join(f"{line}\n" for line in lines).encode())
        os.close(say)

    def last_words(self) -> str:
        return "it is ended by SIGKILL"

    def end(self) -> None:
        os.close(self.answers)


def test_a_process_that_ends_between_two_candidates_has_spoiled_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = [
        Said('{"ready": true}', '{"begins": 0}', '{"number": 0, "failed": "one"}'),
        Said('{"ready": true}', '{"begins": 0}', '{"number": 0, "failed": "two"}', '{"begins": 1}'),
    ]
    with Measurer(builders=0) as measurer:
        monkeypatch.setattr(measurer._nursery, "fork", lambda _: said.pop(0))
        found = list(measurer.measure(a_task(), ["", "", ""]))
    errors = ["one", "two", "it is ended by SIGKILL"]
    assert [(each.number, each.error) for each in found] == list(enumerate(errors))


def test_answers_of_a_nursery_that_come_together_are_two(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        nursery = Nursery((), str(tmp_path))
        nursery._control = ours
        theirs.sendall(b"-9\n12\n")
        assert [nursery.status(), nursery.status()] == [-9, 12]
