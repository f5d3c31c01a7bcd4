"""What the cost model sees of trials that came without it, or were measured when it saw less.

A trial's loops follow from its workload's text and its schedule, and so do their features; what it
took stays true. This module must not measure, nor learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tc.autotune.database import Database
from tc.autotune.features import LAYOUT, Work, device_features, features
from tc.autotune.history import put_features
from tc.autotune.rows import COLD, Context, TargetRow, Versions, WorkloadRow
from tc.autotune.workload import loops_of, sizes_of, work_at
from tc.errors import TcError
from tc.ir.loop import Func
from tc.schedule.dependence import proven
from tc.schedule.foreign import read_schedule, scheduled
from tc.target import Target


def recount(database: Database) -> int:
    """Count the features of all trials that lack today's; how many could be.

    Trials whose schedule cannot be applied today stay as they are: nothing is learned from them.
    """
    rows = database.query(
        "SELECT schedule, threads, sizes, weights, tc_version, llvm_version, workload_id, "
        "target_id FROM trials LEFT JOIN features ON trial_id = trials.id "
        "WHERE status IN ('ok', 'failed') AND layout IS NOT ? ORDER BY trials.id",
        (LAYOUT,),
    )
    workloads = _all(database, "workloads", WorkloadRow)
    targets = _all(database, "targets", TargetRow)
    loops: dict[int, Func] = {}
    found: list[tuple[Context, str, list[float]]] = []
    for row in rows:
        number, target = row["workload_id"], targets[row["target_id"]]
        workload = workloads[number]
        try:
            if number not in loops:
                loops[number] = loops_of(workload.text)
            values = _counted(row, workload, target, loops[number])
        except (TcError, ValueError, TypeError, ArithmeticError, MemoryError):
            continue
        versions = Versions(row["tc_version"], row["llvm_version"])
        known = (workload.hash, target.fingerprint, row["threads"], row["sizes"], versions)
        found.append((Context(*known), row["schedule"], values))
    with database.transaction() as connection:
        for context, schedule, values in found:
            put_features(connection, context, schedule, values)
    return len(found)


def _counted(
    row: Mapping[str, Any], workload: WorkloadRow, machine: TargetRow, loops: Func
) -> list[float]:
    target, sizes = Target.parse(machine.target), sizes_of(row["sizes"])
    with proven():  # nothing is run
        func = scheduled(loops, read_schedule(row["schedule"]))
    named = dict(zip((s.name for s in loops.symbols), sizes, strict=True))
    device = device_features(target, row["threads"], machine)
    work = Work(*work_at(workload, sizes), row["weights"] == COLD)
    return features(func, named, target, row["threads"], device, work)


def _all(database: Database, table: str, kind: type[Any]) -> dict[int, Any]:
    names = ", ".join(field.name for field in fields(kind))
    rows = database.query(f"SELECT id, {names} FROM {table}")
    return {row.pop("id"): kind(**row) for row in rows}
