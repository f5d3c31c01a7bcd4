"""What the tuning database keeps, as plain values: targets, workloads, trials.

The fields are the columns. This module must not know sqlite.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from tc.frozen import frozen
from tc.target import Target

OK, FAILED, PREDICTED = "ok", "failed", "predicted"
HOT, COLD = "hot", "cold"


@frozen
class TargetRow:
    """A machine that something was tuned for; rates in GFLOP/s and GB/s, None: not measured.

    Attributes:
        fingerprint: a hash of the target's text and the processor's name: records of another one
            are never taken for this one's.
    """

    fingerprint: str
    target: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    cores: int
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    peak_gflops_core: float | None = None
    peak_gflops: float | None = None
    bandwidth_core: float | None = None
    bandwidth: float | None = None
    measured_on: str | None = None


@frozen
class WorkloadRow:
    """A workload; `flops` and `bytes` are sizes over its symbols, as text."""

    hash: str
    name: str
    family: str
    constants: str
    text: str
    flops: str
    bytes: str


@frozen
class Versions:
    """What a schedule's speed depends on besides the machine."""

    tc: str
    llvm: str


@frozen
class Context:
    """Under which conditions a workload's trials are comparable.

    Attributes:
        workload: its hash.
        target: its fingerprint.
        sizes: of the symbols, "M=128 N=1", in the order of the workload's text.
    """

    workload: str
    target: str
    threads: int
    sizes: str
    versions: Versions


@frozen
class Trial:
    """One schedule, measured, failed or predicted.

    Attributes:
        knobs: the decisions that made the schedule, "mr=4 nv=3".
        error: why it failed, or "".
        seconds_median, seconds_min, seconds_p90: of a call; None where there is no measurement.
        default_seconds: of the default schedule, measured in turns with this one.
        ratio: the median of this one's time over the default's, pair by pair.
        check_error: the greatest error of an output against the reference.
        weights: "hot" or "cold": whether constants were in the caches.
        seed, number: of the search that proposed it, and its place in that search.
    """

    schedule: str
    knobs: str
    status: str
    error: str = ""
    seconds_median: float | None = None
    seconds_min: float | None = None
    seconds_p90: float | None = None
    default_seconds: float | None = None
    ratio: float | None = None
    repeats: int = 0
    check_error: float | None = None
    weights: str = HOT
    gflops: float | None = None
    fraction_of_bound: float | None = None
    seed: int = 0
    number: int = 0
    created_at: str = ""


def fingerprint(target: str, cpu: str) -> str:
    """The identity of a machine for the database."""
    return hashlib.sha256(f"{target}\n{cpu}".encode()).hexdigest()[:16]


def target_row(target: Target, cpu: str) -> TargetRow:
    """The row of a target; `cpu` is the processor's name, or "" for none in particular."""
    text = str(target)
    return TargetRow(
        fingerprint=fingerprint(text, cpu),
        target=text,
        cpu=cpu,
        features=" ".join(target.features),
        vector_bits=target.vector_bits,
        vector_registers=target.vector_registers,
        cores=target.cores,
        l1d_bytes=target.l1d_bytes,
        l2_bytes=target.l2_bytes,
        l3_bytes=target.l3_bytes,
    )


def columns(row: TargetRow | WorkloadRow | Trial) -> dict[str, object]:
    """The row by column."""
    return asdict(row)
