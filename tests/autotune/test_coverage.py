"""What a database knows of devices."""

from __future__ import annotations

from pathlib import Path

import pytest

import tc
from tc.autotune.coverage import coverage_of
from tc.autotune.database import Database
from tc.autotune.rows import FAILED
from tc.errors import TuningError
from tests.autotune.conftest import VERSIONS, a_target, a_trial, fill


def test_devices_that_are_not_at_hand_are_listed(path: Path) -> None:
    fill(path, [a_trial(0, 1.0), a_trial(1, 0.5), a_trial(2, None, status=FAILED)])
    fill(path, [a_trial(0, 1.0)], name="mul")
    (device,) = tc.tuned_devices(path)
    assert (device.target, device.cpu) == ("x86-64-v3 cores=2", "some cpu")
    found = device.coverage
    assert (found.workloads, found.trials) == (2, 4)
    assert (found.best_gflops, found.fraction_of_bound) == ({"pointwise": 2.0}, 0.5)
    assert (found.tc_version, found.llvm_version) == (VERSIONS.tc, VERSIONS.llvm)
    shown = "2 workloads, 4 trials; best GFLOP/s: pointwise 2.0, 50% of the bound; last 20"
    assert str(found).startswith(shown)
    assert str(found).endswith(f", tc {VERSIONS.tc}, LLVM {VERSIONS.llvm}")
    assert coverage_of(path, device.target, device.cpu) == found
    assert coverage_of(path, device.target, "another") is None


def test_a_workload_that_was_tuned_with_two_versions_is_one(path: Path) -> None:
    fill(path, [a_trial(0, 1.0)])
    with Database.open(path) as database, database.transaction() as connection:
        connection.execute("UPDATE trials SET tc_version = '0.0.9'")
    fill(path, [a_trial(0, 1.0), a_trial(1, 0.9)])
    (device,) = tc.tuned_devices(path)
    assert (device.coverage.workloads, device.coverage.trials) == (1, 3)
    assert device.coverage.tc_version == VERSIONS.tc


def test_without_a_database_there_is_nothing(path: Path) -> None:
    assert coverage_of(path, a_target().target, "") is None
    with pytest.raises(TuningError, match="no such file"):
        tc.tuned_devices(path)
    path.write_text("garbage")
    assert coverage_of(path, a_target().target, "") is None


def test_the_host_tells_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TC_TUNING_DB", str(path))
    (host,) = tc.devices()
    assert host.properties.tuned_coverage is None
    from tests.autotune import conftest

    mine = conftest.a_target(host.properties.target, host.properties.cpu)
    monkeypatch.setattr(conftest, "a_target", lambda: mine)
    fill(path, [a_trial(0, 1.0)])
    assert host.properties.tuned_coverage.trials == 1
