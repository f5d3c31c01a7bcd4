"""The grid of matrix products: which cells it has, their bounds, and what is made of them."""

from __future__ import annotations

import os

import pytest

from benchmarks import sweep
from benchmarks.load import LoadError
from benchmarks.part import Options
from benchmarks.sweep import KINDS, Cell, Pass, Row, bound_seconds, grid, judge, measure
from tests.benchmarks.fakes import FakeMachine

CORE = min(os.sched_getaffinity(0))
MACHINE = FakeMachine(gflops=1.0, gbytes=1.0)
ROW = Row("fp32", 1)


def cell(share: float, m: int = 8, error: float = 0.0) -> Cell:
    return Cell(m, 384, 768, seconds=1.0, bound=share, error=error)


def test_the_grid_stays_possible():
    pairs = list(grid(quick=False))
    assert len({(k, n) for k, n, _ in pairs}) == len(pairs) == 72
    assert max(4 * k * n for k, n, _ in pairs) <= sweep.MOST_WEIGHTS
    vocabulary = {k for k, n, _ in pairs if n == 50257}
    assert vocabulary == {384, 391, 513, 768}
    assert {m for _, _, sizes in pairs for m in sizes} == set(sweep.M)
    assert max(2 * m * k * n for k, n, sizes in pairs for m in sizes) <= sweep.MOST_FLOPS


def test_the_quick_grid_is_a_sample_of_the_whole_one():
    whole = {(k, n, m) for k, n, sizes in grid(quick=False) for m in sizes}
    quick = {(k, n, m) for k, n, sizes in grid(quick=True) for m in sizes}
    assert quick < whole
    assert len(quick) < len(whole) / 15
    assert {m for _, _, m in quick} == set(sweep.M)
    assert len({k for k, _, _ in quick}) > 5
    assert len({n for _, n, _ in quick}) > 5


def test_the_bound_counts_weights_at_their_width():
    moved = {"fp32": 4, "bf16": 2, "int8": 1}
    for name, width in moved.items():
        seconds = bound_seconds(KINDS[name], FakeMachine(1e9, 1.0), 1, 1, 100, 200)
        assert seconds == pytest.approx((400 + width * 20_000 + 800) * 1e-9)
    assert bound_seconds(KINDS["fp32"], FakeMachine(1.0, 1e9), 1, 2, 10, 10) == 4e-7


def test_a_pass_measures_every_cell_of_the_quick_grid():
    looks: list[int] = []
    factory = "tests.benchmarks.fakes:products"
    options = Options(quick=True, cores=(CORE,))
    found = measure(ROW, options, MACHINE, lambda: looks.append(1), factory)
    assert found.refused == ""
    assert [(c.k, c.n, c.m) for c in found.cells] == [
        (k, n, m) for k, n, sizes in grid(quick=True) for m in sizes
    ]
    assert all(c.seconds == c.m * 1e-6 for c in found.cells)
    assert len(looks) >= 2  # before and after


def test_a_busy_machine_refuses_a_pass():
    def look() -> None:
        raise LoadError("cores 0 are 90% busy")

    options = Options(quick=True, cores=(CORE,))
    found = measure(ROW, options, MACHINE, look, "tests.benchmarks.fakes:products")
    assert found.cells == ()
    assert [v.text for v in judge(found)] == ["no figure: cores 0 are 90% busy"] * 2


def test_a_share_above_the_bound_counts_as_the_bound():
    found = Pass(ROW, (cell(1.5), cell(0.64)))
    assert found.mean == pytest.approx(0.8)
    mean, least = judge(found)
    assert mean.value == pytest.approx(80.0)
    assert least.value == pytest.approx(64.0)
    assert (mean.goal.must, least.goal.must) == (90, 70)
    line = sweep.summary([found], MACHINE).rows[0]
    assert line[:5] == ("fp32, 1 thread", "2", "80.0%", "64.0%", "1")


def test_wrong_results_leave_no_figure():
    found = Pass(
        Row("int8", 2), (cell(0.9), cell(0.9, m=7, error=0.3), cell(1, error=float("nan")))
    )
    (only,) = judge(found)
    assert only.text == "no figure: wrong results, such as 7×384×768"
    assert len(found.wrong) == 2


def test_the_worst_cells_come_first():
    cells = tuple(cell(0.1 + 0.05 * n, m=n + 1) for n in range(14))
    lines = sweep.worst(Pass(ROW, tuple(reversed(cells)))).rows
    assert len(lines) == sweep.WORST
    assert [line[1] for line in lines[:2]] == ["10.0%", "15.0%"]


def test_more_threads_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(sweep, "default_machine", lambda cores: MACHINE)
    options = Options(rows=("bf16, 2",), cores=(CORE,), watch=lambda _: 0.0)
    outcome = sweep.run(options)
    assert outcome.failed
    assert [v.text for v in outcome.verdicts] == ["no figure: there are 1 cores"]
