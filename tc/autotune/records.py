"""The best records for a target, as the pipeline asks for schedules, found by key.

A model may have several programs of the same weights. What lies in memory once is read by all of
them in one layout, and no program knows which schedules another one gets: the layout that all can
have is that of the analytical schedules, which follows from the weight.

Records come from the database that the caller names, else from those that ship with tc; those of
another machine, number of threads or version are never taken. Reading is on the way of every
compilation, so that it takes the standard library alone. This module must not write.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tc import __version__
from tc.autotune.database import Database
from tc.autotune.migrations import BEST
from tc.autotune.rows import PREDICTED, Versions, fingerprint
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, ScheduleError, TuningError
from tc.frozen import frozen
from tc.target import Target

if TYPE_CHECKING:
    from tc.pipeline import Chosen, Workload
    from tc.schedule.step import Schedule, Step

T = TypeVar("T")
SHIPPED: Final = Path(__file__).resolve().parents[1] / "tuning_db"
WORTH_A_COPY: Final = 0.8  # of the default's time, measured, for which weights may lie twice


@frozen
class Record:
    """A good schedule of a workload.

    Attributes:
        schedule: as text.
        source: where it comes from, for people.
        ratio: of its time to the default's.
        measured: False: it is a prediction.
    """

    schedule: str
    source: str
    ratio: float = 1.0
    measured: bool = True


class Records:
    """The best records for one machine; called with a workload, gives its schedule.

    Attributes:
        digest: changes whenever the records may have; "" where there are none.
    """

    def __init__(
        self,
        shipped: Mapping[str, Record],
        path: Path | None,
        target: str,
        threads: int,
        named: bool = True,
    ) -> None:
        """Those of a database, where it has one for a workload, else the shipped ones.

        Args:
            shipped: by the hash of their workload.
            path: of a database that exists, or None.
            target: its fingerprint.
            named: by the user; another one that fails is done without.
        """
        self._named = named
        self._shipped = dict(shipped)
        self._path = path
        self._target = target
        self._threads = threads
        self.digest = self._digest()

    def __call__(self, workload: Workload) -> Chosen | None:
        """As `tc.pipeline.Schedules`."""
        record = self._best(workload)
        return None if record is None else _chosen(record)

    def of_several(self, workload: Workload) -> Chosen | None:
        """As `tc.pipeline.Schedules`, for one of several programs of the same weights.

        The best record that has these as the analytical schedule has them, unless another layout
        is worth a second copy of them.
        """
        best = self._best(workload)
        if best is None:
            return None
        from tc.autotune.workload import key_of
        from tc.pipeline import default_of

        own = _packs(default_of(workload))
        for record in (best, *self._others(key_of(workload).hash)):
            found = _chosen(record)
            if found is None:
                return None
            worth = record.measured and record.ratio <= WORTH_A_COPY
            if worth or _packs(found.schedule) == own:
                return found
        return None

    def _best(self, workload: Workload) -> Record | None:
        if not self.digest:
            return None
        from tc.autotune.workload import key_of  # no program that is only found again needs it

        key = key_of(workload).hash
        return self._asked(tuned, key) or self._shipped.get(key)

    def _others(self, workload: str) -> list[Record]:
        """What beats the default besides the best record, by a workload's hash; the best first."""
        return self._asked(beating, workload) or []

    def _asked(self, what: Callable[[Path, str, str, int], T], workload: str) -> T | None:
        """What the database says; None without one."""
        if self._path is None:
            return None
        try:
            return what(self._path, workload, self._target, self._threads)
        except TuningError as error:
            _done_without(error, self._named)
            self._path = None
            return None

    def _digest(self) -> str:
        found = hashlib.sha256()
        for key in sorted(self._shipped):
            found.update(f"{key} {self._shipped[key].schedule}\n".encode())
        if self._path is not None:
            state = self._path.stat()
            with self._path.open("rb") as file:
                header = file.read(100)  # it counts the changes of the file
            found.update(f"{state.st_ino} {state.st_size} {state.st_mtime_ns}".encode() + header)
        return found.hexdigest() if self._shipped or self._path is not None else ""


def versions() -> Versions:
    """Those of tc and LLVM at hand."""
    from tc.codegen.llvm.machine import version

    return Versions(__version__, version())


def load(path: Path | None, target: Target, cpu: str, threads: int, named: bool = True) -> Records:
    """The best records for a machine: those in the file before those that ship with tc.

    Args:
        path: of a database; None, or a file that does not exist: only the shipped ones.
        cpu: the processor's name.
        named: by the user; another one that is no sound database is done without, with a warning.

    Raises:
        TuningError: a file that somebody named and that is no database, or a damaged one.
    """
    known = path if path is not None and path.exists() else None
    if known is not None:
        try:
            with Database.open(known, readonly=True, check=False) as database:
                known = None if database.is_empty else known
        except TuningError as error:
            _done_without(error, named)
            known = None
    mine = fingerprint(str(target), cpu)
    return Records(dict(shipped(SHIPPED, target, threads)), known, mine, threads, named)


def _done_without(error: TuningError, named: bool) -> None:
    """Warn of a database that is not used; raise the error for one that somebody named."""
    if named:
        raise error
    warnings.warn(f"{error.message}: tuning records are not used", RuntimeWarning, stacklevel=2)


def tuned(path: Path, workload: str, target: str, threads: int) -> Record | None:
    """A database's best record for a workload's hash and a target's fingerprint."""
    have = versions()
    with Database.open(path, readonly=True, check=False) as database:
        ids = database.query(
            "SELECT workloads.id AS workload, targets.id AS target FROM workloads, targets "
            "WHERE hash = ? AND fingerprint = ?",
            (workload, target),
        )
        if not ids:
            return None
        only = "AND workload_id = ? AND target_id = ? AND threads = ? AND tc_version = ? "
        each = (ids[0]["workload"], ids[0]["target"], threads, have.tc, have.llvm)
        rows = database.query(BEST.format(only=f"{only} AND llvm_version = ?"), each * 2)
    return _record(rows[0]) if rows else None


def beating(path: Path, workload: str, target: str, threads: int) -> list[Record]:
    """All records of a database that beat the default, the best first; see `tuned`."""
    have = versions()
    with Database.open(path, readonly=True, check=False) as database:
        rows = database.query(
            "SELECT schedule, AVG(ratio) AS ratio, MAX(status) AS status, MIN(trials.id) AS "
            "trial_id FROM trials JOIN workloads ON workloads.id = workload_id "
            "JOIN targets ON targets.id = target_id WHERE hash = ? AND fingerprint = ? AND "
            "threads = ? AND tc_version = ? AND llvm_version = ? AND status IN ('ok', 'predicted') "
            "GROUP BY schedule HAVING MAX(ratio) < 1 ORDER BY 3, 2, 4",
            (workload, target, threads, have.tc, have.llvm),
        )
    return [_record(row) for row in rows]


def _record(row: Mapping[str, Any]) -> Record:
    measured = row["status"] != PREDICTED
    source = f"{'tuned' if measured else 'predicted'} (trial {row['trial_id']})"
    ratio = row["ratio"] if isinstance(row["ratio"], float) else 1.0
    return Record(row["schedule"], source, ratio, measured)


def _chosen(record: Record) -> Chosen | None:
    """What a record says, if it can be read."""
    from tc.pipeline import Chosen
    from tc.schedule.foreign import read_schedule

    try:
        return Chosen(read_schedule(record.schedule), record.source, trusted=False)
    except ScheduleError as error:
        said = f"a record is not used: {record.source}: {error.message}"
        warnings.warn(said, RuntimeWarning, stacklevel=2)
        return None


def _packs(schedule: Schedule) -> frozenset[Step]:
    """The layouts that a schedule asks for."""
    return frozenset(step for step in schedule.steps if step.name == "pack")


def shipped(root: Path, target: Target, threads: int) -> Iterable[tuple[str, Record]]:
    """(workload's hash, record) of the shards for a target's level; a damaged one has none.

    Where nothing was better than the default there is no record either. On a machine that runs the
    target a prediction is none: the default is as good a guess, and has been seen on real machines.
    """
    have, here = versions(), _runs_here(target)
    for path in sorted((root / target.level).glob("*.jsonl")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            head = json.loads(lines[0])
            numbered = enumerate(map(json.loads, lines[1:]), 2)
            rows = [(n, row) for n, row in numbered if "text" not in row]  # workloads
            if Target.parse(head["target"]["target"]).vector_bits != target.vector_bits:
                continue
            for number, row in rows:
                wanted = (threads, have.tc, have.llvm)
                better = row["best"] and row["number"] != 0  # 0 is the default
                predicted = row["status"] == PREDICTED
                if not better or (predicted and here):
                    continue
                if (row["threads"], row["tc"], row["llvm"]) == wanted:
                    source = f"{'predicted' if predicted else 'shipped'} ({path.name}:{number})"
                    ratio = 1.0 if row.get("ratio") is None else float(row["ratio"])
                    yield (
                        row["workload"],
                        Record(row["schedule"], source, ratio, not predicted),
                    )
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            said = f"tuning records {path} are not used: {error}"
            warnings.warn(said, RuntimeWarning, stacklevel=2)


def _runs_here(target: Target) -> bool:
    try:
        check_runs_here(target)
    except CompileError:
        return False
    return True
