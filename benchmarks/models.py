"""Whole models in fp32, tc beside its peers on the same cores, and each one's share of the peak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.comparison import (
    Comparison,
    Measured,
    busiest,
    compare,
    details,
    overview,
    ratio_to,
    why_none,
)
from benchmarks.contenders import CONTENDERS, REFERENCE
from benchmarks.part import Options, Outcome, Part, run_as_program
from benchmarks.peak import Machine, default_machine
from benchmarks.runner import FULL, QUICK
from benchmarks.verdict import Verdict, verdict


@dataclass(frozen=True, slots=True)
class Row:
    """A model at one batch size and length (tokens, or pixels a side); `goal` is its goals' name.

    `padded` gives the sentences of the batch different lengths, padded to the longest.
    """

    model: str
    batch: int
    length: int
    label: str = "s"
    goal: str = "models"
    padded: bool = False

    @property
    def name(self) -> str:
        """As in "BERT-base b1 s128"."""
        padding = " padded" if self.padded else ""
        return f"{self.model} b{self.batch} {self.label}{self.length}{padding}"

    @property
    def case(self) -> dict[str, str | int]:
        """What the worker is told."""
        return {
            "model": self.model,
            "batch": self.batch,
            "length": self.length,
            "padded": int(self.padded),
        }


ROWS = (
    Row("MiniLM-L6", 1, 16, goal="models short"),
    Row("MiniLM-L6", 1, 128, goal="models small"),
    Row("MiniLM-L6", 8, 128, goal="models small"),
    Row("BERT-base", 1, 128),
    Row("BERT-base", 8, 128),
    Row("BERT-base", 1, 37),
    Row("BERT-base", 4, 200, padded=True),
    Row("GPT-2", 1, 128),
    Row("GPT-2", 1, 512),
    Row("ViT-base", 1, 224, "p"),
)
PEERS = tuple(name for name in CONTENDERS if name != "tc")


def comparison(row: Row, quick: bool) -> Comparison:
    """The row as what is measured."""
    settings = replace(QUICK if quick else FULL, progress=report.progress)
    return Comparison(row.name, row.case, CONTENDERS, REFERENCE, settings)


def peak_seconds(facts: Mapping[str, float], machine: Machine, threads: int) -> float:
    """The least time that a row's operations take on the FMA units; 0.0: not known."""
    return facts.get("flops", 0.0) / (machine.gflops("fma", threads) * 1e9)


def shares(every: Sequence[Measured], machine: Machine, threads: int) -> report.Table:
    """Each contender's share of the FMA peak, and a second line where the goal lies beyond it."""
    lines: list[tuple[str, ...]] = []
    names = tuple(CONTENDERS)
    for row, measured in _with_rows(every):
        found = [measured.result(name).share for name in names]
        cells = ["-" if math.isnan(share) else f"{share:.0%}" for share in found]
        flops = measured.facts.get("flops", 0.0)
        bound = peak_seconds(measured.facts, machine, threads)
        lines.append((measured.name, f"{flops * 1e-9:.2f}", f"{bound * 1e3:.2f}", *cells))
        if beyond := judge(row, measured).beyond:
            lines.append((f"  {beyond}", *[""] * (2 + len(names))))
    peak = machine.gflops("fma", threads)
    note = (
        f"peak of {threads} cores at their best: {peak:.0f} GFLOP/s fp32, {machine.source};"
        " a share is of the peak in the same rounds"
    )
    return report.Table(
        "Share of the FMA peak", ("row", "GFLOP", "bound ms", *names), tuple(lines), (note,)
    )


def judge(row: Row, measured: Measured) -> Verdict:
    """How many times as fast as the fastest peer, and the most that the FMA units allow."""
    value, against = ratio_to(measured, PEERS)
    best = measured.fastest(PEERS)
    limit = None if best is None or math.isnan(best.share) else 1 / best.share
    return verdict(row.name, row.goal, value, against, limit, why_none(measured, PEERS))


def _with_rows(every: Sequence[Measured]) -> list[tuple[Row, Measured]]:
    known = {row.name: row for row in ROWS}
    return [(known[measured.name], measured) for measured in every]


def run(options: Options) -> Outcome:
    """Measure the rows that were asked for."""
    names = options.chosen([row.name for row in ROWS])
    peers = options.contenders(list(CONTENDERS))
    machine, threads = default_machine(options.cores), len(options.cores)

    def limit(facts: Mapping[str, float]) -> float:
        return peak_seconds(facts, machine.now(), threads)

    chosen = [comparison(row, options.quick) for row in ROWS if row.name in names]
    every = [compare(row, options, limit) for row in chosen]
    title = "Whole models, fp32: median ms, and time over tc's"
    return Outcome(
        (overview(title, every, peers), shares(every, machine, threads), details(every)),
        tuple(judge(row, measured) for row, measured in _with_rows(every)),
        {"rows": every, "peak_gflops": machine.gflops("fma", threads)},
        failed=any(measured.failed for measured in every),
        busy=busiest(every),
    )


PART = Part("whole models, fp32", lambda: [row.name for row in ROWS], tuple(CONTENDERS), run)

if __name__ == "__main__":
    run_as_program("models")
