"""Measuring on dask workers: whoever dies loses no trial, and nobody listens for strangers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tc.autotune.bench import Task
from tc.autotune.cluster import Cluster, Slot, check_address
from tc.autotune.database import Database
from tc.autotune.records import versions
from tc.autotune.rows import OK, target_row
from tc.autotune.session import Job, Session, Wanted
from tc.device.physical import cpu_name
from tc.errors import TuningError
from tc.target import Target
from tests.autotune.workloads import product

HOST = Target.parse("host")
SECONDS = 60.0


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path / "cache"))


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_worker_that_is_killed_loses_no_trial(path: Path) -> None:
    slot = Slot(str(HOST), cpu_name(), versions())
    wanted = Wanted("gemm", product(None, 24, 20)(HOST), (9,))
    killed: list[str] = []
    with Cluster("local:2", slot) as cluster, Database.open(path) as database:
        wait(lambda: len(cluster.workers) == 2)

        def tick(session: Session, _job: Job) -> None:
            if session.done == 2:
                busy = [a for a, tasks in cluster.client.processing().items() if tasks]
                os.kill(cluster.client.run(os.getpid)[busy[0]], signal.SIGKILL)
                killed.append(busy[0])

        target = target_row(HOST, slot.cpu)
        session = Session(database, target, slot.versions, 1, [wanted], batch=8)
        session.run(cluster, 8, tick=tick)
        wait(lambda: len(cluster.workers) == 1)
        assert set(cluster.workers).isdisjoint(killed)
        rows = database.query("SELECT number, status, error, schedule FROM trials ORDER BY id")
    assert len(killed) == 1
    assert sorted(row["number"] for row in rows) == list(range(8))
    assert len({row["schedule"] for row in rows}) == 8
    assert {(row["status"], row["error"]) for row in rows} == {(OK, "")}


def test_nobody_but_a_worker_for_the_target_measures() -> None:
    here = Slot(str(HOST), cpu_name(), versions())
    other = Slot("arm-neon", "", versions())
    task = Task("", "", (), (), "", "arm-neon", 1)
    with Cluster("local:1", here) as ours:
        wait(lambda: len(ours.workers) == 1)
        with (
            Cluster(ours.address, other, wait=3.0) as theirs,
            pytest.raises(TuningError, match="no worker there measures arm-neon on"),
        ):
            next(theirs.measure(task, ["split(i, 2)"]))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://10.0.0.1:8786", "beyond this machine it takes TLS"),
        ("tcp://0.0.0.0:8786", "beyond this machine it takes TLS"),
        ("tcp://farm.example:8786", "beyond this machine it takes TLS"),
        ("http://127.0.0.1:8786", "no address of a scheduler"),
        ("tcp://127.0.0.1", "no address of a scheduler"),
        ("tcp://127.0.0.1:port", "no address of a scheduler"),
        ("", "no address of a scheduler"),
        ("local:0", "not local:N"),
        ("local:many", "not local:N"),
        ("tls://farm.example:8786", "there are no certificates"),
    ],
)
def test_addresses_that_are_refused(address: str, said: str) -> None:
    with pytest.raises(TuningError, match=said):
        Cluster(address, Slot("host", "", versions()))


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://localhost:8786", "tcp://[::1]:8786", "tls://farm:1"]
)
def test_addresses_that_are_taken(address: str) -> None:
    assert check_address(address) == address
