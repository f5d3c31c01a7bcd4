"""Rows of matrix products: bounds, shares, the table, and a real peer."""

from __future__ import annotations

import math
import os
import sys

import numpy as np
import pytest

from benchmarks import peak
from benchmarks.gemm import (
    CONTENDERS,
    ROWS,
    Measured,
    Row,
    measure_row,
    operands,
    select_rows,
    table,
)
from benchmarks.peak import Limits, find_compiler, from_properties, measure_in_c
from benchmarks.runner import Result, Settings

LIMITS = Limits(gflops=100.0, gbytes=10.0, source="by hand")
CORE = min(os.sched_getaffinity(0))


def test_bound_is_the_slower_of_arithmetic_and_reading():
    assert LIMITS.bound_seconds(flops=1e9, bytes_moved=1e6) == pytest.approx(0.01)
    assert LIMITS.bound_seconds(flops=1e6, bytes_moved=1e9) == pytest.approx(0.1)


def test_share_of_the_bound():
    row = Row(10, 10, 10)
    measured = Measured(row, LIMITS, bound=0.9, results=())
    assert measured.share(Result("a", "ok", median=1.0)) == pytest.approx(0.9)
    assert math.isnan(measured.share(Result("a", "wrong")))
    assert row.flops == 2000.0
    assert row.bytes_moved == 1200


def test_properties_of_all_cores_are_divided():
    limits = from_properties({"peak_gflops": 200.0, "bandwidth_gbs": 50.0}, cores=2)
    assert (limits.gflops, limits.gbytes) == (100.0, 25.0)


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")
def test_limits_measured_in_c_are_plausible():
    compiler = find_compiler()
    assert compiler is not None
    limits = measure_in_c(compiler, CORE)(1 << 20)
    assert 1.0 < limits.gflops < 2000.0
    assert 0.5 < limits.gbytes < 2000.0


def test_without_compiler_or_properties_there_is_an_error(monkeypatch):
    monkeypatch.setattr(peak, "find_compiler", lambda: None)
    monkeypatch.setitem(sys.modules, "tc", None)
    with pytest.raises(RuntimeError, match="no C compiler and no device properties"):
        peak.default_measure(CORE)


def test_rows_by_name():
    assert select_rows([]) == ROWS
    assert select_rows(["8x768x3072"]) == (ROWS[4],)
    with pytest.raises(ValueError, match="no row 1×2×3"):
        select_rows(["1x2x3"])


def test_operands_are_reproducible_fp32():
    a, b = operands({"m": 3, "k": 4, "n": 5})
    assert (a.shape, b.shape, a.dtype, b.dtype) == ((3, 4), (4, 5), np.float32, np.float32)
    assert (a == operands({"m": 3, "k": 4, "n": 5})[0]).all()


def test_a_real_peer_is_checked_and_timed_and_an_absent_one_named():
    pytest.importorskip("torch")
    names = {"torch": CONTENDERS["torch"], "absent": "tests.benchmarks.fakes:not_installed"}
    checked: list[int] = []
    measured = measure_row(
        ROWS[4],
        names,
        CORE,
        Settings(rounds=1, block_seconds=0.001),
        lambda working_set: checked.append(working_set) or LIMITS,
        lambda: checked.append(0),
    )
    assert checked == [0, 0, ROWS[4].bytes_moved]
    shown = table([measured], list(names), busy=0.5)
    assert shown.rows[0][0] == "8×768×3072"
    assert shown.rows[0][-1] == "unavailable"
    assert shown.rows[0][3].endswith("%")
    assert any("a_framework_that_nobody_has" in note for note in shown.notes)
    assert any("UNRELIABLE" in note for note in shown.notes)
