"""`tensorc db ...`: look into the tuning database, join, share, check and thin it out.

Each subcommand opens the file, asks `tc.autotune`, and prints a table or one JSON document. This
module must not tune.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tc.cli.options import Settings, with_settings
from tc.cli.output import print_json, print_table, step
from tc.errors import TuningError, describe

if TYPE_CHECKING:
    from tc.autotune.database import Database

LONGEST = 60
"""Characters of a cell: a schedule has a thousand; `show` has the best whole, --json has all."""
_FILE = click.Path(path_type=Path)
database_option = click.option(
    "--db", type=_FILE, metavar="FILE", help="The database (default: TC_TUNING_DB, else your own)."
)


@click.group("db")
def command() -> None:
    """The tuning database: what it holds, and sharing it."""


def _opened(path: Path | None, *, create: bool = False, write: bool = False) -> Database:
    from tc.autotune.database import Database
    from tc.config import read

    if path is None and create:
        return Database.own(read().records)
    path = path or read().records
    return Database.open(path, create=create, readonly=not (create or write))


def _show(settings: Settings, name: str, rows: Sequence[Mapping[str, Any]], left: int = 3) -> None:
    if settings.json:
        print_json({name: [dict(row) for row in rows]})
        return
    if not rows:
        print(f"no {name}")
        return
    columns = list(rows[0])
    print_table("", columns, [[_cell(c, row[c]) for c in columns] for row in rows], left=left)


def _cell(column: str, value: object) -> str:
    match value:
        case None:
            return ""
        case float() if "seconds" in column:
            return f"{value * 1e6:.1f} µs"
        case float() if "fraction" in column:
            return f"{value:.0%}"
        case float():
            return f"{value:.3f}"
        case str() if len(value) > LONGEST:
            return f"{value[: LONGEST - 1]}…"
    return str(value)


_LIST = """
SELECT substr(hash, 1, 8) AS workload, name, family, COUNT(trials.id) AS trials,
    SUM(trials.status = 'failed') AS failed, MIN(trials.ratio) AS best_ratio,
    MIN(trials.seconds_median) AS best_seconds, MAX(trials.gflops) AS best_gflops
FROM workloads LEFT JOIN trials ON trials.workload_id = workloads.id
GROUP BY workloads.id ORDER BY family, name, hash"""


@command.command("list")
@database_option
@with_settings
def list_command(settings: Settings, db: Path | None) -> None:
    """The workloads, with their trials and best."""
    with _opened(db) as database:
        _show(settings, "workloads", database.query(_LIST))


@command.command("show")
@click.argument("workload")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True,
              help="Trials to show, the best first.")  # fmt: skip
@database_option
@with_settings
def show(settings: Settings, workload: str, limit: int, db: Path | None) -> None:
    """One workload: its loops, and its trials. WORKLOAD is a name or the beginning of a hash."""
    with _opened(db) as database:
        found = database.query(
            "SELECT * FROM workloads WHERE name = ? OR substr(hash, 1, ?) = ?",
            (workload, len(workload), workload),
        )
        if not found or not workload:
            raise TuningError(
                describe(
                    f"workload {workload!r}",
                    where=str(database.path),
                    why="there is none of that name or hash",
                    way_out="`tensorc db list` lists them",
                )
            )
        trials = database.query(
            "SELECT trials.id AS trial, sizes, threads, status, ratio, seconds_median, "
            "default_seconds, gflops, fraction_of_bound, knobs, schedule, error, workload_id "
            f"FROM trials WHERE workload_id IN ({', '.join('?' * len(found))}) "
            "ORDER BY ratio IS NULL, ratio LIMIT ?",
            (*(w["id"] for w in found), limit),
        )
    if settings.json:
        print_json({"workloads": found, "trials": trials})
        return
    for each in found:
        print(f"{each['hash']} {each['name']} ({each['family']})\n{each['text']}\n")
    _show(settings, "trials", trials, left=4)
    if trials and trials[0]["ratio"] is not None:
        print(f"\nbest, trial {trials[0]['trial']}: {trials[0]['schedule']}")


@command.command("best")
@click.option("--target", default="", help="Only targets whose text begins so.")
@database_option
@with_settings
def best(settings: Settings, target: str, db: Path | None) -> None:
    """The best schedule of each workload on each target."""
    with _opened(db) as database:
        rows = database.query(
            "SELECT workload, target, threads, sizes, gain, seconds, default_seconds, gflops, "
            "fraction_of_bound, status, chosen, schedule FROM best_schedules "
            "WHERE substr(target, 1, ?) = ? ORDER BY workload, target, threads",
            (len(target), target),
        )
    _show(settings, "best", rows, left=2)


@command.command("targets")
@database_option
@with_settings
def targets(settings: Settings, db: Path | None) -> None:
    """What was tuned for which target, by family of workloads."""
    with _opened(db) as database:
        rows = database.query("SELECT * FROM device_summary ORDER BY target, cpu, family")
    _show(settings, "targets", rows)


@command.command("merge")
@click.argument("other", type=_FILE)
@database_option
@with_settings
def merge(settings: Settings, other: Path, db: Path | None) -> None:
    """Enter the records of the database OTHER that are not there yet."""
    from tc.autotune import shards

    with _opened(other) as second, _opened(db, create=True) as database:
        _imported(settings, shards.merge(database, second))


@command.command("export")
@click.argument("shard", type=_FILE)
@click.option("--target", default="", help="Its text or fingerprint, where there are several.")
@click.option("--family", default="", help="Only workloads of this family.")
@click.option("--all", "everything", is_flag=True, help="All trials, not the best alone.")
@database_option
@with_settings
def export(
    settings: Settings, shard: Path, target: str, family: str, everything: bool, db: Path | None
) -> None:
    """Write the records of one target to the text file SHARD."""
    from tc.autotune.shards import export_shard

    with _opened(db) as database:
        known = database.query("SELECT fingerprint, target FROM targets")
        found = [t["fingerprint"] for t in known if target in ("", t["target"], t["fingerprint"])]
        if len(found) != 1:
            names = ", ".join(f"{t['fingerprint']} ({t['target']})" for t in known) or "none"
            raise TuningError(
                describe(
                    f"target {target!r}",
                    where=str(database.path),
                    why=f"{len(found)} targets are meant by that",
                    way_out=f"give --target one of: {names}",
                )
            )
        count = export_shard(database, shard, found[0], everything, family)
    _said(settings, {"shard": str(shard), "trials": count})


@command.command("import")
@click.argument("shard", type=_FILE)
@database_option
@with_settings
def import_command(settings: Settings, shard: Path, db: Path | None) -> None:
    """Enter the records of the text file SHARD, each checked."""
    from tc.autotune.shards import import_shard

    with step(settings, f"checking {shard}"), _opened(db, create=True) as database:
        found = import_shard(database, shard)
    _imported(settings, found)


@command.command("learn")
@click.argument("model", type=_FILE)
@database_option
@with_settings
def learn(settings: Settings, model: Path, db: Path | None) -> None:
    """Write what the cost model learns from all trials to the file MODEL (.ubj or .json)."""
    from tc.autotune.cost_model import CostModel
    from tc.autotune.history import groups_of
    from tc.autotune.recount import recount

    with _opened(db, write=True) as database, step(settings, "learning"):
        recount(database)
        groups = groups_of(database)
        CostModel.learn(groups, settings.seed).save(model)
    count = sum(len(group.speeds) for group in groups)
    _said(settings, {"model": str(model), "trials": count, "bytes": model.stat().st_size})


@command.command("verify")
@click.option("--measure", is_flag=True, help="Check results and time of this machine's, too.")
@database_option
@with_settings
def verify(settings: Settings, measure: bool, db: Path | None) -> None:
    """Check the file, and whether the best records are legal today."""
    from tc.autotune.upkeep import look_at_best

    found: list[Any] = []
    with _opened(db) as database, step(settings, "checking"):
        found += look_at_best(database)
        if measure:
            found += _measured_again(database)
    bad = [finding for finding in found if finding.problem]
    _said(
        settings,
        {
            "records": sum(not hasattr(f, "now") for f in found),
            "measured": [
                {"trial": f.trial_id, "workload": f.workload, "before": f.before, "now": f.now}
                for f in found
                if hasattr(f, "now")
            ],
            "problems": [
                {"trial": f.trial_id, "workload": f.workload, "problem": f.problem} for f in bad
            ],
        },
    )
    if bad:
        raise TuningError(
            describe(
                f"{len({f.trial_id for f in bad})} of {len({f.trial_id for f in found})} "
                "best records",
                why="do not hold",
                way_out="tune those workloads anew",
            )
        )


def _measured_again(database: Database) -> list[Any]:
    from tc.autotune.measure import Measurer
    from tc.autotune.recheck import measure_best
    from tc.autotune.records import versions
    from tc.autotune.rows import fingerprint
    from tc.config import read
    from tc.device.physical import host_device

    properties = host_device().properties
    mine = fingerprint(properties.target, properties.cpu)
    with Measurer(read().cache_dir) as measurer:
        return list(measure_best(database, mine, versions(), measurer))


@command.command("prune")
@click.option("--keep", type=click.IntRange(1), default=10, show_default=True,
              help="Trials of each workload to keep.")  # fmt: skip
@click.option("--other-versions", is_flag=True, help="Records of other versions go too.")
@database_option
@with_settings
def prune(settings: Settings, keep: int, other_versions: bool, db: Path | None) -> None:
    """Delete failed trials, and all but the best of each workload."""
    from tc.autotune import upkeep
    from tc.autotune.records import versions

    with _opened(db, write=True) as database:
        count = upkeep.prune(database, keep, versions() if other_versions else None)
    _said(settings, {"deleted": count})


@command.command("stats")
@database_option
@with_settings
def stats(settings: Settings, db: Path | None) -> None:
    """How much there is of what."""
    from tc.autotune.upkeep import summary

    with _opened(db) as database:
        _said(settings, summary(database))


def _imported(settings: Settings, found: Any) -> None:
    _said(
        settings,
        {"entered": found.entered, "known before": found.known, "not legal": found.refused},
    )


def _said(settings: Settings, values: Mapping[str, object]) -> None:
    if settings.json:
        print_json(dict(values))
        return
    for name, value in values.items():
        print(f"{name}: {value}")
