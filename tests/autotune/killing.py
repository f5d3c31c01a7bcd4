"""Tuning runs in processes that are forked from a warm one and killed, by SIGKILL, where told to.

Most kill themselves at a statement of SQL, so that each moment of a transaction has its turn,
opening a new file too; others are killed from outside after a while.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tc.autotune.database import Database
from tc.autotune.session import Session, Wanted
from tests.autotune.fake_tuning import BATCH, V3, VERSIONS, Fake, target_row
from tests.autotune.workloads import WORKLOADS, product

TRIALS = 14
STATEMENTS = 150  # of a whole run, about
SECONDS = 0.3  # that it takes, about
LIMIT = 60.0
# Made once, before the processes that use them are forked, see `tests.autotune.warm`.
WORKLOADS_TRIED = (
    ("odd", product(9, 10, 11)(V3), ()),
    ("gelu", WORKLOADS["gelu"](V3), (9,)),
    ("sums", WORKLOADS["column sums"](V3), (9,)),
)


def session(database: Database) -> Session:
    tried = [Wanted(*each) for each in WORKLOADS_TRIED]
    target = target_row(V3, "some cpu")
    return Session(database, target, VERSIONS, 2, tried, batch=BATCH)


def run(path: Path, kill_at: int = 0) -> None:
    """A run to its end; or to the statement of that number, which ends this process."""
    if kill_at:
        sqlite3.connect = _deadly(kill_at)  # type: ignore[assignment]
    with Database.open(path) as database:
        session(database).run(Fake(), TRIALS)


def _deadly(kill_at: int) -> Callable[..., Any]:
    """As `sqlite3.connect`, of connections that count their statements."""
    connect, seen = sqlite3.connect, []

    def statement(text: str) -> None:
        seen.append(text)
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def made(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(statement)
        return connection

    return made


def killed(path: Path, random: Random) -> bool:
    """Start a run and have it killed; whether it was, before its end."""
    outside = random.random() < 0.2
    child = start(path, 0 if outside else random.randrange(1, STATEMENTS))
    if outside:
        child.join(random.random() * SECONDS)
        child.kill()
    return ended(child) != 0


def start(path: Path, kill_at: int = 0) -> Any:
    """`run` in a process forked from a warm one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.autotune.warm"])
    child = context.Process(target=run, args=(path, kill_at))
    child.start()
    return child


def ended(child: Any) -> int:
    """The exit status of a process, 0 or that of one that was killed."""
    child.join(LIMIT)
    assert child.exitcode in (0, -signal.SIGKILL)
    return int(child.exitcode)
