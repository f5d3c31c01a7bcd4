"""A tuning run whose times are made up from the schedule's text: quick, and always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tc.autotune.bench import Task
from tc.autotune.database import Database
from tc.autotune.measure import Outcome
from tc.autotune.rows import Versions, target_row
from tc.autotune.session import Session, Wanted
from tc.autotune.turns import Measured
from tc.target import Target
from tests.autotune.workloads import WORKLOADS, product

V3 = Target.parse("x86-64-v3 cores=2 l3=32M")
VERSIONS = Versions("0.1.0", "22.1")
BATCH = 4


class Fake:
    """As `Measurer`; counts what it is asked, and stops the run when it is told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.stop_after = stop_after

    def get_ready(self) -> None:
        """It is."""

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]:
        for number, schedule in enumerate(schedules):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(f"{task.text} {schedule}")
            yield outcome(number, schedule)


def outcome(number: int, schedule: str) -> Outcome:
    digest = hashlib.sha256(schedule.encode()).digest()
    if digest[0] < 20:
        return Outcome(number, None, "it is ended by SIGSEGV")
    ratio = 0.5 + digest[1] / 256
    return Outcome(number, Measured(ratio * 1e-3, 1e-4, 2e-3, 1e-3, ratio, 7, 0.1))


def wanted() -> list[Wanted]:
    return [
        Wanted("gemm", product(None, 24, 40)(V3), (16,), calls=3),
        Wanted("sums", WORKLOADS["column sums"](V3), (9,)),
        Wanted("odd", product(9, 10, 11)(V3), ()),
    ]


def session(database: Database, seed: int = 0) -> Session:
    return Session(
        database, target_row(V3, "some cpu"), VERSIONS, 2, wanted(), seed=seed, batch=BATCH
    )


def trials_of(path: Path) -> list[tuple[object, ...]]:
    """What was tried, without when."""
    with Database.open(path, create=False) as database:
        database.verify()
        rows = database.query(
            "SELECT hash, schedule, knobs, status, ratio, seed, number FROM trials "
            "JOIN workloads ON workloads.id = workload_id ORDER BY trials.id"
        )
    return [tuple(row.values()) for row in rows]
