"""fp32 matrix products on one core beside torch, MKL and oneDNN, as a share of the bound.

The bound of a row is the greater of flops / FMA peak and bytes / read bandwidth of a working set
of that size, both measured on the same core in the same rounds. Blocks are run while nobody else
uses the core's other hardware thread, as far as such moments come. Times are those of calls from
Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.calm import Calm
from benchmarks.comparison import BASELINE, Comparison, Measured, busiest, compare, notes
from benchmarks.part import Options, Outcome, Part, run_as_program
from benchmarks.peak import Machine, default_machine, limits
from benchmarks.protocol import Array, Case, UnavailableError
from benchmarks.runner import Result, Settings
from benchmarks.verdict import Verdict, verdict
from benchmarks.worker import Prepared

PACED = Settings(rounds=100, block_seconds=0.01, progress=report.progress, patience=90.0)
"""Blocks so short that the limits measured around one are those of its time."""
QUICK = replace(PACED, rounds=30, patience=20.0)
CONTENDERS = {
    "tc": "benchmarks.gemm:tc_build",
    "torch": "benchmarks.gemm:torch_mm",
    "mkl packed": "benchmarks.gemm:mkl_packed",
    "onednn packed": "benchmarks.gemm:onednn_packed",
}


@dataclass(frozen=True, slots=True)
class Row:
    """C[m, n] = A[m, k] · B[k, n]; `goal` names what is wanted of it."""

    m: int
    k: int
    n: int
    goal: str = "product"

    @property
    def name(self) -> str:
        """As in "128x768x3072" (M, K, N)."""
        return f"{self.m}x{self.k}x{self.n}"

    @property
    def case(self) -> dict[str, str | int]:
        """What the worker is told."""
        return {"m": self.m, "k": self.k, "n": self.n}

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.k * self.n

    @property
    def bytes_moved(self) -> int:
        """Each operand and the result once, fp32."""
        return 4 * (self.m * self.k + self.k * self.n + self.m * self.n)


ROWS = (
    Row(128, 768, 768),
    Row(128, 768, 3072),
    Row(128, 3072, 768),
    Row(16, 384, 1536),
    Row(8, 768, 3072),
    Row(512, 512, 512),
    Row(1024, 1024, 1024),
    Row(1, 768, 3072, "product odd"),
    Row(7, 513, 1001, "product odd"),
    Row(37, 391, 1187, "product odd"),
    Row(129, 769, 771, "product odd"),
)


def operands(case: Case) -> tuple[Array, Array]:
    """A [m, k] and B [k, n], fp32, from a fixed seed."""
    m, k, n = (int(case[name]) for name in ("m", "k", "n"))
    random = np.random.default_rng(0)
    return random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)


def tc_build(case: Case) -> Prepared:
    """tc.build with the default schedule, the weights packed beforehand."""
    import tc
    from tc import te

    a, b = operands(case)
    (m, k), n = a.shape, b.shape[1]
    left, right = te.placeholder((m, k)), te.placeholder((k, n))
    axis = te.reduce_axis(k)
    product = te.compute((m, n), lambda i, j: te.sum(left[i, axis] * right[axis, j], axis=axis))
    kernel = tc.build(product, constants=(right,), threads=1)
    return Prepared(kernel.bind(a, kernel.pack(b, 1)), lambda result: result.copy())


def torch_mm(case: Case) -> Prepared:
    """torch.mm (MKL's sgemm) into a given result."""
    import torch

    torch.set_num_threads(1)
    a, b = map(torch.from_numpy, operands(case))
    out = torch.empty(a.shape[0], b.shape[1])
    return Prepared(lambda: torch.mm(a, b, out=out), lambda result: result.numpy().copy())


def mkl_packed(case: Case) -> Prepared:
    """MKL's sgemm with its weights packed beforehand, as frozen Inductor uses it."""
    import torch

    if not torch._C.has_mkl:
        raise UnavailableError("this torch has no MKL")
    torch.set_num_threads(1)
    a, b = map(torch.from_numpy, operands(case))
    weight, rows = b.T.contiguous(), a.shape[0]
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    linear = torch.ops.mkl._mkl_linear
    return Prepared(
        lambda: linear(a, packed, weight, None, rows), lambda result: result.numpy().copy()
    )


def onednn_packed(case: Case) -> Prepared:
    """oneDNN's matrix product with its weights packed beforehand."""
    import torch

    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.is_available():
        raise UnavailableError("this torch has no oneDNN")
    torch.set_num_threads(1)
    a, b = map(torch.from_numpy, operands(case))
    packed = torch.ops.mkldnn._reorder_linear_weight(b.T.contiguous(), a.shape[0])
    linear = torch.ops.mkldnn._linear_pointwise
    return Prepared(
        lambda: linear(a, packed, None, "none", [], ""), lambda result: result.numpy().copy()
    )


def exact(case: Case) -> Prepared:
    """The product in float64."""
    a, b = operands(case)
    return Prepared(lambda: a.astype(np.float64) @ b.astype(np.float64))


def bound_seconds(row: Row, machine: Machine) -> float:
    """The least time of the row on one core."""
    known = limits(machine, "fma", 1, row.bytes_moved)
    return known.bound_seconds(row.flops, row.bytes_moved)


def table(
    every: Sequence[tuple[Row, Measured]], names: Sequence[str], machine: Machine
) -> report.Table:
    """GFLOP/s and share of the bound, one column for each contender."""

    def cell(row: Row, result: Result) -> str:
        if result.state != "ok":
            return result.state
        return f"{row.flops / result.median * 1e-9:.1f}  {result.share:.0%}"

    lines = tuple(
        (
            row.name,
            f"{row.flops / bound_seconds(row, machine) * 1e-9:.1f}",
            *(cell(row, measured.result(name)) for name in names),
        )
        for row, measured in every
    )
    return report.Table(
        "Matrix products MxKxN, fp32, one core: GFLOP/s and share of the bound",
        ("row", "bound", *names),
        lines,
        (
            f"limits: {machine.source}; the bound is the machine's at its best, a share is of what"
            " it allowed in the same rounds",
            *(line for _, each in every for line in notes(each)),
        ),
    )


def judge(row: Row, measured: Measured) -> Verdict:
    """tc's share of the bound in per cent."""
    result = measured.result(BASELINE)
    share = None if math.isnan(result.share) else 100 * result.share
    reason = measured.refused or result.reason
    return verdict(row.name, row.goal, share, "the bound", reason=reason)


def run(options: Options) -> Outcome:
    """Measure the rows that were asked for, on the first core."""
    options = replace(options, cores=options.cores[:1])
    chosen = options.chosen([row.name for row in ROWS])
    machine = default_machine(options.cores)
    settings, calm = QUICK if options.quick else PACED, Calm(machine, 1)

    def compared(row: Row) -> Measured:
        case = Comparison(row.name, row.case, CONTENDERS, "benchmarks.gemm:exact", settings)
        return compare(case, options, lambda facts: bound_seconds(row, machine.now()), calm)

    every = [(row, compared(row)) for row in ROWS if row.name in chosen]
    return Outcome(
        (table(every, options.contenders(list(CONTENDERS)), machine),),
        tuple(judge(row, measured) for row, measured in every),
        {"rows": [measured for _, measured in every]},
        failed=any(measured.failed for _, measured in every),
        busy=busiest([measured for _, measured in every]),
    )


PART = Part(
    "single fp32 products on one core, beside torch, MKL and oneDNN",
    lambda: [row.name for row in ROWS],
    tuple(CONTENDERS),
    run,
)

if __name__ == "__main__":
    run_as_program("gemm")
