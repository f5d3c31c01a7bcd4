"""The tutorial as a program: a gemm from the plain expression to the machine's FMA peak.

    python examples/tutorial_gemm.py               # a table: GFLOP/s after each step
    python examples/tutorial_gemm.py --loops       # with the loops after each step
    python examples/tutorial_gemm.py --markdown    # docs/tutorial.md itself

Each step of `steps` adds one line to the schedule; the words are those of docs/tutorial.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import tc
from tc import te
from tc.target import Target

Run = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

M, K, N = 256, 768, 1536
SECONDS, ROUNDS = 0.5, 5  # of measuring each step


@dataclass(frozen=True)
class Step:
    """One step: its title, why it is taken, the line of Python, the schedule after it."""

    title: str
    why: str
    code: str
    schedule: Any
    threads: int = 1


def expression(m: int, k: int, n: int) -> te.Tensor:
    """C[i, j] = sum over k of A[i, k] * B[k, j]: what to compute, not how."""
    a, b = te.placeholder((m, k)), te.placeholder((k, n))
    r = te.reduce_axis(k)
    return te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r))


def tile_size(target: Target) -> tuple[int, int]:
    """Rows and columns of a tile whose sums fit in the vector registers."""
    rows = 8 if target.vector_registers >= 32 else 4
    return rows, 3 * target.vector_lanes(32)


def steps(m: int, k: int, n: int, target: Target, threads: int) -> list[Step]:
    """Every step of the tutorial for C[m, n] = A[m, k] B[k, n]."""
    lanes = target.vector_lanes(32)
    mr, nr = tile_size(target)
    schedule = te.schedule(expression(m, k, n))
    found = [Step("The plain expression", PLAIN, "s = te.schedule(C)", schedule)]

    def step(title: str, why: str, code: str, threads: int = 1) -> None:
        nonlocal schedule
        schedule = eval(f"schedule{code}", {"schedule": schedule})  # the line that is shown
        found.append(Step(title, why, f"s = s{code}", schedule, threads))

    step("Tile", TILE, f'.tile("i", "j", {mr}, {nr})')
    step("Take the reduction out of the tile", REDUCE, '.reorder("i0", "j0", "k", "i1", "j1")')
    step("Vectorize", VECTORIZE, f'.vectorize("j1", {lanes})')
    step("Unroll the columns", COLUMNS, '.unroll("j1")')
    step("Unroll the rows", ROWS, '.unroll("i1")')
    step("Keep a panel of B in the cache", ORDER, '.reorder("j0", "i0")')
    step("Pack B", PACK, f'.pack("p1", 1, {nr})')
    step("Unroll the reduction", UNROLL_K, '.split("k", 2).unroll("k1")')
    step("Divide the work", PARALLEL, '.parallel("j0")', threads)
    return found


HEADER = """\
# From a plain gemm to the machine's peak

C = A B, written as one expression, at under one per cent of what the processor can do; then one
step of a schedule at a time until more than nine tenths are reached. The expression never changes,
and no step can change the result: a step that does not apply is an error.

`python examples/tutorial_gemm.py` measures the steps on your machine; with `--loops` it prints the
loops too. This page is what `--markdown` prints.

```python
from tc import te

A, B = te.placeholder((M, K)), te.placeholder((K, N))
k = te.reduce_axis(K)
C = te.compute((M, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k))
```
"""
FOOTER = """\
## What to take along

- A schedule is data: `str(s)` is one line of text, and `Schedule.parse` reads it back. That line is
  what is stored, logged and searched.
- A tile that lives in registers does most of it; its size follows from the number and the width of
  the registers. `tc.build(C)` without a schedule takes these steps by itself, with tile sizes for
  the machine at hand and for sizes that divide by nothing.
- Sizes may be symbolic: with `te.sym("M")` the same steps give one kernel for every `M`. The tails
  are then the policy of `tile(..., tail=...)`.
- `tc.build(s).loops`, `.llvm_ir` and `.asm` show what a schedule became.

[An operator of your own](tutorial_operator.md) goes on from here; [add a
primitive](add_primitive.md) is for whoever misses a step.
"""

PLAIN = """\
The expression says what each element is. Without a schedule its loops run in the order in which
they were written. Every multiplication waits for the addition before it, and `B` is read down its
columns, a new cache line for each element."""
TILE = """\
Split both loops and bring the outer halves outside: the work is now done tile by tile. Alone this
gains little; it is what the next steps stand on."""
REDUCE = """\
The loop over `k` moves out of the tile. The one accumulator becomes an array with an element for
each point of the tile, and the innermost loop now runs along a row of `B`: it reads neighbours, and
its additions do not wait for one another."""
VECTORIZE = """\
The columns of the tile in vector lanes: one instruction multiplies and adds a whole register."""
COLUMNS = """\
Written out, the vectors of a row have fixed places, and each element of `A` that is loaded serves
all of them."""
ROWS = """\
With the rows written out too the whole tile has fixed places, and so it lives in registers from
the first `k` to the last. Enough independent sums are in flight to keep both FMA units busy all the
time: this is where a gemm becomes fast."""
ORDER = """\
Swap the loops over tiles: a panel of `B`, as wide as a tile, now stays in the second-level cache
while all rows of `A` pass by."""
PACK = """\
Lay `B` out in the order in which it is read. The panel becomes one contiguous stretch of memory,
which the prefetcher likes and the TLB too. A constant, like the weights of a model, is packed once:
`kernel.pack(b, 1)`."""
UNROLL_K = """\
Two iterations of the innermost loop at once: half as many branches and address computations."""
PARALLEL = """\
The panels are divided between the threads. They write to different columns of `C`, so nothing has
to be synchronised; the speed is that of all cores together."""


def build(step: Step, target: Target) -> Run:
    """The compiled step as a function of A and B; B is packed the first time."""
    kernel = tc.build(step.schedule, target=target, threads=step.threads)
    if "pack(" not in kernel.schedule:
        return kernel
    packed: dict[int, Any] = {}

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if id(b) not in packed:
            packed[id(b)] = kernel.pack(b, 1)
        return kernel(a, packed[id(b)])

    return run


def gflops(
    run: Run,
    a: torch.Tensor,
    b: torch.Tensor,
    seconds: float,
) -> float:
    """The speed of the fastest call in so many seconds: interference only makes a call slower."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        run(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] / best / 1e9


def measure(
    every: list[Step], target: Target, m: int, k: int, n: int, seconds: float
) -> list[float]:
    """GFLOP/s of each step, each checked against float64 first.

    The steps are measured in rounds, so that a busy moment of the machine hits all of them.
    """
    torch.manual_seed(0)
    a, b = torch.randn(m, k), torch.randn(k, n)
    exact = a.double() @ b.double()
    runs = []
    for step in every:
        runs.append(build(step, target))
        error = float((runs[-1](a, b) - exact).abs().max() / exact.abs().max())
        if error > 1e-5:
            raise AssertionError(f"{step.title}: relative error {error:.1e}")
    best = [0.0] * len(every)
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        for place, run in enumerate(runs):
            best[place] = max(best[place], gflops(run, a, b, seconds / ROUNDS))
    return best


def table(every: list[Step], speeds: list[float], peak: dict[int, float]) -> str:
    """A line for each step: GFLOP/s, and the share of the peak of the cores that it uses."""
    lines = ["| step | GFLOP/s | of the peak |", "|---|---:|---:|"]
    for number, (step, speed) in enumerate(zip(every, speeds, strict=True)):
        share = f"{speed / peak[step.threads]:.0%}" if step.threads in peak else "-"
        lines.append(f"| {number}. {step.title} | {speed:.1f} | {share} |")
    return "\n".join(lines)


def section(number: int, step: Step, speed: float | None, loops: str) -> str:
    """A step as it stands in docs/tutorial.md."""
    said = "" if speed is None else f"**{speed:.1f} GFLOP/s**\n\n"
    head = f"## {number}. {step.title}\n\n{step.why}\n\n"
    return f"{head}{said}```python\n{step.code}\n```\n\n```text\n{loops}\n```\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", action="store_true", help="print the loops after each step")
    parser.add_argument("--markdown", action="store_true", help="print docs/tutorial.md")
    parser.add_argument("--size", type=int, nargs=3, default=(M, K, N), metavar=("M", "K", "N"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="to measure each step")
    given = parser.parse_args(arguments)
    target = Target.parse("host")
    every = steps(*given.size, target, threads=target.cores)
    device = tc.devices()[0].properties
    peak = {1: device.peak_gflops_core}
    peak.setdefault(target.cores, device.peak_gflops)
    speeds = measure(every, target, *given.size, given.seconds)
    if given.markdown:
        m, k, n = given.size
        print(HEADER)
        print(f"A is {m} by {k}, B {k} by {n}, fp32; {device.cpu}, {target.cores} cores, whose FMA")
        print(f"peak is {peak[1]:.0f} GFLOP/s a core (`tensorc devices`).\n")
        print(table(every, speeds, peak) + "\n")
    if given.markdown or given.loops:
        for number, (step, speed) in enumerate(zip(every, speeds, strict=True)):
            print(section(number, step, speed, str(step.schedule.func)))
    if given.markdown:
        print(FOOTER, end="")
    else:
        print(table(every, speeds, peak))
        print(f"\npeak: {peak[1]:.1f} GFLOP/s on one core")


if __name__ == "__main__":
    main()
