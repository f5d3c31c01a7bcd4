"""What a search knows: the trials of a workload so far, read from the database and nowhere else.

Proposals are a function of this, of the seed, and of the number of the batch. A batch that was cut
short is found again by looking at the database as it was before its first trial. This module must
not propose anything.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tc.autotune.cost_model import Group
from tc.autotune.database import Database
from tc.autotune.features import LAYOUT, NAMES
from tc.autotune.rows import FAILED, OK, Context, Trial
from tc.frozen import frozen

NOBODY: Final = -1  # the seed of a trial whose own cannot be read


@frozen
class Seen:
    """A trial that was made: its place in the database, its decisions, and how it did.

    Attributes:
        ratio: of its time to the default's; None where it failed.
        seed, number: of the search that made it.
    """

    id: int
    schedule: str
    knobs: str
    ratio: float | None
    seed: int
    number: int
    seconds: float | None = None
    default: float | None = None


def seen_of(database: Database, context: Context) -> list[Seen]:
    """The trials of a workload, in the order in which they were made."""
    return [
        Seen(
            row["id"],
            str(row["schedule"]),
            str(row["knobs"]),
            _positive(row["ratio"]) if row["status"] == OK else None,
            row["seed"] if isinstance(row["seed"], int) else NOBODY,
            row["number"] if isinstance(row["number"], int) else 0,
            _positive(row["seconds_median"]),
            _positive(row["default_seconds"]),
        )
        for row in database.trials(context)
        if row["status"] in (OK, FAILED)
    ]


def _positive(value: object) -> float | None:
    """A time or a ratio; None for anything else that somebody may have written into the file."""
    return value if isinstance(value, float) and 0 < value < math.inf else None


def good_elsewhere(
    database: Database, context: Context, horizon: int | None, count: int = 4
) -> list[str]:
    """The decisions of the best trials of a workload at its other sizes, the best first.

    At each of them the `count` best that beat the default; `horizon` as in `before`.
    """
    rows = database.query(
        "SELECT knobs, MIN(ratio) AS ratio FROM (SELECT knobs, ratio, trials.id, "
        "ROW_NUMBER() OVER (PARTITION BY sizes ORDER BY ratio, trials.id) AS place FROM trials "
        "JOIN workloads ON workloads.id = workload_id JOIN targets ON targets.id = target_id "
        "WHERE hash = ? AND fingerprint = ? AND threads = ? AND sizes != ? AND tc_version = ? "
        "AND llvm_version = ? AND status = 'ok' AND ratio < 1 AND (? IS NULL OR trials.id < ?)) "
        "WHERE place <= ? GROUP BY knobs ORDER BY 2, 1",
        (context.workload, context.target, context.threads, context.sizes, context.versions.tc,
         context.versions.llvm, horizon, horizon, count),
    )  # fmt: skip
    return [str(row["knobs"]) for row in rows]


def before(seen: Sequence[Seen], horizon: int | None) -> list[Seen]:
    """Those that were there when the trial `horizon` was made; None: all."""
    return [s for s in seen if horizon is None or s.id < horizon]


def batch_of(seen: Sequence[Seen], seed: int, size: int) -> tuple[int, int | None]:
    """The batch that a search is in, and the trial before which it began.

    The batch may be complete. (0, None): it has not begun.
    """
    own = [s for s in seen if s.seed == seed]
    if not own:
        return 0, None
    batch = max(s.number for s in own) // size
    return batch, min(s.id for s in own if s.number // size == batch)


def put_features(
    connection: sqlite3.Connection, context: Context, schedule: str, values: list[float]
) -> None:
    """Keep what the cost model saw of a trial, in the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO features (trial_id, layout, data) SELECT trials.id, ?, ? "
        "FROM trials JOIN workloads ON workloads.id = workload_id "
        "JOIN targets ON targets.id = target_id WHERE hash = ? AND fingerprint = ? AND "
        "threads = ? AND sizes = ? AND tc_version = ? AND llvm_version = ? AND schedule = ?",
        (
            LAYOUT,
            json.dumps([round(x, 4) for x in values]),
            context.workload,
            context.target,
            context.threads,
            context.sizes,
            context.versions.tc,
            context.versions.llvm,
            schedule,
        ),
    )


def run_hash(contexts: Iterable[Context], seed: int) -> str:
    """What a run is known by: its seed, its workloads at their sizes, and where they run.

    Another model may share some of the workloads, and is another run.
    """
    text = "\n".join(sorted(str(context) for context in contexts))
    return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()[:32]


def enter(
    database: Database, context: Context, trial: Trial, values: list[float], run: str
) -> bool:
    """Commit a trial with what the cost model saw of it, and count it for its run; as `put_trial`.

    All in one transaction, lest a run that is killed learn less, or make more trials.
    """

    def beside(connection: sqlite3.Connection) -> None:
        put_features(connection, context, trial.schedule, values)
        connection.execute(
            "INSERT INTO runs (hash, seed, trials) VALUES (?, ?, 1) "
            "ON CONFLICT (hash) DO UPDATE SET trials = trials + 1",
            (run, trial.seed),
        )

    return database.put_trial(context, trial, beside)


def trials_of_run(database: Database, run: str) -> int:
    """How many trials a run has made, in its earlier lives too."""
    rows = database.query("SELECT trials FROM runs WHERE hash = ?", (run,))
    return sum(row["trials"] for row in rows if isinstance(row["trials"], int))


@frozen
class Labelled:
    """Trials that can be compared, with the hash of their workload and the target for people."""

    workload: str
    target: str
    group: Group


def groups_of(database: Database, horizon: int | None = None) -> list[Group]:
    """All trials whose features are kept, by workload and conditions: what a model learns from."""
    return [labelled.group for labelled in labelled_groups(database, horizon)]


def labelled_groups(database: Database, horizon: int | None = None) -> list[Labelled]:
    """As `groups_of`, with what each group is of."""
    rows = database.query(
        "SELECT workload_id, target_id, threads, sizes, tc_version, llvm_version, status, ratio, "
        "seconds_median, seconds_min, seconds_p90, repeats, data, hash, target, cpu "
        "FROM trials JOIN features ON features.trial_id = trials.id "
        "JOIN workloads ON workloads.id = workload_id JOIN targets ON targets.id = target_id "
        "WHERE layout = ? AND status IN ('ok', 'failed') AND (? IS NULL OR trials.id < ?) "
        "ORDER BY trials.id",
        (LAYOUT, horizon, horizon),
    )
    found: dict[tuple[object, ...], Labelled] = {}
    names = ("workload_id", "target_id", "threads", "sizes", "tc_version", "llvm_version")
    for row in rows:
        values = _numbers(row["data"])
        if len(values) != len(NAMES):
            continue
        target = f"{row['target']}, {row['cpu'] or 'any cpu'}, threads={row['threads']}"
        new = Labelled(row["hash"], target, Group([], [], []))
        group = found.setdefault(tuple(row[n] for n in names), new).group
        ratio = _positive(row["ratio"])
        speed = 1 / ratio if row["status"] == OK and ratio else 0.0
        group.features.append(values)
        group.speeds.append(speed)
        group.spreads.append(_spread(row))
    return list(found.values())


def _spread(row: Mapping[str, Any]) -> float:
    """By what share the median of a trial's turns may be off; 0 where there is none."""
    times = [_positive(row[name]) for name in ("seconds_median", "seconds_min", "seconds_p90")]
    median, least, high = (each or 0.0 for each in times)
    if not all(times) or not isinstance(row["repeats"], int) or row["repeats"] < 1:
        return 0.0
    return (high - least) / median / math.sqrt(row["repeats"])


def _numbers(text: object) -> list[float]:
    """The features of a trial; none where the text is not a list of numbers."""
    try:
        return [float(each) for each in json.loads(str(text))]
    except (ValueError, TypeError, RecursionError):
        return []
