"""Single products and the machine's limits: bounds, the table, and a real peer."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gemm, peak
from benchmarks.comparison import Comparison, compare
from benchmarks.gemm import CONTENDERS, ROWS, Row, bound_seconds, operands, table
from benchmarks.part import Options
from benchmarks.peak import FromProperties, Limits, MeasuredInC, find_compiler, limits, step_of
from benchmarks.runner import Settings
from tests.benchmarks.fakes import FakeMachine

LIMITS = Limits(gflops=100.0, gbytes=10.0, source="by hand")
CORE = min(os.sched_getaffinity(0))
PROPERTIES = {
    "peak_gflops": 200.0,
    "peak_gflops_core": 101.0,
    "bandwidth": 50.0,
    "bandwidth_core": 26.0,
}


def test_bound_is_the_slower_of_arithmetic_and_reading():
    assert LIMITS.bound_seconds(flops=1e9, bytes_moved=1e6) == pytest.approx(0.01)
    assert LIMITS.bound_seconds(flops=1e6, bytes_moved=1e9) == pytest.approx(0.1)


def test_bound_of_a_row():
    row = Row(10, 10, 10)
    assert (row.flops, row.bytes_moved) == (2000.0, 1200)
    assert bound_seconds(row, FakeMachine(gflops=1e-3, gbytes=1.0)) == pytest.approx(2e-3)


def test_properties_of_one_core_and_of_all():
    machine = FromProperties(PROPERTIES)
    assert machine.gflops("fma", 1) == 101.0
    assert machine.gflops("fma", 2) == 200.0
    assert machine.gflops("bf16", 2) == 0.0
    assert machine.gbytes(1 << 20, 1) == 26.0
    assert limits(machine, "bf16", 2, 1 << 20).gflops == 200.0  # as fast as fp32


def test_footprints_are_measured_in_steps():
    assert step_of(1 << 20) == 1 << 20
    assert step_of(1_100_000) == 1 << 20
    assert step_of(1_400_000) == round(2**20.5)
    assert step_of(1) == 4096


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")
def test_limits_measured_in_c_are_plausible_and_kept():
    compiler = find_compiler()
    assert compiler is not None
    machine = MeasuredInC(compiler, (CORE,))
    rate = machine.gflops("fma", 1)
    assert 1.0 < rate < 2000.0
    assert machine.gflops("fma", 1) == rate
    assert 1.0 < machine.gflops("loaded", 1) < 2000.0
    assert 0.5 < machine.gbytes(1 << 20, 1) < 2000.0
    assert machine.gflops("none such", 1) == 0.0
    now = machine.now()
    slower = now.gflops("fma", 1)
    assert 1.0 < slower < 2000.0
    assert now.gflops("fma", 1) == slower
    assert 0.5 < now.gbytes(1 << 20, 1) < 2000.0
    assert machine.gflops("fma", 1) == rate  # what was known at its best stays


def test_without_compiler_or_properties_there_is_an_error(monkeypatch):
    monkeypatch.setattr(peak, "find_compiler", lambda: None)
    monkeypatch.setitem(sys.modules, "tc", None)
    with pytest.raises(RuntimeError, match="no C compiler and no device properties"):
        peak.default_machine((CORE,))


def test_operands_are_reproducible_fp32():
    a, b = operands({"m": 3, "k": 4, "n": 5})
    assert (a.shape, b.shape, a.dtype, b.dtype) == ((3, 4), (4, 5), np.float32, np.float32)
    assert (a == operands({"m": 3, "k": 4, "n": 5})[0]).all()


def test_a_real_peer_is_checked_and_timed_and_an_absent_one_named():
    pytest.importorskip("torch")
    names = {"torch": CONTENDERS["torch"], "absent": "tests.benchmarks.fakes:not_installed"}
    row = ROWS[4]
    settings = Settings(rounds=1, block_seconds=0.001)
    comparison = Comparison(row.name, row.case, names, "benchmarks.gemm:exact", settings)
    options = Options(cores=(CORE,), force=True, watch=lambda _: 0.5)
    measured = compare(comparison, options, lambda facts: bound_seconds(row, FakeMachine()))
    shown = table([(row, measured)], list(names), FakeMachine())
    assert shown.rows[0][0] == "8x768x3072"
    assert shown.rows[0][2].endswith("%")
    assert shown.rows[0][3] == "unavailable"
    assert any("a_framework_that_nobody_has" in note for note in shown.notes)
    assert any("UNRELIABLE" in note for note in shown.notes)


def test_an_unknown_row_is_named():
    with pytest.raises(ValueError, match=r"no row matches 1x2x3; rows: 128x768x768"):
        gemm.run(replace(Options(), rows=("1x2x3",)))
