"""`python -m benchmarks.gemm`: fp32 matrix products on one core, as a share of the bound.

The bound of a row is the greater of flops / FMA peak and bytes / read bandwidth of a working set
of that size, both measured on the same core just before. Times are those of calls from Python.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import load, report
from benchmarks.models import FULL, QUICK, add_options
from benchmarks.peak import Limits, Measure, default_measure
from benchmarks.protocol import Array, Case, UnavailableError, WorkerContender
from benchmarks.runner import Result, Settings, measure
from benchmarks.worker import Prepared

EVEN = 0.90
ODD = 0.75
CONTENDERS = {
    "tc": "benchmarks.gemm:tc_build",
    "torch": "benchmarks.gemm:torch_mm",
    "mkl packed": "benchmarks.gemm:mkl_packed",
    "onednn packed": "benchmarks.gemm:onednn_packed",
}


@dataclass(frozen=True, slots=True)
class Row:
    """C[m, n] = A[m, k] · B[k, n]; `goal` is the share of the bound that tc must reach."""

    m: int
    k: int
    n: int
    goal: float = EVEN

    @property
    def name(self) -> str:
        """As in "128×768×3072" (M, K, N)."""
        return f"{self.m}×{self.k}×{self.n}"

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
    Row(1, 768, 3072, ODD),
    Row(7, 513, 1001, ODD),
    Row(37, 391, 1187, ODD),
    Row(129, 769, 771, ODD),
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


@dataclass(frozen=True, slots=True)
class Measured:
    """One row's results beside its bound in seconds."""

    row: Row
    limits: Limits
    bound: float
    results: tuple[Result, ...]

    def share(self, result: Result) -> float:
        """Share of the bound that a contender reached; NaN when it was not timed."""
        return self.bound / result.median if result.median else math.nan


def measure_row(
    row: Row,
    contenders: dict[str, str],
    core: int,
    settings: Settings,
    limits_of: Measure,
    check_load: Callable[[], object],
) -> Measured:
    """Check and time one row on `core`. Raises LoadError, WorkerError."""
    case: dict[str, str | int] = {"m": row.m, "k": row.k, "n": row.n}
    a, b = operands(case)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    workers = [WorkerContender(name, path, case, (core,)) for name, path in contenders.items()]
    results = measure(workers, expected, settings, check_load)
    limits = limits_of(row.bytes_moved)
    return Measured(row, limits, limits.bound_seconds(row.flops, row.bytes_moved), tuple(results))


def table(every: Sequence[Measured], names: Sequence[str], busy: float) -> report.Table:
    """GFLOP/s and share of the bound, one column for each contender."""

    def cell(measured: Measured, result: Result) -> str:
        if result.state != "ok":
            return result.state
        rate = measured.row.flops / result.median * 1e-9
        return f"{rate:.1f}  {measured.share(result):.0%}"

    rows = tuple(
        (
            m.row.name,
            f"{m.row.goal:.0%}",
            f"{m.row.flops / m.bound * 1e-9:.1f}",
            *(cell(m, result) for result in m.results),
        )
        for m in every
    )
    untimed: dict[str, list[str]] = {}
    for m in every:
        for r in m.results:
            if r.state != "ok":
                untimed.setdefault(f"{r.name} {r.state}: {r.reason}", []).append(m.row.name)
    notes = [f"{text} ({len(found)} of {len(every)} rows)" for text, found in untimed.items()]
    if busy > load.BUSY_LIMIT:
        notes.append(f"UNRELIABLE: the core was up to {busy:.0%} busy with other work (--force)")
    return report.Table(
        "Matrix products M×K×N, fp32, one core: GFLOP/s and share of the bound",
        ("row", "goal", "bound", *names),
        rows,
        (*dict.fromkeys(f"limits: {m.limits.source}" for m in every), *notes),
    )


def select_rows(names: Sequence[str]) -> tuple[Row, ...]:
    """The named rows, all for none. Raises ValueError."""
    known = {row.name: row for row in ROWS}
    wanted = [name.replace("x", "×") for name in names] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no row {unknown[0]}; rows: {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def run(options: argparse.Namespace) -> tuple[list[report.Table], dict[str, Any]]:
    """Measure every row; tables to show and figures for JSON."""
    core = load.chosen_cores(1)[0]
    limits_of = default_measure(core)
    settings = QUICK if options.quick else FULL
    names = {name: CONTENDERS[name] for name in options.peers}
    busy: list[float] = []
    every = []
    for row in select_rows(options.rows):
        report.announce(f"gemm {row.name} …")
        every.append(
            measure_row(
                row,
                names,
                core,
                settings,
                limits_of,
                lambda: busy.append(load.require_quiet((core,), options.force)),
            )
        )
    return [table(every, list(names), max(busy, default=0.0))], {"gemm": every}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gemm", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="M×K×N", help="some rows only, as 8x768x3072")
    parser.add_argument("--peers", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    add_options(parser)
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when all was measured, 1 when something was refused or wrong."""
    options = parse(arguments)
    try:
        tables, figures = run(options)
    except (load.LoadError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for each in tables:
        report.show(each)
    report.write(tables, figures, load.chosen_cores(1), options.json, options.markdown)
    return int(any(r.state in ("wrong", "failed") for m in figures["gemm"] for r in m.results))


if __name__ == "__main__":
    sys.exit(main())
