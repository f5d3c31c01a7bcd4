"""Rows in which contenders do the same thing: checked, timed side by side, tabulated.

A part gives its rows as `Comparison`s; here they are measured with what all parts share. Must not
know any framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import load
from benchmarks.calm import always
from benchmarks.part import Options, Quiet
from benchmarks.protocol import (
    Array,
    Case,
    Contender,
    UnavailableError,
    WorkerContender,
    WorkerError,
)
from benchmarks.report import Table, announce
from benchmarks.runner import IDLE_LIMIT, Moment, Result, Settings, measure

BASELINE = "tc"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row: its name, its case, the factory of each contender, and that of the reference.

    `more` is asked of the contenders that it names, after the timing: arguments of `measure`.
    """

    name: str
    case: Case
    factories: Mapping[str, str]
    reference: str
    settings: Settings
    more: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's results; `facts` are what the reference knows of the case, `found` what `more` was.

    `refused` says why there are no results.
    """

    name: str
    results: tuple[Result, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    found: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    busy: float = 0.0
    refused: str = ""

    def result(self, name: str) -> Result:
        """Of the contender of that name; "unavailable" where it took no part."""
        for result in self.results:
            if result.name == name:
                return result
        return Result(name, "unavailable", self.refused or "took no part")

    def fastest(self, names: Sequence[str]) -> Result | None:
        """The fastest right one of these; None: there is none."""
        right = [r for r in map(self.result, names) if r.state == "ok"]
        return min(right, key=lambda r: r.median, default=None)

    @property
    def failed(self) -> bool:
        """Whether something in it is not as it should be."""
        return bool(self.refused) or any(r.state in ("wrong", "failed") for r in self.results)


def unlimited(facts: Mapping[str, float]) -> float:
    """The limit of a row of which no least time is known."""
    del facts
    return 0.0


def compare(
    row: Comparison,
    options: Options,
    limit: Callable[[Mapping[str, float]], float] = unlimited,
    calm: Callable[[], bool] = always,
) -> Measured:
    """Check and time one row; a row that cannot be timed says why.

    `limit` tells, in every round and from the reference's facts, the least time in which the
    machine can do the work just then; `calm` whether the cores are all ours.
    """
    announce(f"{row.name} …")
    quiet = Quiet(options)
    found: dict[str, Mapping[str, float]] = {}

    def ask(contender: Contender) -> None:
        if contender.name in row.more and isinstance(contender, WorkerContender):
            found[contender.name] = contender.measure(**row.more[contender.name])

    try:
        quiet()  # before a long preparation that would be for nothing
        expected, facts = _expected(row, options)
        contenders = [
            WorkerContender(name, row.factories[name], row.case, options.cores)
            for name in options.contenders(list(row.factories))
        ]

        def look() -> Moment:
            return Moment(limit(facts), calm())

        results = measure(contenders, expected, row.settings, quiet, ask, look)
    except (load.LoadError, UnavailableError, WorkerError) as error:
        return Measured(row.name, busy=quiet.busy, refused=str(error))
    return Measured(row.name, tuple(results), facts, found, quiet.busy)


def _expected(row: Comparison, options: Options) -> tuple[Array, Mapping[str, float]]:
    with WorkerContender("reference", row.reference, row.case, options.cores) as contender:
        facts = contender.prepare().facts
        return contender.output(), facts


def busiest(every: Sequence[Measured]) -> float:
    """The greatest foreign load of all rows."""
    return max((measured.busy for measured in every), default=0.0)


def ratio_to(measured: Measured, peers: Sequence[str]) -> tuple[float | None, str]:
    """How many times tc's time the fastest of `peers` takes, and its name."""
    best = measured.fastest(peers)
    if best is None or measured.result(BASELINE).state != "ok":
        return None, ""
    return best.ratio, best.name


def why_none(measured: Measured, peers: Sequence[str]) -> str:
    """Why there is no ratio."""
    if measured.refused:
        return measured.refused
    own = measured.result(BASELINE)
    if own.state != "ok":
        return f"{own.name} {own.state}: {own.reason}"
    return f"none of {', '.join(peers)} took part"


def cell(result: Result) -> str:
    """One contender in one row: "median ms, ratio", or what is wrong with it."""
    if result.state != "ok":
        return result.state
    return f"{milliseconds(result.median)}  {result.ratio:.2f}×"


def milliseconds(seconds: float) -> str:
    """With three digits at least."""
    value = seconds * 1e3
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def notes(measured: Measured) -> list[str]:
    """What a reader must know about a row before trusting it."""
    name = measured.name
    lines = [f"{name}: not timed: {measured.refused}"] if measured.refused else []
    if measured.busy > load.BUSY_LIMIT:
        lines.append(f"{name}: UNRELIABLE, the cores were {measured.busy:.0%} busy (--force)")
    for result in measured.results:
        if result.state != "ok":
            lines.append(f"{name}: {result.name} {result.state}: {result.reason}")
        if result.crowded:
            share = f"{result.crowded:.0%} of its blocks"
            lines.append(f"{name}: {result.name}: {share} with a neighbour on the core")
        if result.idle_share > IDLE_LIMIT:
            lines.append(f"{name}: {result.name} used {result.idle_share:.0%} of a core while idle")
    return lines


def overview(title: str, every: Sequence[Measured], peers: Sequence[str]) -> Table:
    """All rows, one column for each contender."""
    rows = [
        (m.name, *(cell(m.result(peer)) if m.results else "-" for peer in peers)) for m in every
    ]
    return Table(
        title, ("row", *peers), tuple(rows), tuple(line for m in every for line in notes(m))
    )


def details(every: Sequence[Measured]) -> Table:
    """Percentiles, error, preparation and memory of every contender of every row."""
    rows = tuple(
        (
            m.name,
            r.name,
            milliseconds(r.p10),
            milliseconds(r.median),
            milliseconds(r.p90),
            milliseconds(r.inside) if r.inside else "",
            str(r.calls),
            "" if math.isnan(r.error) else f"{r.error:.1e}",
            f"{r.prepare_seconds:.1f}",
            f"{r.peak_bytes / 1e6:.0f}",
        )
        for m in every
        for r in m.results
        if r.state == "ok"
    )
    columns = ("row", "contender", "p10 ms", "median", "p90", "inside", "calls", "error",
               "prepare s", "MB")  # fmt: skip
    return Table("In detail", columns, rows)
