"""Models as C that run without Python: beside LLVM's code, torch eager and the C++ runtimes.

A call of an exported model is timed in C, where a C program pays for it; a peer's is what its own
user pays. What exporting, building and starting take is in benchmarks.standalone_folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import decode, report
from benchmarks.comparison import Comparison, Measured, busiest, compare, milliseconds, notes
from benchmarks.compile import judge as judge_figures
from benchmarks.contenders import CONTENDERS, REFERENCE
from benchmarks.part import Options, Outcome, Part, Quiet, run_as_program
from benchmarks.peak import default_machine
from benchmarks.protocol import Case
from benchmarks.runner import FULL, QUICK, Result, Settings
from benchmarks.standalone_folder import ROW as FOLDER
from benchmarks.standalone_folder import folder_table, measure_folder
from benchmarks.standalone_workers import LAYERS
from benchmarks.verdict import Verdict, verdict

LLVM, TC_C, C, ONE = "tc", "tc c", "c", "c 1 thread"
WORKERS = "benchmarks.standalone_workers"
EXPORTED = {C: f"{WORKERS}:c", ONE: f"{WORKERS}:c_one_thread"}
EAGER = {"eager": f"{WORKERS}:layer_eager"}
THROUGH_C = {TC_C: f"{WORKERS}:tc_c", C: EXPORTED[C]}
PEERS = (LLVM, TC_C, C, ONE, "eager", "transformers", "llama.cpp")


@dataclass(frozen=True, slots=True)
class Target:
    """One goal of a row, by name: the first right one of `own` over (or under) `peer`.

    With `lower` the figure is the time of `own` over the peer's; else the peer's over it.
    """

    goal: str
    own: tuple[str, ...]
    peer: str
    lower: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A model or layer, its contenders, what the reference is, and its goals."""

    name: str
    case: Case
    factories: dict[str, str]
    reference: str
    targets: tuple[Target, ...]

    def comparison(self, scratch: Path, quick: bool) -> Comparison:
        """What is measured; `scratch` is for what the row's exports leave."""
        case = {**self.case, "scratch": str(scratch)}
        return Comparison(self.name, case, self.factories, self.reference, self.settings(quick))

    def settings(self, quick: bool) -> Settings:
        """A generation is a block; layers take microseconds."""
        if "new" in self.case:
            chosen = decode.QUICK if quick else decode.FULL
        else:
            chosen = QUICK if quick else FULL
        return replace(chosen, progress=report.progress)


def _layer(name: str, goal: str) -> Row:
    targets = (Target(goal, (C, ONE), "eager"),)
    reference = f"{WORKERS}:layer_reference"
    return Row(name, {"layer": name}, {**EXPORTED, **EAGER}, reference, targets)


_GOALS = ("c layer", "c layer", "c layer", "c linear", "c attention", "c mlp")
_OVER_LLVM = tuple(Target("c over llvm", (own,), LLVM, lower=True) for own in (TC_C, C))
ROWS = (
    *(_layer(name, goal) for name, goal in zip(LAYERS, _GOALS, strict=True)),
    Row(
        "BERT-base b1 s128",
        {"model": "BERT-base", "batch": 1, "length": 128},
        {LLVM: CONTENDERS["tc"], **THROUGH_C},
        REFERENCE,
        _OVER_LLVM,
    ),
    Row(
        "GPT-2 decode",
        {"model": "GPT-2", "precision": "fp32", "prompt": decode.PROMPT, "new": decode.NEW},
        {
            LLVM: decode.FACTORIES["tc"],
            **THROUGH_C,
            **{name: decode.FACTORIES[name] for name in ("transformers", "llama.cpp")},
        },
        "benchmarks.generators:reference",
        (
            *_OVER_LLVM,
            Target("c decode, transformers", (C,), "transformers"),
            Target("c decode, llama.cpp", (C,), "llama.cpp"),
        ),
    ),
)


def seconds_of(result: Result, layer: bool) -> float:
    """Its time as a C program pays it: that inside of a layer's C call, else that of the call."""
    return (result.inside or result.median) if layer else result.median


STREAMED = 1 << 20
"""Bytes from which on reading them is what bounds a layer; below it, starting it does."""


def most_times(measured: Measured, peer: str, rate: Callable[[int], float]) -> float | None:
    """How many times as fast as the peer memory allows a layer to be; None: not known.

    `rate` gives the GB/s at which so many bytes can be read.
    """
    size, result = round(measured.facts.get("bytes", 0.0)), measured.result(peer)
    if size < STREAMED or result.state != "ok":
        return None
    return result.median * rate(size) * 1e9 / size


def judge_row(row: Row, measured: Measured, rate: Callable[[int], float]) -> list[Verdict]:
    """A verdict for each goal of the row; `rate` as for `most_times`."""
    layer, verdicts = "layer" in row.case, []
    for target in row.targets:
        peer = measured.result(target.peer)
        right = [r for r in map(measured.result, target.own) if r.state == "ok"]
        own = min(right, key=lambda r: seconds_of(r, layer), default=None)
        reason = ""
        value = None
        if own is None or peer.state != "ok":
            bad = peer if own is not None else measured.result(target.own[0])
            reason = f"{bad.name} {bad.state}: {bad.reason}"
        elif target.lower:
            value = own.ratio / peer.ratio
        else:
            value = over(peer, own, layer)
        name = f"{row.name}: {own.name if own is not None else target.own[0]}"
        limit = most_times(measured, target.peer, rate)
        verdicts.append(verdict(name, target.goal, value, target.peer, limit, reason))
    return verdicts


def over(peer: Result, own: Result, layer: bool) -> float:
    """How many times own's time the peer takes; both ratios were taken within the rounds."""
    if layer:
        return peer.inside_ratio / own.inside_ratio
    return peer.ratio / own.ratio


def table(every: Sequence[tuple[Row, Measured]]) -> report.Table:
    """Times of all contenders: in C for what was exported, as its user sees it for a peer."""
    rows = []
    for row, measured in every:
        cells = []
        for name in PEERS:
            result = measured.result(name)
            if name not in row.factories:
                cells.append("")
            elif result.state != "ok":
                cells.append(result.state)
            else:
                cells.append(milliseconds(seconds_of(result, "layer" in row.case)))
        rows.append((row.name, *cells))
    return report.Table(
        "Standalone C, fp32: median ms of a call (of a generation: of all of it)",
        ("row", *PEERS),
        tuple(rows),
        tuple(line for _, measured in every for line in notes(measured)),
    )


def measure_row(row: Row, options: Options) -> Measured:
    """Compare one row in a folder of its own; contenders of other rows are not missed in it."""
    names = [name for name in row.factories if not options.peers or name in options.peers]
    with tempfile.TemporaryDirectory(prefix="benchmarks-standalone-") as scratch:
        made = row.comparison(Path(scratch), options.quick)
        return compare(made, replace(options, peers=tuple(names)))


def run(options: Options) -> Outcome:
    """Measure the rows that were asked for."""
    chosen = options.chosen([*(row.name for row in ROWS), FOLDER])
    options.contenders(PEERS)
    every = [(row, measure_row(row, options)) for row in ROWS if row.name in chosen]
    measured = [each for _, each in every]
    machine, threads = default_machine(options.cores), len(options.cores)
    verdicts = [
        found
        for row, each in every
        for found in judge_row(row, each, lambda size: machine.gbytes(size, threads))
    ]
    tables = [table(every)] if every else []
    quiet = Quiet(options)
    figures = []
    if FOLDER in chosen:
        quiet()
        figures = measure_folder(options.cores, options.quick)
        tables.append(folder_table(figures, quiet.notes))
        verdicts += judge_figures(figures)
    return Outcome(
        tuple(tables),
        tuple(verdicts),
        {"rows": measured, "figures": figures},
        failed=any(each.failed for each in measured) or any(f.reason for f in figures),
        busy=max(busiest(measured), quiet.busy),
    )


PART = Part(
    "models exported as C: layers on one token, BERT, GPT-2; their export, build and start",
    lambda: [*(row.name for row in ROWS), FOLDER],
    PEERS,
    run,
)

if __name__ == "__main__":
    run_as_program("standalone")
