"""What a tuning database knows of devices, at hand or not.

This module must not tune.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tc.autotune.database import Database
from tc.autotune.rows import fingerprint
from tc.device.properties import Coverage
from tc.errors import TuningError
from tc.frozen import frozen


@frozen
class TunedDevice:
    """A device that a database has records of.

    Attributes:
        target: as text, as `Target.parse` takes it.
        cpu: the processor's name; "": none in particular.
    """

    target: str
    cpu: str
    fingerprint: str
    coverage: Coverage


def tuned_devices(path: Path) -> list[TunedDevice]:
    """The devices in a database.

    Raises:
        TuningError: no such file, or no sound database.
    """
    with Database.open(path, readonly=True) as database:
        if database.is_empty:
            return []
        rows = database.query("SELECT * FROM device_summary ORDER BY target, cpu, last_tuned")
        counts = database.query(
            "SELECT fingerprint, COUNT(DISTINCT workload_id) AS workloads FROM trials "
            "JOIN targets ON targets.id = target_id GROUP BY fingerprint"
        )
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["target_fingerprint"], []).append(row)
    workloads = {row["fingerprint"]: row["workloads"] for row in counts}
    return [
        TunedDevice(own[0]["target"], own[0]["cpu"], key, _coverage(own, workloads[key]))
        for key, own in found.items()
    ]


def coverage_of(path: Path, target: str, cpu: str) -> Coverage | None:
    """What a database knows of one device; None: nothing, or there is no sound database."""
    if not path.exists():
        return None
    wanted = fingerprint(target, cpu)
    try:
        known = tuned_devices(path)
    except TuningError:
        return None
    return next((d.coverage for d in known if d.fingerprint == wanted), None)


def _coverage(rows: list[Mapping[str, Any]], workloads: int) -> Coverage:
    best: dict[str, float] = {}
    for row in rows:
        if isinstance(row["best_gflops"], float):
            best[row["family"]] = max(best.get(row["family"], 0.0), row["best_gflops"])
    shares = [row["best_fraction_of_bound"] for row in rows]
    last = max(rows, key=lambda row: str(row["last_tuned"]))
    return Coverage(
        workloads=workloads,  # each once, though it may have been tuned with several versions
        trials=sum(row["trials"] for row in rows),
        best_gflops=best,
        fraction_of_bound=max((s for s in shares if isinstance(s, float)), default=None),
        last_tuned=str(last["last_tuned"]),
        tc_version=last["tc_version"],
        llvm_version=last["llvm_version"],
    )
