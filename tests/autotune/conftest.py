"""Rows for a tuning database, and a database that holds some."""

from __future__ import annotations

from pathlib import Path

import pytest

from tc.autotune.database import Database
from tc.autotune.rows import OK, Context, TargetRow, Trial, Versions, WorkloadRow, target_row
from tc.target import Target

VERSIONS = Versions("0.1.0", "22.1")
TEXT = """def kernel(
    p0: f32[M, 8],
    out0: out f32[M, 8],
    M: sym[1, 4096],
):
    for i in range(M):
        for j in range(8):
            out0[i, j] = p0[i, j] + p0[i, j]"""


def a_target(text: str = "x86-64-v3 cores=2", cpu: str = "some cpu") -> TargetRow:
    return target_row(Target.parse(text), cpu)


def a_workload(name: str = "add") -> WorkloadRow:
    from tc.autotune.workload import text_hash

    text = TEXT.replace("p0[i, j] + p0[i, j]", "p0[i, j] * p0[i, j]") if name == "mul" else TEXT
    return WorkloadRow(text_hash(text, "v"), name, "pointwise", "v", text, "n0 * 8", "n0 * 64")


def a_context(workload: WorkloadRow, target: TargetRow, sizes: str = "n0=16") -> Context:
    return Context(workload.hash, target.fingerprint, 2, sizes, VERSIONS)


def a_trial(number: int, ratio: float | None = 0.9, schedule: str = "", status: str = OK) -> Trial:
    return Trial(
        schedule or f"split(j, {number + 1})",
        f"grain={number}",
        status,
        seconds_median=None if ratio is None else ratio * 1e-4,
        default_seconds=1e-4,
        ratio=ratio,
        repeats=9,
        number=number,
        gflops=2.0,
        fraction_of_bound=0.5,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tuning.db"


def fill(path: Path, trials: list[Trial], sizes: str = "n0=16", name: str = "add") -> Context:
    """Enter the trials of one workload."""
    workload, target = a_workload(name), a_target()
    context = a_context(workload, target, sizes)
    with Database.open(path) as database:
        database.put_target(target)
        database.put_workload(workload)
        for trial in trials:
            database.put_trial(context, trial)
    return context
