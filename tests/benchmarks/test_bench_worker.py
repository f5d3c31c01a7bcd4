"""A contender in a process of its own: protocol, pinning, faults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.protocol import UnavailableError, WorkerContender, WorkerError, worker_environment

CORE = min(os.sched_getaffinity(0))


def worker(factory: str, x: int = 3) -> WorkerContender:
    return WorkerContender(factory, f"tests.benchmarks.fakes:{factory}", {"x": x}, (CORE,))


def test_answers_although_the_framework_prints():
    with worker("doubles", 21) as contender:
        ready = contender.prepare()
        assert ready.peak_bytes > 1_000_000
        assert contender.output().tolist() == [42.0]
        assert len(contender.run(5).seconds) == 5


def test_times_are_of_the_calls_and_sleeping_is_idle():
    with worker("sleeps") as contender:
        contender.prepare()
        contender.run(1)
        block = contender.run(4)
        assert len(block.seconds) == 4
        assert min(block.seconds) >= 0.002


def test_a_contender_tells_what_it_knows_and_measures():
    with worker("tells", 4) as contender:
        assert contender.prepare().facts == {"flops": 12.0}
        assert contender.run(3).inside == (0.25, 0.25, 0.25)
        assert contender.measure(factor=5) == {"x": 20.0}


def test_what_a_contender_cannot_measure_is_an_error():
    with worker("doubles") as contender:
        contender.prepare()
        with pytest.raises(WorkerError, match="unknown message 'measure'"):
            contender.measure(factor=5)


def test_is_pinned():
    with worker("cores") as contender:
        contender.prepare()
        assert contender.output().tolist() == [CORE]


@pytest.mark.parametrize("factory", ["missing", "not_installed"])
def test_unavailable(factory):
    with (
        worker(factory) as contender,
        pytest.raises(UnavailableError, match=r"no framework for 3|No module named"),
    ):
        contender.prepare()


def test_failure_names_the_contender_and_the_reason_on_one_line():
    with (
        worker("broken") as contender,
        pytest.raises(WorkerError, match=r"^broken: ValueError: cannot compile$"),
    ):
        contender.prepare()


def test_death_is_an_error_not_a_hang():
    with worker("dies") as contender:
        contender.prepare()
        with pytest.raises(WorkerError, match="dies: its process ended"):
            contender.run(1)


def test_close_removes_process_and_files_and_may_be_repeated():
    contender = worker("doubles")
    contender.prepare()
    folder = Path(contender._folder.name)
    process = contender._process
    assert process is not None
    assert folder.exists()
    contender.close()
    contender.close()
    assert process.poll() is not None
    assert not folder.exists()


def test_environment_gives_as_many_threads_as_cores():
    environment = worker_environment((0, 1))
    assert environment["OMP_NUM_THREADS"] == environment["TC_NUM_THREADS"] == "2"
