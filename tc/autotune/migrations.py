"""The schema of the tuning database: named migrations, each applied once, in one transaction.

A migration that has been published is never changed: another one follows it. The views are for
people, who open the file with sqlite-utils or datasette. This module must not read or write rows.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from tc.frozen import frozen

APPLICATION_ID: Final = 0x54435442  # "TCTB"


@frozen
class Migration:
    """A step of the schema's history; `user_version` of a file counts those that it has."""

    name: str
    statements: tuple[str, ...]


_TARGETS = """
CREATE TABLE targets (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    cpu TEXT NOT NULL,
    features TEXT NOT NULL,
    vector_bits INTEGER NOT NULL,
    vector_registers INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    l1d_bytes INTEGER NOT NULL,
    l2_bytes INTEGER NOT NULL,
    l3_bytes INTEGER NOT NULL,
    peak_gflops_core REAL,
    peak_gflops REAL,
    bandwidth_core REAL,
    bandwidth REAL,
    measured_on TEXT
)"""

_WORKLOADS = """
CREATE TABLE workloads (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    family TEXT NOT NULL,
    constants TEXT NOT NULL,
    text TEXT NOT NULL,
    flops TEXT NOT NULL,
    bytes TEXT NOT NULL
)"""

_TRIALS = """
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    workload_id INTEGER NOT NULL REFERENCES workloads(id),
    target_id INTEGER NOT NULL REFERENCES targets(id),
    threads INTEGER NOT NULL,
    sizes TEXT NOT NULL,
    tc_version TEXT NOT NULL,
    llvm_version TEXT NOT NULL,
    schedule TEXT NOT NULL,
    knobs TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'failed', 'predicted')),
    error TEXT NOT NULL,
    seconds_median REAL,
    seconds_min REAL,
    seconds_p90 REAL,
    default_seconds REAL,
    ratio REAL,
    repeats INTEGER NOT NULL,
    check_error REAL,
    weights TEXT NOT NULL CHECK (weights IN ('hot', 'cold')),
    gflops REAL,
    fraction_of_bound REAL,
    seed INTEGER NOT NULL,
    number INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (workload_id, target_id, threads, sizes, tc_version, llvm_version, schedule)
)"""

_SELECTIONS = """
CREATE TABLE selections (
    id INTEGER PRIMARY KEY,
    workload_id INTEGER NOT NULL REFERENCES workloads(id),
    target_id INTEGER NOT NULL REFERENCES targets(id),
    threads INTEGER NOT NULL,
    tc_version TEXT NOT NULL,
    llvm_version TEXT NOT NULL,
    trial_id INTEGER NOT NULL REFERENCES trials(id),
    model_id INTEGER REFERENCES models(id),
    created_at TEXT NOT NULL,
    UNIQUE (workload_id, target_id, threads, tc_version, llvm_version)
)"""

_MODELS = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    target_id INTEGER NOT NULL REFERENCES targets(id),
    threads INTEGER NOT NULL,
    inputs TEXT NOT NULL,
    tc_version TEXT NOT NULL,
    llvm_version TEXT NOT NULL,
    default_seconds REAL NOT NULL,
    tuned_seconds REAL NOT NULL,
    seed INTEGER NOT NULL,
    created_at TEXT NOT NULL
)"""

# The best of each workload: what was chosen inside a whole program, else the best alone. A ratio
# to the default, taken in turns, is free of what else the machine did at the time. One schedule
# serves all sizes, so only those count that were measured at every size and are slow at none.
# `only` is a further condition on trials.
BEST: Final = """
WITH served AS (
    SELECT workload_id, target_id, threads, tc_version, llvm_version,
        COUNT(DISTINCT sizes) AS sizes
    FROM trials WHERE ratio IS NOT NULL {only}
    GROUP BY workload_id, target_id, threads, tc_version, llvm_version
), scores AS (
    SELECT workload_id, target_id, threads, tc_version, llvm_version, schedule,
        COUNT(*) AS sizes, AVG(ratio) AS ratio, MAX(status = 'predicted') AS predicted,
        MIN(id) AS trial_id
    FROM trials WHERE ratio IS NOT NULL AND status IN ('ok', 'predicted') {only}
    GROUP BY workload_id, target_id, threads, tc_version, llvm_version, schedule
    HAVING MAX(ratio) <= 1.02
), ranked AS (
    SELECT scores.*, ROW_NUMBER() OVER (
        PARTITION BY workload_id, target_id, threads, tc_version, llvm_version
        ORDER BY predicted, ratio, trial_id
    ) AS place
    FROM scores
    JOIN served USING (workload_id, target_id, threads, tc_version, llvm_version, sizes)
)
SELECT workloads.name AS workload, workloads.family, targets.target, targets.cpu,
    best.threads, best.sizes, best.schedule, best.status,
    CASE WHEN selections.id IS NULL THEN 'alone' ELSE 'in the program' END AS chosen,
    best.seconds_median AS seconds, best.default_seconds,
    COALESCE(best.ratio, ranked.ratio) AS ratio, 1 / best.ratio AS gain, best.gflops,
    best.fraction_of_bound, best.weights, best.tc_version, best.llvm_version, best.created_at,
    workloads.hash AS workload_hash, targets.fingerprint AS target_fingerprint,
    best.id AS trial_id
FROM ranked
LEFT JOIN selections USING (workload_id, target_id, threads, tc_version, llvm_version)
JOIN trials AS best ON best.id = COALESCE(selections.trial_id, ranked.trial_id)
JOIN workloads ON workloads.id = ranked.workload_id
JOIN targets ON targets.id = ranked.target_id
WHERE ranked.place = 1"""

_CURVES = """
CREATE VIEW tuning_curves AS
SELECT workloads.name AS workload, targets.target, trials.threads, trials.sizes, trials.seed,
    ROW_NUMBER() OVER run AS trial,
    MIN(CASE WHEN status = 'ok' THEN seconds_median END) OVER run AS best_seconds,
    MIN(CASE WHEN status = 'ok' THEN ratio END) OVER run AS best_ratio,
    trials.status, trials.created_at, workloads.hash AS workload_hash
FROM trials
JOIN workloads ON workloads.id = trials.workload_id
JOIN targets ON targets.id = trials.target_id
WINDOW run AS (
    PARTITION BY workload_id, target_id, threads, sizes, tc_version, llvm_version, seed
    ORDER BY trials.number, trials.id ROWS UNBOUNDED PRECEDING
)"""

_DEVICES = """
CREATE VIEW device_summary AS
SELECT targets.target, targets.cpu, workloads.family,
    COUNT(DISTINCT trials.workload_id) AS workloads, COUNT(*) AS trials,
    SUM(trials.status = 'failed') AS failed, SUM(trials.status = 'predicted') AS predicted,
    MAX(trials.gflops) AS best_gflops, MAX(trials.fraction_of_bound) AS best_fraction_of_bound,
    MAX(trials.created_at) AS last_tuned, trials.tc_version, trials.llvm_version,
    targets.fingerprint AS target_fingerprint
FROM trials
JOIN workloads ON workloads.id = trials.workload_id
JOIN targets ON targets.id = trials.target_id
GROUP BY targets.id, workloads.family, trials.tc_version, trials.llvm_version"""

MIGRATIONS: Final = (
    Migration(
        "tables",
        (
            _TARGETS,
            _WORKLOADS,
            _TRIALS,
            _MODELS,
            _SELECTIONS,
            "CREATE INDEX trials_of_target ON trials (target_id, workload_id, ratio)",
            "CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)",
        ),
    ),
    Migration(
        "views", (f"CREATE VIEW best_schedules AS {BEST.format(only='')}", _CURVES, _DEVICES)
    ),
    Migration(
        "features",
        (
            "CREATE TABLE features (trial_id INTEGER PRIMARY KEY REFERENCES trials(id) "
            "ON DELETE CASCADE, layout INTEGER NOT NULL, data TEXT NOT NULL)",
        ),
    ),
    Migration(
        "runs",
        (
            "CREATE TABLE runs (hash TEXT PRIMARY KEY, seed INTEGER NOT NULL, "
            "trials INTEGER NOT NULL)",
        ),
    ),
)


def migrate(connection: sqlite3.Connection, now: str) -> None:
    """Apply, inside the caller's transaction, what the file does not have yet.

    Args:
        now: the time as text, noted beside each migration's name.
    """
    (have,) = connection.execute("PRAGMA user_version").fetchone()
    for number, migration in enumerate(MIGRATIONS[have:], have + 1):
        for statement in migration.statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (migration.name, now))
        connection.execute(f"PRAGMA user_version = {number}")
    if have == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
