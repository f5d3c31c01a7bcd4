"""BERT-base in bf16 and int8, beside peers in bf16, or in fp32 where the CPU has no such products.

Where there are instructions for dot products of bf16 (of int8), tc's bf16 (int8) is held against
OpenVINO's and Inductor's bf16. Elsewhere bf16 is held against tc's own fp32, and int8 against the
fastest peer in fp32: what remains is that fewer bytes are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.comparison import (
    BASELINE,
    Comparison,
    Measured,
    compare,
    details,
    overview,
    why_none,
)
from benchmarks.contenders import CONTENDERS, REFERENCE
from benchmarks.part import Options, Outcome, Part, run_as_program
from benchmarks.runner import FULL, QUICK, Result
from benchmarks.verdict import Verdict, verdict

NAME = "BERT-base b1 s128"
CASE: dict[str, str | int] = {"model": "BERT-base", "batch": 1, "length": 128}
OWN = {"bf16": "tc bf16", "int8": "tc int8"}
FLAGS = {"bf16": "avx512_bf16", "int8": "avx512_vnni"}
FP32_PEERS = ("onnxruntime", "openvino")
BF16_PEERS = ("openvino bf16", "inductor bf16")
FACTORIES = {
    BASELINE: CONTENDERS["tc"],
    OWN["bf16"]: "benchmarks.contenders:tc_bf16",
    OWN["int8"]: "benchmarks.contenders:tc_int8",
    **{name: CONTENDERS[name] for name in FP32_PEERS},
    "openvino bf16": "benchmarks.contenders:openvino_bf16",
    "inductor bf16": "benchmarks.contenders:inductor_bf16",
}
TOLERANCES = {"tc bf16": 0.05, "tc int8": 0.1, "openvino bf16": 0.05, "inductor bf16": 0.05}
"""Of the greatest output: a gross mistake is far beyond these, rounding is not."""


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's features as Linux names them; none where it does not tell."""
    lines = info.read_text().splitlines() if info.exists() else []
    for line in lines:
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def held_against(precision: str, flags: frozenset[str]) -> tuple[str, ...]:
    """The contenders that the row of this precision is over, on a CPU with these flags."""
    if FLAGS[precision] in flags:
        return BF16_PEERS if precision == "bf16" else BF16_PEERS[:1]
    return (BASELINE,) if precision == "bf16" else FP32_PEERS


def judge(measured: Measured, precision: str, peers: Sequence[str], dots: bool = True) -> Verdict:
    """How many times as fast as the fastest of `peers`; `dots`: the CPU multiplies such numbers."""
    own, best = measured.result(OWN[precision]), measured.fastest(peers)
    value = best.ratio / own.ratio if best is not None and own.state == "ok" else None
    reason = f"{own.name} {own.state}: {own.reason}"
    return verdict(
        f"{NAME} {precision}",
        precision if dots else f"{precision} without dots",
        value,
        best.name if best is not None else "",
        reason=reason if own.state != "ok" else why_none(measured, peers),
    )


def errors(results: Sequence[Result]) -> report.Table:
    """What the fewer bits cost: the greatest difference from float64, over the greatest output."""
    rows = tuple((r.name, f"{r.error:.1e}") for r in results if r.state == "ok")
    return report.Table("Error against float64", ("contender", "error"), rows)


def run(options: Options) -> Outcome:
    """Measure; the rows are verdicts over one measurement of all contenders together."""
    chosen = options.chosen(list(FLAGS))
    settings = QUICK if options.quick else FULL
    settings = replace(settings, tolerances=TOLERANCES, progress=report.progress)
    measured = compare(Comparison(NAME, CASE, FACTORIES, REFERENCE, settings), options)
    flags = cpu_flags()
    title = "BERT-base in fewer bits: median ms, and time over tc's in fp32"
    peers = options.contenders(list(FACTORIES))
    return Outcome(
        (overview(title, [measured], peers), errors(measured.results), details([measured])),
        tuple(
            judge(measured, name, held_against(name, flags), FLAGS[name] in flags)
            for name in chosen
        ),
        {"rows": [measured], "flags": sorted(flags & set(FLAGS.values()))},
        failed=measured.failed,
        busy=measured.busy,
    )


PART = Part("BERT-base in bf16 and int8", lambda: list(FLAGS), tuple(FACTORIES), run)

if __name__ == "__main__":
    run_as_program("precision")
