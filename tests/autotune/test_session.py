"""A tuning run: it learns, ends, goes on where it was killed, and measures nothing twice."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import pytest

from tc.autotune.database import Database
from tc.autotune.history import Seen, groups_of
from tc.autotune.measure import BusyError, Outcome
from tc.autotune.recount import recount
from tc.autotune.rows import target_row
from tc.autotune.session import Session, Wanted
from tc.autotune.shards import export_shard, import_shard, merge
from tc.errors import TuningError
from tests.autotune import killing
from tests.autotune.fake_tuning import BATCH, V3, VERSIONS, Fake, session, trials_of, wanted
from tests.autotune.workloads import WORKLOADS, product

TRIALS = 18


def run(path: Path, trials: int, seed: int = 0, stop_after: int | None = None) -> list[str]:
    """What was measured; a run that is stopped leaves what it has."""
    fake = Fake(stop_after)
    with Database.open(path) as database:
        try:
            session(database, seed).run(fake, trials)
        except KeyboardInterrupt:
            assert stop_after is not None
    return fake.asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The trials of a run that nothing stopped."""
    path = tmp_path_factory.mktemp("whole") / "tuning.db"
    asked = run(path, TRIALS)
    assert len(asked) == len(set(asked)) == TRIALS
    return trials_of(path)


def test_every_workload_is_tried_from_its_default_on(whole: list[tuple[object, ...]]) -> None:
    first = [row for row in whole if row[6] == 0]
    assert len(first) == 3
    assert all(row[4] in (1.0, None) for row in first)
    assert {row[3] for row in whole} == {"ok", "failed"}


def test_a_run_is_a_function_of_its_seed(
    whole: list[tuple[object, ...]], path: Path, tmp_path: Path
) -> None:
    run(path, TRIALS)
    assert trials_of(path) == whole
    other = tmp_path / "other.db"
    run(other, TRIALS, seed=1)
    assert trials_of(other) != whole


def test_a_run_that_is_stopped_anywhere_goes_on_as_if_it_had_not_been(
    whole: list[tuple[object, ...]], path: Path
) -> None:
    asked: list[str] = []
    for turn in range(4):
        asked += run(path, TRIALS, stop_after=(3, 1, 7, 2)[turn])
    asked += run(path, TRIALS)
    assert len(asked) == len(set(asked)) == TRIALS
    assert trials_of(path) == whole


def test_a_run_that_is_done_measures_nothing(path: Path) -> None:
    run(path, 8)
    assert run(path, 8) == []
    assert len(run(path, 13)) == 5


def test_another_seed_measures_nothing_again(path: Path) -> None:
    asked = run(path, 15) + run(path, 15, seed=1)
    assert len(asked) == len(set(asked)) == 30


def test_a_model_that_shares_workloads_has_trials_of_its_own(path: Path) -> None:
    def tuned(names: str, stop_after: int | None = None) -> tuple[list[str], int]:
        fake = Fake(stop_after)
        with Database.open(path) as database:
            chosen = [w for w in wanted() if w.name in names.split()]
            made = Session(database, target_row(V3, ""), VERSIONS, 2, chosen, batch=BATCH)
            with contextlib.suppress(KeyboardInterrupt):
                made.run(fake, 10)
        return fake.asked, made.done

    asked, made = tuned("gemm sums", 7)
    assert made == 7
    for names, done in (("gemm odd", 10), ("gemm sums", 10), ("gemm odd", 10)):
        more, made = tuned(names)
        assert made == done
        asked += more
    assert len(asked) == len(set(asked)) == 20


def test_it_ends_when_nothing_is_left(path: Path) -> None:
    small = Wanted("sums", WORKLOADS["column sums"](V3), (9,))
    fake = Fake()
    with Database.open(path) as database:
        made = Session(database, target_row(V3, ""), VERSIONS, 1, [small])
        made.run(fake, 1000)
        assert made.jobs[0].exhausted
        assert made.done == len(fake.asked) == made.jobs[0].space.size()


def test_time_is_up(path: Path) -> None:
    ticks = iter(range(100))
    fake = Fake()
    with Database.open(path) as database:
        session(database).run(fake, 1000, time_limit=8, clock=lambda: float(next(ticks)))
    assert 0 < len(fake.asked) < 20


class Busy(Fake):
    """Measures nothing on a busy machine; after so many refusals it is free."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def measure(self, task, schedules):
        for found in super().measure(task, schedules):
            self.refusals -= 1
            if self.refusals >= 0:
                self.asked.pop()
                yield Outcome(found.number, None, "other work", disturbed=True)
            else:
                yield found


def test_what_could_not_be_measured_is_measured_later(path: Path) -> None:
    busy = Busy(9)
    with Database.open(path) as database:
        session(database).run(busy, 8)
    assert len(trials_of(path)) == len(busy.asked) == 8
    assert "other work" not in str(trials_of(path))


def test_a_machine_that_stays_busy_ends_the_run(path: Path) -> None:
    with (
        Database.open(path) as database,
        pytest.raises(BusyError, match="the same command goes on"),
    ):
        session(database).run(Busy(10_000), 8)
    assert trials_of(path) == []


class Refusing(Fake):
    """Cannot measure one workload; or nobody is there to measure any."""

    def __init__(self, workload: str, error: TuningError) -> None:
        super().__init__()
        self.workload, self.error = workload, error

    def measure(self, task, schedules):
        if self.workload in task.text:
            raise self.error
        yield from super().measure(task, schedules)


def test_a_workload_that_cannot_be_measured_is_left_to_the_others(path: Path) -> None:
    with Database.open(path) as database:
        made = session(database)
        refused = made.jobs[0].key.text
        fake = Refusing(refused, TuningError("it cannot be measured"))
        made.run(fake, 8)
        assert [job.stopped for job in made.jobs] == ["it cannot be measured", "", ""]
        assert (made.done, made.measured) == (8, 8)
        with pytest.raises(BusyError, match="nobody"):
            session(database, 1).run(Refusing("def", BusyError("nobody is there")), 8)


def test_a_database_that_fails_ends_the_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise TuningError("make room")

    fake = Fake()
    with Database.open(path) as database:
        made = session(database)
        monkeypatch.setattr(database, "put_trial", full)
        with pytest.raises(TuningError, match="make room"):
            made.run(fake, 20)
    assert len(fake.asked) == 1


def test_what_somebody_wrote_into_the_file_ends_no_run(path: Path) -> None:
    run(path, 14)
    with Database.open(path) as database:
        with database.transaction() as connection:
            for number, change in enumerate(
                (
                    "knobs = 'garbage'", "knobs = x'ff'", "ratio = 'fast'", "ratio = -1",
                    "ratio = 0.01, schedule = 'nonsense('", "ratio = 9e999", "seconds_min = 'x'",
                    "repeats = -5", "default_seconds = 'long'", "seed = 'x'", "number = x'00'",
                )
            ):  # fmt: skip
                connection.execute(f"UPDATE trials SET {change} WHERE id = ?", (number + 1,))
            connection.execute("UPDATE features SET data = '{' WHERE trial_id = 10")
            connection.execute("UPDATE features SET data = '7' WHERE trial_id = 11")
            connection.execute("UPDATE features SET data = x'00' WHERE trial_id = 12")
        made = session(database)
        made.run(Fake(), 30)
        assert made.done == 30
        assert all(job.best is not None for job in made.jobs)


def test_what_was_seen_is_kept_for_the_cost_model(path: Path) -> None:
    run(path, 12)
    with Database.open(path) as database:
        groups = groups_of(database)
        assert sum(len(g.speeds) for g in groups) == 12
        (row,) = database.query("SELECT MIN(id) + 4 AS id FROM trials")
        assert sum(len(g.speeds) for g in groups_of(database, row["id"])) == 4


def test_a_hundred_killed_runs_end_where_a_whole_one_does(tmp_path: Path) -> None:
    random = Random(0)
    assert killing.ended(killing.start(tmp_path / "whole.db")) == 0
    whole = trials_of(tmp_path / "whole.db")
    assert len(whole) == killing.TRIALS
    kills = 0
    for turn in range(100):
        path = tmp_path / f"{turn}.db"
        seen: list[tuple[object, ...]] = []
        while kills < 100 and killing.killed(path, random):
            kills += 1
            with contextlib.suppress(TuningError):  # killed before there was a file with tables
                done = trials_of(path)
                assert done[: len(seen)] == seen
                seen = done
        assert killing.ended(killing.start(path)) == 0
        assert trials_of(path) == whole
        if kills == 100:
            return
    pytest.fail(f"only {kills} runs were killed")


def test_what_is_good_at_other_sizes_is_tried_first(path: Path) -> None:
    work = product(None, 24, 40)(V3)

    def tried(rows: int, seed: int = 0) -> list[Seen]:
        with Database.open(path) as database:
            target = target_row(V3, "some cpu")
            wanted = [Wanted("gemm", work, (rows,))]
            made = Session(database, target, VERSIONS, 2, wanted, seed=seed, batch=BATCH)
            made.run(Fake(), 8)
            return made.jobs[0].seen

    first = sorted((s.ratio, s.schedule) for s in tried(16) if s.ratio is not None)
    better = [schedule for ratio, schedule in first if ratio < 1][: BATCH // 2]
    other = tried(32)
    assert better
    assert other[0].ratio == 1.0
    assert [s.schedule for s in other[1 : len(better) + 1]] == better
    assert tried(32) == other  # and it goes on as it began


def test_what_was_seen_goes_with_a_merge(path: Path, tmp_path: Path) -> None:
    run(path, 12)
    with Database.open(path) as one, Database.open(tmp_path / "other.db") as other:
        assert merge(other, one).entered == 12
        assert merge(other, one).entered == 0
        assert groups_of(other) == groups_of(one)


def test_what_comes_from_a_shard_teaches_the_cost_model_too(path: Path, tmp_path: Path) -> None:
    run(path, 12)
    shard = tmp_path / "shard.jsonl"
    with Database.open(path) as one, Database.open(tmp_path / "other.db") as other:
        export_shard(one, shard, target_row(V3, "some cpu").fingerprint, everything=True)
        import_shard(other, shard)
        assert groups_of(other) == []
        assert recount(other) == 12
        assert recount(other) == 0
        known = {tuple(g.speeds): g.features for g in groups_of(one)}
        for group in groups_of(other):
            values = dict(zip(group.speeds, group.features, strict=True))
            (same,) = [k for k in known if set(k) == set(group.speeds)]
            assert values == dict(zip(same, known[same], strict=True))
        with one.transaction() as connection:  # as an older tc left them
            connection.execute("UPDATE features SET layout = layout - 1, data = '[1]'")
        assert groups_of(one) == []
        assert recount(one) == 12
        assert {tuple(g.speeds): g.features for g in groups_of(one)} == known
