"""Attention and small operators, tc over torch eager.

What counts is the time within compiled code, for there an operator of a compiled model runs;
that of a call from Python stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.comparison import (
    BASELINE,
    Comparison,
    Measured,
    busiest,
    compare,
    details,
    milliseconds,
    notes,
    why_none,
)
from benchmarks.part import Options, Outcome, Part, run_as_program
from benchmarks.runner import FULL, QUICK
from benchmarks.verdict import Verdict, verdict

PEER = "eager"
FACTORIES = {
    BASELINE: "benchmarks.operator_workers:tc",
    PEER: "benchmarks.operator_workers:eager",
}
RUNS = 200
"""Calls over which the time of the kernels themselves is taken."""


@dataclass(frozen=True, slots=True)
class Row:
    """An operator of `operator_workers.OPERATORS`, and the names of its goals.

    Attributes:
        inside: of the ratio within compiled code.
        call: of the ratio of calls from Python.
        kernel: of the microseconds of the kernel itself.
    """

    name: str
    inside: str = ""
    call: str = ""
    kernel: str = ""


ATTENTION = (
    Row("attention, 128 tokens", "attention"),
    Row("attention, 512 tokens", "attention"),
    Row("attention, 512 tokens, causal", "attention causal"),
    Row("attention, 1 query, 128 keys", "attention one query"),
    Row("attention, 1 query, 2048 keys", "attention one query"),
)
SMALL = (
    Row("LayerNorm [128, 768]", "layer norm"),
    Row("LayerNorm [1, 768]", call="layer norm call", kernel="layer norm inside"),
    Row("softmax [1536, 128]", "softmax"),
    Row("GELU erf [128, 3072]", "gelu erf"),
    Row("GELU tanh [128, 3072]", "gelu tanh"),
)


def comparison(row: Row, quick: bool) -> Comparison:
    """The row as what is measured."""
    settings = replace(QUICK if quick else FULL, tolerance=1e-5, progress=report.progress)
    factory = "benchmarks.operator_workers:reference"
    more = {BASELINE: {"runs": RUNS}}
    return Comparison(row.name, {"operator": row.name}, FACTORIES, factory, settings, more)


def judge(row: Row, measured: Measured) -> list[Verdict]:
    """One verdict for each goal of the row."""
    peer, reason = measured.result(PEER), why_none(measured, [PEER])
    right = peer.state == "ok" and measured.result(BASELINE).state == "ok"
    verdicts = []
    if row.inside:
        value = peer.inside_ratio if right else None
        verdicts.append(verdict(row.name, row.inside, value, PEER, reason=reason))
    if row.call:
        value = peer.ratio if right else None
        verdicts.append(verdict(f"{row.name}, call", row.call, value, PEER, reason=reason))
    if row.kernel:
        seconds = measured.found.get(BASELINE, {}).get("kernel_seconds")
        value = None if seconds is None else seconds * 1e6
        verdicts.append(verdict(f"{row.name}, kernel", row.kernel, value, reason=reason))
    return verdicts


def table(every: Sequence[Measured]) -> report.Table:
    """Times in and around compiled code, and the ratios of both."""
    lines = []
    for measured in every:
        own, peer = measured.result(BASELINE), measured.result(PEER)
        kernel = measured.found.get(BASELINE, {}).get("kernel_seconds", 0.0)
        if own.state != "ok" or peer.state != "ok":
            lines.append((measured.name, own.state, *["-"] * 3, peer.state, "-"))
            continue
        lines.append(
            (
                measured.name,
                milliseconds(kernel),
                milliseconds(own.inside),
                f"{peer.inside_ratio:.2f}×",
                milliseconds(own.median),
                milliseconds(peer.median),
                f"{peer.ratio:.2f}×",
            )
        )
    return report.Table(
        "Operators, fp32: ms of tc's kernel, within its foreign call, and of calls from Python",
        ("row", "kernel", "inside", "eager over it", "tc call", "eager call", "eager over tc"),
        tuple(lines),
        tuple(line for measured in every for line in notes(measured)),
    )


def run_rows(rows: Sequence[Row], options: Options) -> Outcome:
    """Measure those of `rows` that were asked for."""
    chosen = options.chosen([row.name for row in rows])
    every = [
        (row, compare(comparison(row, options.quick), options))
        for row in rows
        if row.name in chosen
    ]
    measured = [each for _, each in every]
    return Outcome(
        (table(measured), details(measured)),
        tuple(found for row, each in every for found in judge(row, each)),
        {"rows": measured},
        failed=any(each.failed for each in measured),
        busy=busiest(measured),
    )


ATTENTION_PART = Part(
    "attention, 12 heads of 64, over torch's scaled_dot_product_attention",
    lambda: [row.name for row in ATTENTION],
    tuple(FACTORIES),
    lambda options: run_rows(ATTENTION, options),
)
PART = Part(
    "small operators inside a program, over torch eager",
    lambda: [row.name for row in SMALL],
    tuple(FACTORIES),
    lambda options: run_rows(SMALL, options),
)

if __name__ == "__main__":
    run_as_program("operators")
