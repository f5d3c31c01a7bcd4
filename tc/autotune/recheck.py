"""Measuring the best records of a database again, checked like any candidate.

This module must not change the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tc.autotune.bench import Task
from tc.autotune.database import Database
from tc.autotune.rows import COLD, Versions
from tc.autotune.session import Measures
from tc.autotune.workload import checked_sizes, loops_of, sizes_of
from tc.errors import TuningError, describe
from tc.frozen import frozen

SLOWER = 1.05  # times the default's time: more than what a machine's mood explains


@frozen
class Recheck:
    """A record measured again: its ratio to the default then and now; None: not measured."""

    workload: str
    trial_id: int
    before: float
    now: float | None
    problem: str = ""


def measure_best(
    database: Database, target: str, versions: Versions, measurer: Measures
) -> Iterator[Recheck]:
    """The best records of a target (its fingerprint) under these versions, each measured again."""
    rows = database.query(
        "SELECT best_schedules.*, text, constants FROM best_schedules "
        "JOIN workloads ON workloads.hash = workload_hash "
        "WHERE target_fingerprint = ? AND tc_version = ? AND llvm_version = ? ORDER BY trial_id",
        (target, versions.tc, versions.llvm),
    )
    for row in rows:
        default = database.query(
            "SELECT schedule FROM trials JOIN workloads ON workloads.id = workload_id "
            "JOIN targets ON targets.id = target_id WHERE hash = ? AND fingerprint = ? AND "
            "threads = ? AND tc_version = ? AND llvm_version = ? AND trials.number = 0 AND "
            "status = 'ok' LIMIT 1",
            (row["workload_hash"], target, row["threads"], versions.tc, versions.llvm),
        )
        yield _again(row, default[0]["schedule"] if default else row["schedule"], measurer)


def _again(row: dict[str, Any], default: str, measurer: Measures) -> Recheck:
    found = Recheck(row["workload"], row["trial_id"], row["ratio"], None)
    try:
        symbols, sizes = loops_of(row["text"]).symbols, sizes_of(row["sizes"])
        if len(symbols) != len(sizes):
            raise TuningError(describe(f"sizes {row['sizes']!r}", why="not those of its symbols"))
        task = Task(
            row["text"],
            row["constants"],
            sizes,
            checked_sizes(symbols, sizes),
            default,
            row["target"],
            row["threads"],
            row["weights"] == COLD,
        )
        (outcome,) = measurer.measure(task, [row["schedule"]])
    except TuningError as error:
        return Recheck(found.workload, found.trial_id, found.before, None, error.message)
    if outcome.measured is None:
        return Recheck(found.workload, found.trial_id, found.before, None, outcome.error)
    now = outcome.measured.ratio
    problem = f"{now:.2f} times the default's time" if now > SLOWER else ""
    return Recheck(found.workload, found.trial_id, found.before, now, problem)
