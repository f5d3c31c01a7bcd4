"""Records as text: a file of one record a line that says which target it is for.

The first line names the format and the target, then come the workloads, then the trials, each a
JSON object on a line of its own, sorted, so that two versions of a shard differ where records do.
Everything that comes from a shard is checked before any of it is entered; a schedule that is not
legal for its workload today is left out and counted. This module must not run what it reads.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from tc.autotune.database import Database, insert_target, insert_trial, insert_workload
from tc.autotune.features import LAYOUT
from tc.autotune.history import put_features
from tc.autotune.rows import Context, TargetRow, Trial, Versions, WorkloadRow, columns, fingerprint
from tc.autotune.workload import loops_of, sizes_of, text_hash
from tc.device.dims import compile_dim
from tc.errors import ScheduleError, TcError, TuningError, describe
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.schedule.foreign import read_schedule, scheduled
from tc.schedule.knobs import read_knobs
from tc.target import Target

FORMAT: Final = "tc tuning records"
VERSION: Final = 1
MOST_BYTES: Final = 64 << 20
MOST_TEXT: Final = 4096  # of an error message and the like


@frozen
class Imported:
    """What came of an import: trials entered, known before, and left out as not legal."""

    entered: int
    known: int
    refused: int


def export_shard(
    database: Database, path: Path, target: str, everything: bool = False, family: str = ""
) -> int:
    """Write the best records of a target, with their defaults, or all trials; their number.

    Args:
        target: its fingerprint.
        family: of the workloads; "": all.

    Raises:
        TuningError: nothing to write, or the system refuses to.
    """
    heads = database.query("SELECT * FROM targets WHERE fingerprint = ?", (target,))
    best = {
        row["trial_id"]: row
        for row in database.query(
            "SELECT * FROM best_schedules WHERE target_fingerprint = ?", (target,)
        )
    }
    rows = database.query(
        "SELECT trials.*, workloads.hash AS workload FROM trials "
        "JOIN workloads ON workloads.id = trials.workload_id "
        "JOIN targets ON targets.id = trials.target_id WHERE fingerprint = ? "
        "AND (? = '' OR family = ?)",
        (target, family, family),
    )
    chosen = [r for r in rows if everything or _is_kept(r, rows, best)]
    if not heads or not chosen:
        raise TuningError(
            describe(
                f"export to {path}",
                where=f"target {target}",
                why="there are no such records",
                way_out="`tensorc db targets` lists what there is",
            )
        )
    hashes = sorted({r["workload"] for r in chosen})
    workloads = [
        database.query("SELECT * FROM workloads WHERE hash = ?", (hash_,))[0] for hash_ in hashes
    ]
    head = {name: value for name, value in heads[0].items() if name != "id"}
    lines: list[Mapping[str, object]] = [{"format": FORMAT, "version": VERSION, "target": head}]
    lines += sorted(({k: v for k, v in w.items() if k != "id"} for w in workloads), key=_by_name)
    lines += sorted((_line(r, r["id"] in best) for r in chosen), key=_by_place)
    _write(path, "".join(json.dumps(line, sort_keys=True, default=str) + "\n" for line in lines))
    return len(chosen)


def import_shard(database: Database, path: Path) -> Imported:
    """Enter the records of a shard, all in one transaction.

    Raises:
        TuningError: no shard, of another version, too long, or with a line that is no record;
            nothing of it was entered.
    """
    lines = _read(path)
    target, rest = _head(path, lines)
    loops: dict[str, Func] = {}
    workloads: list[WorkloadRow] = []
    trials: list[tuple[Context, Trial]] = []
    refused = 0
    for number, line in enumerate(rest, 2):
        try:
            if "text" in line:
                workloads.append(_workload(line, loops, str(path)))
                continue
            context, trial = _trial(line, target.fingerprint)
            if context.workload not in loops:
                raise ValueError("a trial of a workload that the shard does not have")
            if len(sizes_of(context.sizes)) != len(loops[context.workload].symbols):
                raise ValueError("sizes of other symbols than the workload has")
        except (KeyError, TypeError, ValueError, TcError) as error:
            why = f"no record: {error.message if isinstance(error, TcError) else error}"
            raise _refused(path, f"line {number}", why) from error
        try:
            scheduled(loops[context.workload], read_schedule(trial.schedule))
        except ScheduleError:
            refused += 1
        else:
            trials.append((context, trial))
    with database.transaction() as connection:
        insert_target(connection, target)
        for workload in workloads:
            insert_workload(connection, workload)
        entered = sum(insert_trial(connection, c, columns(trial)) for c, trial in trials)
    return Imported(entered, len(trials) - entered, refused)


def merge(database: Database, other: Database) -> Imported:
    """Enter the targets, workloads and trials of another database that are not here, with what
    the cost model saw of them and what was chosen inside programs, all in one transaction.

    Raises:
        TuningError: one of the files fails, or somebody wrote into the other what is no record.
    """
    try:
        return _merged(database, other)
    except (TypeError, ValueError) as error:
        raise TuningError(
            describe(
                f"database {other.path}",
                why=f"it holds what is no record: {error}",
                way_out="export and import what can be read; nothing of it was entered",
            )
        ) from error


def _merged(database: Database, other: Database) -> Imported:
    targets = [_from(TargetRow, row) for row in other.query("SELECT * FROM targets")]
    workloads = [_from(WorkloadRow, row) for row in other.query("SELECT * FROM workloads")]
    found = other.query(
        "SELECT trials.*, hash, fingerprint, layout, data FROM trials JOIN workloads ON "
        "workloads.id = workload_id JOIN targets ON targets.id = target_id "
        "LEFT JOIN features ON trial_id = trials.id ORDER BY trials.id"
    )
    entered = 0
    with database.transaction() as connection:
        for target in targets:
            insert_target(connection, target)
        for workload in workloads:
            insert_workload(connection, workload)
        for row in found:
            versions = Versions(row["tc_version"], row["llvm_version"])
            context = Context(
                row["hash"], row["fingerprint"], row["threads"], row["sizes"], versions
            )
            entered += insert_trial(connection, context, columns(_from(Trial, row)))
            if row["layout"] == LAYOUT:
                put_features(connection, context, row["schedule"], json.loads(row["data"]))
        _merge_models(connection, other)
        _merge_selections(connection, other)
    return Imported(entered, len(found) - entered, 0)


_MODEL: Final = ("name", "threads", "inputs", "tc_version", "llvm_version", "default_seconds",
                 "tuned_seconds", "seed", "created_at")  # fmt: skip


def _merge_models(connection: sqlite3.Connection, other: Database) -> None:
    """Enter the whole models of another database, but those that are here."""
    places, same = ", ".join("?" * len(_MODEL)), " AND ".join(f"models.{n} = ?" for n in _MODEL)
    for row in other.query(
        "SELECT models.*, fingerprint FROM models JOIN targets ON targets.id = target_id"
    ):
        values = [row[name] for name in _MODEL]
        connection.execute(
            f"INSERT INTO models (target_id, {', '.join(_MODEL)}) SELECT targets.id, {places} "
            "FROM targets WHERE fingerprint = ? AND NOT EXISTS "
            f"(SELECT 1 FROM models WHERE target_id = targets.id AND {same})",
            (*values, row["fingerprint"], *values),
        )


def _merge_selections(connection: sqlite3.Connection, other: Database) -> None:
    """Enter what was chosen inside programs, where nothing was chosen here."""
    for row in other.query(
        "SELECT hash, fingerprint, trials.*, models.name, selections.created_at AS chosen_at, "
        "models.created_at AS model_at FROM selections JOIN trials ON trials.id = trial_id "
        "JOIN workloads ON workloads.id = trials.workload_id "
        "JOIN targets ON targets.id = trials.target_id LEFT JOIN models ON models.id = model_id"
    ):
        key = ("hash", "fingerprint", "threads", "sizes", "tc_version", "llvm_version", "schedule")
        connection.execute(
            "INSERT OR IGNORE INTO selections (workload_id, target_id, threads, tc_version, "
            "llvm_version, trial_id, model_id, created_at) SELECT workload_id, target_id, threads, "
            "tc_version, llvm_version, trials.id, (SELECT id FROM models WHERE name = ? AND "
            "created_at = ?), ? FROM trials JOIN workloads ON workloads.id = workload_id "
            "JOIN targets ON targets.id = target_id "
            f"WHERE {' AND '.join(f'{name} = ?' for name in key)}",
            (row["name"], row["model_at"], row["chosen_at"], *(row[name] for name in key)),
        )


def _is_kept(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], best: Mapping[int, object]
) -> bool:
    """Whether a trial has the best schedule of its workload, at whatever sizes, or the default."""
    if row["number"] == 0 and row["status"] != "failed":
        return True
    key = ("workload_id", "threads", "tc_version", "llvm_version", "schedule")
    return any(all(r[k] == row[k] for k in key) for r in rows if r["id"] in best)


def _line(row: Mapping[str, Any], best: bool) -> dict[str, object]:
    names = {f.name for f in fields(Trial)} | {"workload", "threads", "sizes"}
    found = {name: row[name] for name in names}
    return {**found, "tc": row["tc_version"], "llvm": row["llvm_version"], "best": best}


def _by_name(line: Mapping[str, object]) -> tuple[str, str]:
    return str(line["name"]), str(line["hash"])


def _by_place(line: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(line[k]) for k in ("workload", "threads", "tc", "llvm", "sizes", "schedule"))


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TuningError(
            describe(f"shard {path}", why=str(error.strerror), way_out="name another file")
        ) from error


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)  # devices and the like have no size to be asked for
        if len(data) > MOST_BYTES:
            raise _refused(path, "", f"longer than {MOST_BYTES >> 20} MiB")
        return data.decode("utf-8").splitlines()
    except OSError as error:
        raise _refused(path, "", str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise _refused(path, "", "not text") from error


def _head(path: Path, lines: Sequence[str]) -> tuple[TargetRow, list[dict[str, Any]]]:
    """The target, and the other lines as objects."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise _refused(path, f"line {number}", f"not JSON: {error}") from error
        if not isinstance(value, dict):
            raise _refused(path, f"line {number}", "not a JSON object")
        found.append(value)
    if not found or found[0].get("format") != FORMAT:
        raise _refused(path, "line 1", "this is no shard of tuning records")
    if found[0].get("version") != VERSION:
        why = f"version {found[0].get('version')!r:.60}; this tc reads {VERSION}"
        raise _refused(path, "line 1", why)
    try:
        row = _from(TargetRow, found[0]["target"])
        if row.fingerprint != fingerprint(str(Target.parse(row.target)), row.cpu):
            raise ValueError("its fingerprint is that of another target")
    except (KeyError, TypeError, ValueError, TcError) as error:
        raise _refused(path, "line 1", f"no target: {error}") from error
    return row, found[1:]


def _workload(line: Mapping[str, Any], loops: dict[str, Func], where: str) -> WorkloadRow:
    row: WorkloadRow = _from(WorkloadRow, line)
    loops[row.hash] = func = loops_of(row.text, where)
    if row.hash != text_hash(row.text, row.constants):
        raise ValueError("a workload whose hash is that of another")
    for size in (row.flops, row.bytes):
        compile_dim(size, [f"n{n}" for n in range(len(func.symbols))])
    return row


def _trial(line: Mapping[str, Any], target: str) -> tuple[Context, Trial]:
    trial = _from(Trial, line)
    if trial.status not in ("ok", "failed", "predicted") or trial.weights not in ("hot", "cold"):
        raise ValueError(f"status {trial.status!r:.60} with {trial.weights!r:.60} weights")
    for name in ("workload", "sizes", "tc", "llvm"):
        if not _is_text(line[name]) or len(line[name]) > MOST_TEXT:
            raise TypeError(f"{name} is no short text")
    if type(line["threads"]) is not int or not 1 <= line["threads"] <= 1024:
        raise ValueError("threads is no number from 1 to 1024")
    read_knobs(trial.knobs)
    if trial.ratio == 0:
        raise ValueError("a ratio of 0")
    versions = Versions(line["tc"], line["llvm"])
    return Context(line["workload"], target, line["threads"], line["sizes"], versions), trial


def _is_text(value: object) -> bool:
    """Whether it is text that the database can keep, which half a character of UTF-16 is not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_KINDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "str": _is_text,
    "int": lambda v: type(v) is int and abs(v) < 1 << 62,
    "float | None": lambda v: (
        v is None
        or (type(v) in (int, float) and math.isfinite(float(str(v))) and float(str(v)) >= 0)
    ),
    "str | None": lambda v: v is None or _is_text(v),
}


def _from(kind: type[Any], line: Mapping[str, Any]) -> Any:
    """A row of that kind from its columns, each of the type that it must have."""
    values = {}
    for field in fields(kind):
        value = line[field.name]
        if not _KINDS[str(field.type)](value):
            raise TypeError(f"{field.name} is {value!r:.60}, not {field.type}")
        values[field.name] = value
    return kind(**values)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _refused(path: Path, where: str, why: str) -> TuningError:
    way_out = "export it again; nothing of it was entered"
    return TuningError(describe(f"shard {path}", where=where, why=why, way_out=way_out))
