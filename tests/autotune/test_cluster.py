"""Measuring on dask workers: whoever dies loses no trial, and nobody listens for strangers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dask
import distributed
import pytest

from tc.autotune.bench import Task
from tc.autotune.cluster import Cluster, Slot, check_address
from tc.autotune.database import Database
from tc.autotune.measure import BusyError
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
        with Cluster(ours.address, replace(here, cpu="")) as unknown:
            assert unknown.workers == ours.workers  # who cannot run the target knows no processor
        with (
            Cluster(ours.address, other, wait=1.0) as theirs,
            pytest.raises(BusyError, match="no worker there measures arm-neon on"),
        ):
            next(theirs.measure(task, ["split(i, 2)"]))


def identity(folder: Path) -> tuple[str, str]:
    """A key and a certificate for this machine that vouches for itself, as files."""
    folder.mkdir()
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    files = ("-days", "2", "-keyout", key, "-out", certificate)
    command = ["openssl", *asked.split(), *files]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return key, certificate


def tls_settings(key: str, certificate: str) -> dict[str, str]:
    """What dask's configuration says of them."""
    each = ("scheduler", "worker", "client")
    names = {"ca-file": certificate}
    names |= {
        f"{who}.{what}": file
        for who in each
        for what, file in (("key", key), ("cert", certificate))
    }
    return {f"distributed.comm.tls.{name}": file for name, file in names.items()}


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process, and those that it starts, know one certificate and trust no other."""
    settings = tls_settings(*identity(tmp_path / "ours"))
    for name, file in settings.items():
        word = name.upper().replace(".", "__").replace("-", "_")
        monkeypatch.setenv(f"DASK_{word}", file)
    with dask.config.set(settings):
        yield


@pytest.mark.usefixtures("tls")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_with_tls_only_those_who_have_the_certificate_take_part(tmp_path: Path) -> None:
    slot = Slot(str(HOST), cpu_name(), versions())
    wanted = Wanted("gemm", product(None, 24, 20)(HOST), (9,))
    with (
        Cluster("tls://127.0.0.1:0", slot) as cluster,
        Database.open(tmp_path / "t.db") as database,
    ):
        assert cluster.address.startswith("tls://127.0.0.1:")
        command = [sys.executable, "-m", "tc", "worker", cluster.address, "--quiet"]
        worker = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            wait(lambda: len(cluster.workers) == 1)
            session = Session(database, target_row(HOST, slot.cpu), slot.versions, 1, [wanted])
            session.run(cluster, 1)
            assert [s.ratio for s in session.jobs[0].seen] == [1.0]
            with pytest.raises(OSError):  # noqa: PT011  # which one depends on the system
                distributed.Client(cluster.address.replace("tls:", "tcp:"), timeout=2)
            with dask.config.set(tls_settings(*identity(tmp_path / "strangers"))):
                other = distributed.Security(require_encryption=True)
            with pytest.raises(OSError):  # noqa: PT011
                distributed.Client(cluster.address, timeout=2, security=other)
            assert len(cluster.workers) == 1
            pages = [cluster._own.scheduler.http_server.address]
            pages += cluster.client.run(
                lambda dask_worker: dask_worker.http_server.address
            ).values()
            assert pages == ["127.0.0.1"] * 2  # they are not encrypted
        finally:
            worker.terminate()
            worker.wait(SECONDS)


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
