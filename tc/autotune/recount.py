"""Features of trials that were measured when the list of features was another one.

What a trial took stays true; what the cost model sees of it is counted again from its workload's
loops and its schedule. This module must not measure, nor learn.
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
from tc.schedule.foreign import read_schedule, scheduled
from tc.target import Target


def recount(database: Database) -> int:
    """Count the features of all trials that lack today's; how many could be.

    Trials whose schedule is not legal today stay as they are: nothing is learned from them.
    """
    rows = database.query(
        "SELECT trials.id, trials.schedule, threads, sizes, weights, tc_version, llvm_version, "
        "workload_id, target_id FROM trials LEFT JOIN features ON features.trial_id = trials.id "
        "WHERE status IN ('ok', 'failed') AND layout IS NOT ? ORDER BY workload_id, trials.id",
        (LAYOUT,),
    )
    workloads = _all(database, "workloads", WorkloadRow)
    targets = _all(database, "targets", TargetRow)
    loops: tuple[int, Func] | None = None
    done = 0
    for row in rows:
        workload, target = workloads[row["workload_id"]], targets[row["target_id"]]
        try:
            if loops is None or loops[0] != row["workload_id"]:
                loops = row["workload_id"], loops_of(workload.text)
            values = _counted(row, workload, target, loops[1])
        except TcError:
            continue
        versions = Versions(row["tc_version"], row["llvm_version"])
        known = (workload.hash, target.fingerprint, row["threads"], row["sizes"], versions)
        with database.transaction() as connection:
            put_features(connection, Context(*known), row["schedule"], values)
        done += 1
    return done


def _counted(
    row: Mapping[str, Any], workload: WorkloadRow, machine: TargetRow, loops: Func
) -> list[float]:
    target, sizes = Target.parse(machine.target), sizes_of(row["sizes"])
    func = scheduled(loops, read_schedule(row["schedule"]))
    named = {f"n{number}": size for number, size in enumerate(sizes)}
    device = device_features(target, row["threads"], machine)
    work = Work(*work_at(workload, sizes), row["weights"] == COLD)
    return features(func, named, target, row["threads"], device, work)


def _all(database: Database, table: str, kind: type[Any]) -> dict[int, Any]:
    names = ", ".join(field.name for field in fields(kind))
    rows = database.query(f"SELECT id, {names} FROM {table}")
    return {row.pop("id"): kind(**row) for row in map(dict, rows)}
