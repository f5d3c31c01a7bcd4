"""Generation: new tokens a second after a prompt, tc beside transformers and the C++ runtimes.

In fp32 every contender must give the same tokens. What quantises goes its own way after a while;
the share of its tokens that are equal is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.comparison import (
    Comparison,
    Measured,
    busiest,
    compare,
    details,
    notes,
    ratio_to,
    why_none,
)
from benchmarks.part import Options, Outcome, Part, run_as_program
from benchmarks.peak import Machine, default_machine
from benchmarks.runner import Settings, unequal_share
from benchmarks.verdict import Verdict, verdict
from benchmarks.zoo import GENERATIVE

PROMPT, NEW = 32, 64
FACTORIES = {
    "tc": "benchmarks.generators:tc",
    "transformers": "benchmarks.generators:transformers",
    "ctranslate2": "benchmarks.generators:ctranslate2",
    "llama.cpp": "benchmarks.generators:llama_cpp",
}
PEERS = tuple(name for name in FACTORIES if name != "tc")
# One generation is a block: it takes long enough.
FULL = Settings(rounds=8, block_seconds=0.0, tolerance=0.0, error=unequal_share)
QUICK = replace(FULL, rounds=3)
WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0}


@dataclass(frozen=True, slots=True)
class Row:
    """A model at a precision; `goal` is its goals' name."""

    model: str
    precision: str
    goal: str

    @property
    def name(self) -> str:
        """As in "GPT-2 bf16"."""
        return f"{self.model} {self.precision}"

    @property
    def case(self) -> dict[str, str | int]:
        """What the worker is told."""
        return {"model": self.model, "precision": self.precision, "prompt": PROMPT, "new": NEW}


DECODERS = tuple(
    Row(model, precision, f"decode {precision}")
    for model, about in GENERATIVE.items()
    if not about.encodes
    for precision in WEIGHT_BYTES
)
ENCODER_DECODERS = (Row("T5-small", "fp32", "t5"),)


def comparison(row: Row, quick: bool) -> Comparison:
    """The row as what is measured; what quantises is right whatever it says."""
    free = {} if row.precision == "fp32" else dict.fromkeys(FACTORIES, 1.0)
    settings = replace(QUICK if quick else FULL, tolerances=free, progress=report.progress)
    factory = "benchmarks.generators:reference"
    return Comparison(row.name, row.case, FACTORIES, factory, settings)


def table(
    every: Sequence[tuple[Row, Measured]], peers: Sequence[str], machine: Machine, threads: int
) -> report.Table:
    """Tokens a second, and how many times as many tc gives."""

    def cell(measured: Measured, peer: str) -> str:
        result = measured.result(peer)
        if result.state != "ok":
            return result.state
        equal = "" if result.error == 0 else f"  {1 - result.error:.0%} equal"
        return f"{NEW / result.median:.0f}  {result.ratio:.2f}×{equal}"

    rows = tuple(
        (
            row.name,
            *(cell(measured, peer) for peer in peers),
            f"{most_tokens(row, measured, machine, threads):.0f}",
        )
        for row, measured in every
    )
    return report.Table(
        f"Generation, {PROMPT} tokens given, {NEW} new: tokens/s, and time over tc's",
        ("row", *peers, "bound"),
        rows,
        (
            "bound: tokens/s at which reading every weight once for a token takes all of the time",
            *(line for _, measured in every for line in notes(measured)),
        ),
    )


def most_tokens(row: Row, measured: Measured, machine: Machine, threads: int) -> float:
    """Tokens a second that memory allows; 0.0: the size of the model is not known."""
    size = measured.facts.get("decoder_weights", 0.0) * WEIGHT_BYTES[row.precision]
    return machine.gbytes(round(size), threads) * 1e9 / size if size else 0.0


def judge(row: Row, measured: Measured, bound: float) -> Verdict:
    """How many times as many tokens a second as the best peer gives; `bound`: what memory allows.

    The time for the prompt counts too, so that the bound is a little more than can be reached.
    """
    value, against = ratio_to(measured, PEERS)
    best = measured.fastest(PEERS)
    limit = bound * best.median / NEW if best is not None and bound else None
    return verdict(row.name, row.goal, value, against, limit, why_none(measured, PEERS))


def run_rows(rows: Sequence[Row], options: Options) -> Outcome:
    """Measure those of `rows` that were asked for."""
    names = options.chosen([row.name for row in rows])
    machine, threads = default_machine(options.cores), len(options.cores)
    every = [
        (row, compare(comparison(row, options.quick), options)) for row in rows if row.name in names
    ]
    measured = [each for _, each in every]
    peers = options.contenders(list(FACTORIES))
    return Outcome(
        (table(every, peers, machine, threads), details(measured)),
        tuple(judge(row, each, most_tokens(row, each, machine, threads)) for row, each in every),
        {"rows": measured, "prompt": PROMPT, "new": NEW},
        failed=any(each.failed for each in measured),
        busy=busiest(measured),
    )


PART = Part(
    "decoders: tokens a second in fp32, bf16 and int8",
    lambda: [row.name for row in DECODERS],
    tuple(FACTORIES),
    lambda options: run_rows(DECODERS, options),
)
T5_PART = Part(
    "T5-small: tokens a second in fp32",
    lambda: [row.name for row in ENCODER_DECODERS],
    tuple(FACTORIES),
    lambda options: run_rows(ENCODER_DECODERS, options),
)

if __name__ == "__main__":
    run_as_program("decode")
