"""The tuning database: one sqlite file that many processes use and that survives being killed.

Every trial is committed by itself in a short transaction that takes the write lock at its start,
with a journal that is deleted at the commit: the write-ahead log of older versions of SQLite can
damage a file that several processes have open. A file that is not ours is not touched. This module
must not decide what is measured, nor what a schedule means.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tc.autotune.migrations import APPLICATION_ID, MIGRATIONS, migrate
from tc.autotune.rows import PREDICTED, Context, TargetRow, Trial, WorkloadRow, columns
from tc.errors import TuningError, describe

if TYPE_CHECKING:
    import sqlite_utils

BUSY_SECONDS: Final = 60.0
_HEADER: Final = b"SQLite format 3\0"
_VERSION_AT, _APPLICATION_AT = 60, 68  # of the file's header, 4 bytes each, big-endian


class Database:
    """An open database, for one thread. Use it as a context manager, or `close` it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @staticmethod
    def open(
        path: str | Path, *, create: bool = True, readonly: bool = False, check: bool = True
    ) -> Database:
        """Open a file, made where there is none; `check` looks whether its pages are sound.

        With `readonly` nothing is written by this connection, but that what a killed process has
        left of a transaction is taken back, without which the file could not be read.

        Raises:
            TuningError: no such file (without `create`), a file of another application, a damaged
                one, one of a newer tc, or one that the system does not let us use.
        """
        path = Path(path)
        fresh = not path.exists()
        if fresh and (readonly or not create):
            raise _refused(path, "no such file", "tune something first, or name another file")
        _check_header(path)
        mode = "rw" if readonly else "rwc"  # a file that may only be read is opened for that
        with _explained(path):
            # `as_uri` quotes what a path may hold.
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
            found = Database(path, connection)
            try:
                found._prepare(readonly, check)
            except BaseException:
                connection.close()
                raise
        return found

    @staticmethod
    def own(path: Path) -> Database:
        """Open this user's file, in a folder that is made where there is none; as `open`."""
        with contextlib.suppress(OSError):  # opening says what is wrong
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Database.open(path)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was written is on disk already."""
        self._connection.close()

    @property
    def is_empty(self) -> bool:
        """Whether it has no tables yet, as whoever is killed in making it leaves it."""
        return bool(self.query("PRAGMA user_version")[0]["user_version"] == 0)

    @property
    def utils(self) -> sqlite_utils.Database:
        """The same connection as a sqlite-utils database, to look around in."""
        import sqlite_utils

        return sqlite_utils.Database(self._connection)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """The rows of a SELECT, by column."""
        with _explained(self.path):
            cursor = self._connection.execute(sql, tuple(parameters))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start; all of it, or nothing."""
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def put_target(self, row: TargetRow) -> int:
        """Enter a target, or what is newly measured of it; its id."""
        with self.transaction() as connection:
            return insert_target(connection, row)

    def put_workload(self, row: WorkloadRow) -> int:
        """Enter a workload; its id."""
        with self.transaction() as connection:
            return insert_workload(connection, row)

    def put_trial(
        self,
        context: Context,
        trial: Trial,
        beside: Callable[[sqlite3.Connection], None] | None = None,
    ) -> bool:
        """Commit a trial whose workload and target were entered; False if it was known already.

        A measurement takes the place of a prediction, and nothing the place of a measurement.
        `beside` writes what belongs to a new trial, in the same transaction.
        """
        values = columns(trial)
        values["created_at"] = trial.created_at or now()
        with self.transaction() as connection:
            new = insert_trial(connection, context, values)
            if new and beside is not None:
                beside(connection)
            return new

    def trials(self, context: Context) -> list[dict[str, Any]]:
        """The trials made under these conditions, in the order in which they were entered."""
        return self.query(
            f"SELECT trials.* FROM trials {_JOINED} WHERE {_CONTEXT} ORDER BY trials.id",
            _context(context),
        )

    def select(self, context: Context, schedule: str, model_id: int | None) -> None:
        """Note that among a workload's trials this one was the best in a whole program."""
        with self.transaction() as connection:
            found = connection.execute(
                f"SELECT trials.id, workload_id, target_id FROM trials {_JOINED} "
                f"WHERE {_CONTEXT} AND schedule = ?",
                (*_context(context), schedule),
            ).fetchone()
            if found is None:
                raise TuningError(
                    describe(f"schedule {schedule!r}", where=str(self.path), why="has no trial")
                )
            connection.execute(
                "INSERT OR REPLACE INTO selections (workload_id, target_id, threads, tc_version, "
                "llvm_version, trial_id, model_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (found[1], found[2], context.threads, context.versions.tc, context.versions.llvm,
                 found[0], model_id, now()),
            )  # fmt: skip

    def put_model(self, row: Mapping[str, object]) -> int:
        """Enter the latencies of a whole model; its id."""
        with self.transaction() as connection:
            made = _insert(connection, "models", {**row, "created_at": now()})
            return int(made.lastrowid or 0)

    def verify(self) -> None:
        """Raises TuningError if any page, index or reference of the file is damaged."""
        with _explained(self.path):
            said = [row[0] for row in self._connection.execute("PRAGMA integrity_check(5)")]
            if said != ["ok"]:
                raise sqlite3.DatabaseError("; ".join(said))
            if self._connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise sqlite3.DatabaseError("a trial without its workload or target")

    def _prepare(self, readonly: bool, check: bool) -> None:
        connection = self._connection
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA query_only = {int(readonly)}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if check:
            said = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
            if said != ["ok"]:
                raise sqlite3.DatabaseError(said[0])
        if version >= len(MIGRATIONS) or readonly:
            return
        with self.transaction():
            migrate(connection, now())


def now() -> str:
    """The time as the database keeps it, to the microsecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def insert_target(connection: sqlite3.Connection, row: TargetRow) -> int:
    """Enter a target in the caller's transaction; see `Database.put_target`."""
    values = columns(row)
    rates = [n for n in ("peak_gflops_core", "peak_gflops", "bandwidth_core", "bandwidth",
                         "measured_on") if values[n] is not None]  # fmt: skip
    update = ", ".join(f"{n} = excluded.{n}" for n in rates) or "cpu = excluded.cpu"
    return _upsert(connection, "targets", "fingerprint", values, update)


def insert_workload(connection: sqlite3.Connection, row: WorkloadRow) -> int:
    """Enter a workload in the caller's transaction; see `Database.put_workload`."""
    return _upsert(connection, "workloads", "hash", columns(row), "name = excluded.name")


def insert_trial(
    connection: sqlite3.Connection, context: Context, values: Mapping[str, object]
) -> bool:
    """Enter a trial in the caller's transaction; see `Database.put_trial`."""
    ids = connection.execute(
        "SELECT workloads.id, targets.id FROM workloads, targets WHERE hash = ? AND "
        "fingerprint = ?",
        (context.workload, context.target),
    ).fetchone()
    if ids is None:
        raise TuningError(
            describe("trial", why="of a workload or target that was not entered before it")
        )
    key = {
        "workload_id": ids[0],
        "target_id": ids[1],
        "threads": context.threads,
        "sizes": context.sizes,
        "tc_version": context.versions.tc,
        "llvm_version": context.versions.llvm,
        "schedule": values["schedule"],
    }
    if values["status"] != PREDICTED:
        # Ids tell the order in which trials were made, so that a measurement gets one of its own.
        same = " AND ".join(f"{name} = ?" for name in key)
        connection.execute(
            f"DELETE FROM trials WHERE {same} AND status = ?", (*key.values(), PREDICTED)
        )
    made = _insert(connection, "trials", {**key, **values}, "ON CONFLICT DO NOTHING")
    return made.rowcount == 1


_JOINED = (
    "JOIN workloads ON workloads.id = trials.workload_id "
    "JOIN targets ON targets.id = trials.target_id"
)
_CONTEXT = (
    "workloads.hash = ? AND targets.fingerprint = ? AND trials.threads = ? AND trials.sizes = ? "
    "AND trials.tc_version = ? AND trials.llvm_version = ?"
)


def _context(context: Context) -> tuple[object, ...]:
    versions = context.versions
    return (context.workload, context.target, context.threads, context.sizes,
            versions.tc, versions.llvm)  # fmt: skip


def _insert(
    connection: sqlite3.Connection, table: str, values: Mapping[str, object], conflict: str = ""
) -> sqlite3.Cursor:
    places = ", ".join("?" * len(values))
    sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) {conflict}"
    return connection.execute(sql, tuple(values.values()))


def _upsert(
    connection: sqlite3.Connection, table: str, key: str, values: Mapping[str, object], update: str
) -> int:
    _insert(connection, table, values, f"ON CONFLICT ({key}) DO UPDATE SET {update}")
    found = connection.execute(f"SELECT id FROM {table} WHERE {key} = ?", (values[key],))
    return int(found.fetchone()[0])


def _check_header(path: Path) -> None:
    """Refuse, before SQLite sees it, a file that is no database of ours."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(path, str(error.strerror), "name a file that you may read") from error
    if not header:
        return  # an empty file is an empty database
    if Path(f"{path}-journal").exists() and header[:16] in (_HEADER, bytes(16)):
        return  # a write was cut short; SQLite first takes it back
    if header[:16] != _HEADER or len(header) < 100:
        raise _refused(path, "not a tuning database, or a damaged one", "name another file")
    application = int.from_bytes(header[_APPLICATION_AT : _APPLICATION_AT + 4], "big")
    version = int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4], "big")
    if application != APPLICATION_ID:
        raise _refused(path, "a database of another application", "name another file")
    if version > len(MIGRATIONS):
        why = f"its schema is version {version}, this tc knows versions up to {len(MIGRATIONS)}"
        raise _refused(path, why, "use the tc that wrote it, or another file")


def _refused(path: Path, why: str, way_out: str) -> TuningError:
    return TuningError(describe(f"tuning database {path}", why=why, way_out=way_out))


_WAYS_OUT: Final = (
    ("readonly", "name a file that you may write to"),
    ("full", "make room; everything committed before is kept"),
    ("disk i/o", "make room, or use another disk; everything committed before is kept"),
    ("locked", "another program holds it: wait for it, or end it"),
    ("unable to open", "name a file in a folder that exists and that you may write to"),
    ("no such table", "it is no finished tuning database: name another file"),
)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one of ours that says what can be done."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        known = [way for word, way in _WAYS_OUT if word in said.lower()]
        way_out = known[0] if known else "export what can be read to a shard, then start a new file"
        raise _refused(path, said, way_out) from error
