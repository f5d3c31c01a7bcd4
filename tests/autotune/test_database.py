"""The tuning database: what it keeps, and what it survives."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from tc.autotune.database import Database
from tc.autotune.history import put_features
from tc.autotune.migrations import APPLICATION_ID, MIGRATIONS
from tc.autotune.rows import FAILED, PREDICTED
from tc.autotune.upkeep import prune
from tc.errors import TuningError
from tests.autotune.conftest import a_context, a_target, a_trial, a_workload, fill


def test_a_trial_comes_back_as_it_was(path: Path) -> None:
    context = fill(path, [a_trial(0), a_trial(1, None, status=FAILED)])
    with Database.open(path, create=False) as database:
        first, second = database.trials(context)
        assert (first["ratio"], first["schedule"], first["status"]) == (0.9, "split(j, 1)", "ok")
        assert second["seconds_median"] is None
        assert second["status"] == "failed"
        database.verify()


def test_one_schedule_is_measured_once(path: Path) -> None:
    context = fill(path, [a_trial(0, 0.9, "split(j, 2)")])
    with Database.open(path) as database:
        assert not database.put_trial(context, a_trial(1, 0.1, "split(j, 2)"))
        (kept,) = database.trials(context)
        assert kept["ratio"] == 0.9


def test_a_measurement_takes_the_place_of_a_prediction(path: Path) -> None:
    context = fill(path, [a_trial(0, 0.5, "split(j, 2)", PREDICTED)])
    with Database.open(path) as database:
        assert database.put_trial(context, a_trial(1, 0.7, "split(j, 2)"))
        assert not database.put_trial(context, a_trial(2, 0.1, "split(j, 2)", PREDICTED))
        (kept,) = database.trials(context)
        assert (kept["status"], kept["ratio"]) == ("ok", 0.7)


def test_ids_tell_the_order_of_measurements(path: Path) -> None:
    context = fill(path, [a_trial(0, 0.5, "split(j, 9)", PREDICTED), a_trial(1, 0.9)])
    with Database.open(path) as database:
        database.put_trial(context, a_trial(2, 0.7, "split(j, 9)"))
        assert [each["number"] for each in database.trials(context)] == [1, 2]


def test_pruning_counts_trials_alone(path: Path) -> None:
    context = fill(path, [])
    with Database.open(path) as database:
        for trial in (a_trial(n, 1.0 - n / 10) for n in range(4)):
            database.put_trial(
                context, trial, lambda c, t=trial: put_features(c, context, t.schedule, [1.0])
            )
        assert prune(database, 1, None) == 2  # neither the best nor the default
        assert database.query("SELECT COUNT(*) AS n FROM features") == [{"n": 2}]


def test_the_best_is_slow_at_no_size(path: Path) -> None:
    fill(path, [a_trial(0, 1.0, ""), a_trial(1, 0.5), a_trial(2, 0.8)])
    with Database.open(path) as database:
        (best,) = database.query("SELECT * FROM best_schedules")
        assert best["schedule"] == "split(j, 2)"
    fill(path, [a_trial(0, 1.0, ""), a_trial(1, 1.5), a_trial(2, 0.9)], "n0=32")
    with Database.open(path) as database:
        (best,) = database.query("SELECT * FROM best_schedules")
        assert best["schedule"] == "split(j, 3)"
        assert best["ratio"] == pytest.approx(0.8)


def test_what_was_chosen_in_a_program_is_the_best(path: Path) -> None:
    context = fill(path, [a_trial(0, 0.5), a_trial(1, 0.8)])
    with Database.open(path) as database:
        database.select(context, "split(j, 2)", None)
        (best,) = database.query("SELECT * FROM best_schedules")
        assert (best["schedule"], best["chosen"]) == ("split(j, 2)", "in the program")
        with pytest.raises(TuningError, match="has no trial"):
            database.select(context, "split(j, 9)", None)


def test_a_curve_only_falls(path: Path) -> None:
    fill(path, [a_trial(n, r) for n, r in enumerate((1.0, 0.7, 0.9, 0.6))])
    with Database.open(path) as database:
        rows = database.query("SELECT best_ratio FROM tuning_curves ORDER BY trial")
        assert [r["best_ratio"] for r in rows] == [1.0, 0.7, 0.7, 0.6]
        (device,) = database.query("SELECT * FROM device_summary")
        assert (device["workloads"], device["trials"], device["best_gflops"]) == (1, 4, 2.0)


def test_a_failed_transaction_leaves_nothing(path: Path) -> None:
    fill(path, [a_trial(0)])
    with Database.open(path) as database:
        with pytest.raises(TuningError, match="no such column"):
            _delete_and_fail(database)
        assert database.query("SELECT COUNT(*) AS n FROM trials") == [{"n": 1}]


def _delete_and_fail(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM trials")
        connection.execute("SELECT missing FROM trials")


def test_migrations_are_noted_and_applied_once(path: Path) -> None:
    for _ in range(2):
        with Database.open(path) as database:
            names = [
                r["name"] for r in database.query("SELECT name FROM migrations ORDER BY rowid")
            ]
            assert names == [m.name for m in MIGRATIONS]


def test_an_older_schema_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for module in ("database", "migrations"):
            patch.setattr(f"tc.autotune.{module}.MIGRATIONS", MIGRATIONS[:1])
        Database.open(path).close()
    with Database.open(path) as database:
        assert database.query("SELECT * FROM best_schedules") == []


def a_foreign_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.execute("PRAGMA application_id = 7")
    connection.close()


def a_newer_file(path: Path) -> None:
    fill(path, [a_trial(0)])
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()


def a_damaged_file(path: Path) -> None:
    fill(path, [a_trial(n) for n in range(60)])
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data) - 4096, 4096):
        data[at : at + 400] = b"\xff" * 400
    path.write_bytes(data)


def a_cut_file(path: Path) -> None:
    fill(path, [a_trial(n) for n in range(60)])
    path.write_bytes(path.read_bytes()[:9_000])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("hello, I am no database" * 20), "not a tuning database"),
        (lambda path: path.write_bytes(b"SQLite format 3\0"), "not a tuning database"),
        (a_foreign_file, "a database of another application"),
        (a_newer_file, "its schema is version 5, this tc knows versions up to 4"),
        (a_damaged_file, "malformed|damaged|tree|page|corrupt"),
        (a_cut_file, "malformed|damaged|tree|page|corrupt"),
        (lambda path: path.mkdir(), "directory"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_untouched(path: Path, make, said: str) -> None:
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(TuningError, match=said) as caught:
        Database.open(path)
    assert "\n" not in caught.value.message.strip()
    assert (None if path.is_dir() else path.read_bytes()) == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_file_and_no_folder(path: Path) -> None:
    with pytest.raises(TuningError, match="no such file"):
        Database.open(path, create=False)
    assert not path.exists()
    with pytest.raises(TuningError, match="folder that exists"):
        Database.open(path / "x" / "y.db")


def test_reading_only_cannot_write(path: Path) -> None:
    context = fill(path, [a_trial(0)])
    before = path.read_bytes()
    with (
        Database.open(path, readonly=True) as database,
        pytest.raises(TuningError, match="may write to"),
    ):
        database.put_trial(context, a_trial(1))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.getuid() != 0, reason="takes a second user to be refused as")
def test_a_file_that_may_not_be_written_is_refused_clearly() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "tuning.db"
        context = fill(path, [a_trial(0)])
        before = path.read_bytes()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                with Database.open(path) as database:
                    database.put_trial(context, a_trial(1))
            except TuningError as error:
                status = 0 if "may write to" in error.message else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert path.read_bytes() == before


class Writer(ForkProcess):
    """A process that enters trials, and says the number of each in a line, at last what failed.

    It is forked: a new one would import for longer than it writes.
    """

    def __init__(self, path: Path, first: int, count: int, limit: int = 0) -> None:
        super().__init__()
        self.given = (path, first, count, limit)
        said, self.out = os.pipe()
        self.said = os.fdopen(said)
        self.start()
        os.close(self.out)

    def run(self) -> None:
        path, first, count, limit = self.given
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with os.fdopen(self.out, "w") as out:
            try:
                with Database.open(path) as database:
                    context = a_context(a_workload(), a_target())
                    database.put_target(a_target())
                    database.put_workload(a_workload())
                    for n in range(first, first + count):
                        if database.put_trial(context, a_trial(n)):
                            print(n, file=out, flush=True)
            except TuningError as error:
                print(error.message, file=out)

    def lines(self) -> list[str]:
        """The rest of what it says, once it has ended."""
        with self.said:
            found = self.said.read().splitlines()
        self.join(120)
        return found


def numbers(path: Path) -> set[int]:
    with Database.open(path, create=False) as database:
        database.verify()
        return {r["number"] for r in database.trials(a_context(a_workload(), a_target()))}


def test_eight_processes_write_one_new_file_at_once_and_others_read_it(path: Path) -> None:
    writers = [Writer(path, 10 * n, 12) for n in range(8)]  # the ranges overlap by two
    seen: set[int] = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists() and path.stat().st_size:
            found = numbers(path)
            assert seen <= found
            seen = found
        time.sleep(0.005)
    entered = [int(line) for writer in writers for line in writer.lines()]
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert sorted(entered) == list(range(82))  # each once, by whichever process came first
    assert numbers(path) == set(range(82))


def test_a_killed_process_loses_no_committed_trial(path: Path) -> None:
    seen: set[int] = set()
    for turn in range(4):
        writer = Writer(path, 1000 * turn, 1000)
        seen.add(int(writer.said.readline()))
        time.sleep(0.006 * turn)
        writer.kill()
        seen.update(map(int, writer.lines()))
        assert writer.exitcode == -signal.SIGKILL
        assert seen <= numbers(path)


def test_what_a_killed_process_left_of_a_commit_is_no_hindrance_to_readers(path: Path) -> None:
    fill(path, [a_trial(0)])
    killed = path.with_name("killed.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # so that it writes before it is to commit
    connection.execute("BEGIN IMMEDIATE")
    rows = [(f"{n:0100}", "now") for n in range(500)]
    connection.executemany("INSERT INTO migrations VALUES (?, ?)", rows)
    for end in ("", "-journal"):
        shutil.copy(f"{path}{end}", f"{killed}{end}")
    connection.close()
    with Database.open(killed, readonly=True) as database:
        database.verify()
        assert len(database.query("SELECT * FROM migrations")) == len(MIGRATIONS)


def test_a_full_disk_is_one_error_and_loses_nothing(path: Path) -> None:
    fill(path, [a_trial(n) for n in range(20)])
    *entered, said = Writer(path, 100, 5000, limit=path.stat().st_size + 20_000).lines()
    assert "make room" in said
    assert numbers(path) == set(range(20)) | set(map(int, entered))


def test_the_application_is_written_into_the_file(path: Path) -> None:
    Database.open(path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_the_file_opens_with_sqlite_utils(path: Path) -> None:
    fill(path, [a_trial(0)])
    with Database.open(path) as database:
        assert set(database.utils.view_names()) == {
            "best_schedules",
            "tuning_curves",
            "device_summary",
        }
