"""Matrix products of all kinds of sizes, each as a share of what the machine allows.

C[m, n] = A[m, k] · B[k, n] with constant B, as the linear layers of models have it. The bound of a
cell is the greater of its operations over the peak of its instructions and its bytes over the
bandwidth for so many bytes, on as many cores as there are threads, measured right after it. The
weights stay where earlier calls left them, so a pair that fits a cache is bound by that cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import load, report
from benchmarks.part import Options, Outcome, Part, Quiet, run_as_program
from benchmarks.peak import Machine, default_machine, limits
from benchmarks.protocol import UnavailableError, WorkerContender, WorkerError
from benchmarks.verdict import Verdict, geometric_mean, verdict

M = (*range(1, 17), 37, 64, 128, 197, 384, 512, 1024, 1536)
K_AND_N = (384, 391, 513, 768, 1001, 1536, 2048, 3072, 50257)
MOST_WEIGHTS = 160 << 20
"""Bytes of fp32 weights; it leaves the size of a vocabulary only the smaller partners."""
MOST_FLOPS = 32e9
"""Operations of a cell: some tenths of a second on one core."""
QUICK_PAIRS, QUICK_SIZES = 7, 3
"""Strides through the pairs, and through the sizes of M of a pair; neither divides its number."""
CELL_SECONDS = 0.01
LOOK_SECONDS = 20.0
"""Time between two looks at the load of the cores, each of which takes half a second."""
WORST = 10
FACTORY = "benchmarks.sweep_worker:tc"


@dataclass(frozen=True, slots=True)
class Kind:
    """Arithmetic: tc's precision and target, the instructions that bound it (see `peak.KINDS`),
    bytes of a weight, and the error over the greatest result that is no mistake."""

    precision: str
    target: str
    instructions: str
    weight_bytes: int
    tolerance: float


KINDS = {
    "fp32": Kind("fp32", "host", "fma", 4, 1e-4),
    "bf16": Kind("bf16", "host", "bf16", 2, 2e-2),
    "int8": Kind("int8", "host", "int8", 1, 5e-2),
    "avx2": Kind("fp32", "x86-64-v3", "avx2", 4, 1e-4),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of arithmetic on so many threads: a pass over the whole grid."""

    kind: str
    threads: int

    @property
    def name(self) -> str:
        """As in "fp32, 2 threads"."""
        return f"{self.kind}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One product: its time, its bound in seconds, and its error."""

    m: int
    k: int
    n: int
    seconds: float
    bound: float
    error: float

    @property
    def share(self) -> float:
        """Of the bound's speed."""
        return self.bound / self.seconds

    @property
    def name(self) -> str:
        """As in "128×768×3072" (M, K, N)."""
        return f"{self.m}×{self.k}×{self.n}"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a row found; `refused` says why there are no cells."""

    row: Row
    cells: tuple[Cell, ...] = ()
    refused: str = ""

    @property
    def mean(self) -> float:
        """Geometric mean of the shares; one above the bound counts as the bound."""
        return geometric_mean(min(cell.share, 1.0) for cell in self.cells)

    @property
    def wrong(self) -> tuple[Cell, ...]:
        """The cells whose results are not right."""
        most = KINDS[self.row.kind].tolerance
        return tuple(cell for cell in self.cells if not cell.error <= most)


def rows() -> list[Row]:
    """Every row."""
    return [Row(kind, threads) for kind in KINDS for threads in (1, 2)]


def grid(quick: bool) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(K, N, sizes of M) of every pair that is possible; a sample of them if `quick`."""
    pairs = [(k, n) for k in K_AND_N for n in K_AND_N if 4 * k * n <= MOST_WEIGHTS]
    for number, (k, n) in enumerate(pairs):
        if quick and number % QUICK_PAIRS:
            continue
        sizes = [m for m in M if 2.0 * m * k * n <= MOST_FLOPS]
        if quick:
            sizes = sizes[number % QUICK_SIZES :: QUICK_SIZES]
        yield k, n, tuple(sizes)


def bound_seconds(kind: Kind, machine: Machine, threads: int, m: int, k: int, n: int) -> float:
    """The least time of a product on this machine."""
    moved = 4 * m * k + kind.weight_bytes * k * n + 4 * m * n
    known = limits(machine, kind.instructions, threads, moved)
    return known.bound_seconds(2.0 * m * k * n, moved)


def measure(
    row: Row,
    options: Options,
    machine: Machine,
    look: Callable[[], object],
    factory: str = FACTORY,
) -> Pass:
    """Measure all cells of a row in one process; `look` refuses by raising LoadError."""
    kind, cores = KINDS[row.kind], options.cores[: row.threads]
    case: dict[str, str | int] = {
        "precision": kind.precision,
        "target": kind.target,
        "threads": row.threads,
    }
    cells: list[Cell] = []
    try:
        with WorkerContender(row.name, factory, case, cores) as worker:
            worker.prepare()
            looked = -math.inf
            for k, n, sizes in grid(options.quick):
                if time.monotonic() - looked > LOOK_SECONDS:
                    look()
                    looked = time.monotonic()
                report.progress(f"{row.name}: K {k}, N {n}")
                found = worker.measure(k=k, n=n, sizes=sizes, seconds=CELL_SECONDS)["cells"]
                now = machine.now()
                cells += [
                    Cell(m, k, n, each, bound_seconds(kind, now, row.threads, m, k, n), error)
                    for m, (each, error) in zip(sizes, found, strict=True)
                ]
            look()
    except (load.LoadError, UnavailableError, WorkerError) as error:
        return Pass(row, refused=str(error))
    return Pass(row, tuple(cells))


def judge(found: Pass) -> list[Verdict]:
    """The geometric mean, and for fp32 the least share too, in per cent."""
    reason = found.refused
    if found.wrong:
        reason = f"wrong results, such as {found.wrong[0].name}"
    right = found.cells if not reason else ()
    goal, name = f"sweep {found.row.kind}", f"sweep {found.row.name}"
    mean = 100 * found.mean if right else None
    verdicts = [verdict(name, goal, mean, "geometric mean", reason=reason)]
    if found.row.kind == "fp32":
        least = 100 * min(c.share for c in right) if right else None
        verdicts.append(verdict(f"{name}, worst cell", f"{goal} worst", least, reason=reason))
    return verdicts


def summary(passes: Sequence[Pass], machine: Machine) -> report.Table:
    """One line for each row."""
    lines = []
    for found in passes:
        shares = [cell.share for cell in found.cells]
        if not shares:
            lines.append((found.row.name, "0", "-", "-", "-", "-"))
            continue
        lines.append(
            (
                found.row.name,
                str(len(shares)),
                f"{found.mean:.1%}",
                f"{min(shares):.1%}",
                str(sum(share > 1 for share in shares)),
                f"{max(cell.error for cell in found.cells):.0e}",
            )
        )
    threads = sorted({found.row.threads for found in passes})
    peaks = [
        f"{kind} {machine.gflops(kind, count):.0f}"
        for count in threads
        for kind in dict.fromkeys(KINDS[found.row.kind].instructions for found in passes)
    ]
    return report.Table(
        "Matrix products: share of the bound, geometric mean and least",
        ("row", "cells", "mean", "least", "above", "greatest error"),
        tuple(lines),
        (
            f"peaks of {' and '.join(map(str, threads))} cores, Gop/s: {', '.join(peaks)}; "
            f"{machine.source}",
            "above: cells faster than the bound measured for their bytes; they count as 100 %",
            *(f"{f.row.name}: not measured: {f.refused}" for f in passes if f.refused),
        ),
    )


def worst(found: Pass) -> report.Table:
    """The cells farthest from their bound."""
    cells = sorted(found.cells, key=lambda cell: cell.share)[:WORST]
    lines = tuple(
        (
            cell.name,
            f"{cell.share:.1%}",
            f"{cell.seconds * 1e6:.1f}",
            f"{cell.bound * 1e6:.1f}",
            f"{2e-9 * cell.m * cell.k * cell.n / cell.seconds:.1f}",
        )
        for cell in cells
    )
    columns = ("M×K×N", "share", "µs", "bound µs", "GFLOP/s")
    return report.Table(f"Worst cells: {found.row.name}", columns, lines)


def run(options: Options) -> Outcome:
    """Measure the rows that were asked for."""
    chosen = options.chosen([row.name for row in rows()])
    machine, quiet = default_machine(options.cores), Quiet(options)
    passes = []
    for row in rows():
        if row.name not in chosen:
            continue
        report.announce(f"sweep {row.name} …")
        if row.threads > len(options.cores):
            passes.append(Pass(row, refused=f"there are {len(options.cores)} cores"))
            continue
        passes.append(measure(row, options, machine, quiet))
    table = summary(passes, machine)
    return Outcome(
        (report.with_notes(table, quiet.notes), *(worst(found) for found in passes if found.cells)),
        tuple(each for found in passes for each in judge(found)),
        {"passes": passes},
        failed=any(found.refused or found.wrong for found in passes),
        busy=quiet.busy,
    )


PART = Part(
    "matrix products over a grid of sizes, as shares of the bound",
    lambda: [row.name for row in rows()],
    ("tc",),
    run,
)

if __name__ == "__main__":
    run_as_program("sweep")
