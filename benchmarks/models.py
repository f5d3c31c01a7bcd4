"""`python -m benchmarks.models`: whole models, tc beside its peers on the same cores.

Each contender runs in a process of its own, is checked against float64 first, and is timed in
blocks that alternate with the others'.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import load, report
from benchmarks.contenders import CONTENDERS, REFERENCE
from benchmarks.protocol import Array, UnavailableError, WorkerContender, WorkerError
from benchmarks.runner import IDLE_LIMIT, Result, Settings, measure


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a model at one batch size and length (tokens, or pixels a side)."""

    model: str
    batch: int
    length: int
    label: str = "s"

    @property
    def name(self) -> str:
        """As in "BERT-base b1 s128"."""
        return f"{self.model} b{self.batch} {self.label}{self.length}"

    @property
    def case(self) -> dict[str, str | int]:
        """What the worker is told."""
        return {"model": self.model, "batch": self.batch, "length": self.length}


ROWS = (
    Row("MiniLM-L6", 1, 16),
    Row("MiniLM-L6", 1, 128),
    Row("MiniLM-L6", 8, 128),
    Row("BERT-base", 1, 128),
    Row("BERT-base", 8, 128),
    Row("BERT-base", 1, 37),
    Row("GPT-2", 1, 128),
    Row("ViT-base", 1, 224, "p"),
)

QUICK = Settings(rounds=5, block_seconds=0.05, progress=report.progress)
FULL = Settings(progress=report.progress)


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's results; `busy` is the cores' foreign load around the timing (0 to 1)."""

    row: Row
    results: tuple[Result, ...] = ()
    busy: float = 0.0
    refused: str = ""


@dataclass(slots=True)
class Bench:
    """Measures rows with the same contenders, cores and settings."""

    peers: Sequence[str]
    cores: tuple[int, ...]
    settings: Settings
    force: bool = False
    factories: dict[str, str] = field(default_factory=lambda: dict(CONTENDERS))
    reference: str = REFERENCE
    watch: Callable[[tuple[int, ...]], float] = load.watch_cores

    def expected(self, row: Row) -> Array:
        """The row's float64 output."""
        with WorkerContender("reference", self.reference, row.case, self.cores) as contender:
            contender.prepare()
            return contender.output()

    def measure(self, row: Row) -> Measured:
        """Check and time one row; a row that cannot be timed says why."""
        busy = 0.0

        def check_load() -> None:
            nonlocal busy
            busy = max(busy, load.require_quiet(self.cores, self.force, self.watch))

        try:
            expected = self.expected(row)
            contenders = [
                WorkerContender(name, self.factories[name], row.case, self.cores)
                for name in self.peers
            ]
            results = measure(contenders, expected, self.settings, check_load)
        except (load.LoadError, UnavailableError, WorkerError) as error:
            return Measured(row, busy=busy, refused=str(error))
        return Measured(row, tuple(results), busy)


def cell(result: Result) -> str:
    """One contender in one row: "median ×ratio", or what is wrong with it."""
    if result.state != "ok":
        return result.state
    return f"{result.median * 1e3:.2f}  {result.ratio:.2f}×"


def notes(measured: Measured) -> list[str]:
    """What a reader must know about a row before trusting it."""
    name = measured.row.name
    lines = [f"{name}: not timed: {measured.refused}"] if measured.refused else []
    if measured.busy > load.BUSY_LIMIT:
        lines.append(f"{name}: UNRELIABLE, the cores were {measured.busy:.0%} busy (--force)")
    for result in measured.results:
        if result.state != "ok":
            lines.append(f"{name}: {result.name} {result.state}: {result.reason}")
        if result.idle_share > IDLE_LIMIT:
            lines.append(f"{name}: {result.name} used {result.idle_share:.0%} of a core while idle")
    return lines


def overview(every: Sequence[Measured], peers: Sequence[str]) -> report.Table:
    """All rows, one column for each contender."""
    rows = [
        (m.row.name, *(cell(result) for result in m.results))
        if m.results
        else (m.row.name, *("-" for _ in peers))
        for m in every
    ]
    return report.Table(
        "Latency: median ms, and time over the first right contender's",
        ("fp32", *peers),
        tuple(rows),
        tuple(line for m in every for line in notes(m)),
    )


def details(every: Sequence[Measured]) -> report.Table:
    """Percentiles, error, preparation and memory of every contender of every row."""
    rows = tuple(
        (
            m.row.name,
            r.name,
            f"{r.p10 * 1e3:.2f}",
            f"{r.median * 1e3:.2f}",
            f"{r.p90 * 1e3:.2f}",
            str(r.calls),
            f"{r.error:.1e}",
            f"{r.prepare_seconds:.1f}",
            f"{r.peak_bytes / 1e6:.0f}",
        )
        for m in every
        for r in m.results
        if r.state == "ok"
    )
    columns = ("row", "contender", "p10 ms", "median", "p90", "calls", "error", "prepare s", "MB")
    return report.Table("In detail", columns, rows)


def select_rows(names: Sequence[str]) -> tuple[Row, ...]:
    """Rows whose name contains one of `names` (all rows for none). Raises ValueError."""
    chosen = [
        row for row in ROWS if not names or any(name.lower() in row.name.lower() for name in names)
    ]
    if not chosen:
        raise ValueError(f"no row matches {names}; rows: {', '.join(r.name for r in ROWS)}")
    return tuple(chosen)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every timing command shares."""
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--force", action="store_true", help="time on a busy machine all the same")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a row's name")
    parser.add_argument(
        "--peers", nargs="*", choices=CONTENDERS, default=list(CONTENDERS), metavar="PEER"
    )
    parser.add_argument("--cores", type=int, help="number of cores (default: all)")
    add_options(parser)
    return parser.parse_intermixed_args(arguments)


def run(arguments: argparse.Namespace) -> tuple[list[report.Table], dict[str, Any]]:
    """Measure what was asked for; tables to show and figures for JSON."""
    cores = load.chosen_cores(arguments.cores)
    load.require_quiet(cores, arguments.force)
    bench = Bench(arguments.peers, cores, QUICK if arguments.quick else FULL, arguments.force)
    every = []
    for row in select_rows(arguments.names):
        report.announce(f"{row.name} …")
        every.append(bench.measure(row))
    tables = [overview(every, arguments.peers), details(every)]
    return tables, {"models": every}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when all was measured, 1 when something was refused or wrong."""
    options = parse(arguments)
    try:
        tables, figures = run(options)
    except (load.LoadError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for table in tables:
        report.show(table)
    report.write(tables, figures, load.chosen_cores(options.cores), options.json, options.markdown)
    bad = [r for m in figures["models"] for r in m.results if r.state in ("wrong", "failed")]
    return 1 if bad or any(m.refused for m in figures["models"]) else 0


if __name__ == "__main__":
    sys.exit(main())
