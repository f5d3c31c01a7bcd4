"""What the cost model sees of trials that came without it: from shards, or before it saw as much.

A trial's loops follow from its workload's text and its schedule, and so do their features. This
module must not run or measure anything.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def review(database: Database) -> int:
    """Enter the features of all trials that have none of today's; how many these were.

    A trial whose schedule is not legal today, or whose workload cannot be read, is passed over.
    """
    rows = database.query(
        "SELECT schedule, threads, sizes, weights, tc_version, llvm_version, workload_id, "
        "target_id FROM trials LEFT JOIN features ON trial_id = trials.id "
        "WHERE status IN ('ok', 'failed') AND (layout IS NULL OR layout != ?) ORDER BY trials.id",
        (LAYOUT,),
    )
    workloads = {r["id"]: r for r in database.query("SELECT * FROM workloads")}
    targets = {r["id"]: r for r in database.query("SELECT * FROM targets")}
    loops: dict[int, Func] = {}
    found = []
    for row in rows:
        workload, target = workloads[row["workload_id"]], targets[row["target_id"]]
        try:
            if row["workload_id"] not in loops:
                loops[row["workload_id"]] = loops_of(workload["text"])
            with proven():  # nothing is run
                func = scheduled(loops[row["workload_id"]], read_schedule(row["schedule"]))
            values = _features(func, row, WorkloadRow(**_own(workload)), TargetRow(**_own(target)))
        except (TcError, ValueError):
            continue
        versions = Versions(row["tc_version"], row["llvm_version"])
        context = Context(
            workload["hash"], target["fingerprint"], row["threads"], row["sizes"], versions
        )
        found.append((context, row["schedule"], values))
    with database.transaction() as connection:
        for context, schedule, values in found:
            put_features(connection, context, schedule, values)
    return len(found)


def _features(
    func: Func, trial: Mapping[str, Any], workload: WorkloadRow, row: TargetRow
) -> list[float]:
    target, sizes = Target.parse(row.target), sizes_of(trial["sizes"])
    device = device_features(target, trial["threads"], row)
    names = [s.name for s in func.symbols]
    work = Work(*work_at(workload, sizes), trial["weights"] == COLD)
    named = dict(zip(names, sizes, strict=True))
    return features(func, named, target, trial["threads"], device, work)


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}
