"""Looking after a tuning database: whether its records hold, and what may go.

This module must not measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tc.autotune.database import Database
from tc.autotune.rows import Versions
from tc.autotune.workload import loops_of, text_hash
from tc.errors import TcError
from tc.frozen import frozen
from tc.schedule.foreign import read_schedule, scheduled


@frozen
class Finding:
    """What became of looking at one of the best records; `problem` is "" where it holds."""

    workload: str
    target: str
    trial_id: int
    schedule: str
    problem: str


def look_at_best(database: Database) -> Iterator[Finding]:
    """Read the best schedule of every workload, and apply it to that workload's loops.

    Raises:
        TuningError: the file itself is damaged.
    """
    database.verify()
    for row in database.query("SELECT * FROM best_schedules ORDER BY workload, trial_id"):
        (workload,) = database.query(
            "SELECT text, constants, hash FROM workloads WHERE hash = ?", (row["workload_hash"],)
        )
        yield Finding(
            row["workload"],
            row["target"],
            row["trial_id"],
            row["schedule"],
            _problem(row, workload),
        )


def _problem(row: dict[str, Any], workload: dict[str, Any]) -> str:
    try:
        loops = loops_of(workload["text"])
        if text_hash(workload["text"], workload["constants"]) != workload["hash"]:
            return "the workload's text is not the one that it was measured with"
        scheduled(loops, read_schedule(row["schedule"]))
    except TcError as error:
        return error.message
    return ""


def prune(database: Database, keep: int, versions: Versions | None) -> int:
    """Delete failed trials, all but the `keep` best of a workload, and other versions' ones.

    What was chosen inside a program stays, and so does the default, which the others are held
    against.

    Args:
        versions: those to keep; None: all.

    Returns:
        how many trials were deleted.
    """
    place = (
        "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY workload_id, target_id, "
        "threads, sizes, tc_version, llvm_version ORDER BY status = 'predicted', ratio, id) AS "
        "place FROM trials WHERE ratio IS NOT NULL) WHERE place <= ?"
    )
    chosen = "SELECT trial_id FROM selections"
    deleted = 0
    with database.transaction() as connection:
        if versions is not None:
            other = "NOT (tc_version = ? AND llvm_version = ?)"
            pair = (versions.tc, versions.llvm)
            connection.execute(f"DELETE FROM selections WHERE {other}", pair)
            deleted += connection.execute(f"DELETE FROM trials WHERE {other}", pair).rowcount
        deleted += connection.execute(
            f"DELETE FROM trials WHERE id NOT IN ({place}) AND id NOT IN ({chosen}) "
            "AND NOT (number = 0 AND status = 'ok')",
            (keep,),
        ).rowcount
    return deleted


def summary(database: Database) -> dict[str, object]:
    """How much there is of what, and how large the file is."""
    counts = {
        table: database.query(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"]
        for table in ("targets", "workloads", "trials", "selections", "models")
    }
    states = database.query("SELECT status, COUNT(*) AS n FROM trials GROUP BY status")
    times = database.query("SELECT MIN(created_at) AS first, MAX(created_at) AS last FROM trials")
    return {
        "file": str(database.path),
        "bytes": database.path.stat().st_size,
        **counts,
        **{f"trials_{row['status']}": row["n"] for row in states},
        **times[0],
    }
