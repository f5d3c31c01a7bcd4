"""`python -m benchmarks.neon`: the inner loops for ARM, by LLVM's model of each processor.

Nothing is run, and no ARM is needed: models are compiled for each processor, by LLVM and as C by
gcc and clang, and the loops of their kernels are counted and timed by llvm-mca. A kernel is judged
by its loops of most multiply-adds: those of a whole tile. Exit status 0 where each has no spill and
at least 85 % of the multiply-adds that the processor could make in the same cycles.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

import tc
from benchmarks.report import Table, show
from tc.codegen.assembly.counts import LoopCounts, count_loops
from tc.codegen.assembly.machine_model import MachineModel
from tc.codegen.c.compilers import MEANING, machine_flags
from tc.errors import TcError

CPUS = ("cortex-a72", "cortex-a76", "neoverse-n1", "apple-m1")
LEAST = 0.85
GCC = "aarch64-linux-gnu-gcc"
CLANG = ("clang", "--target=aarch64-linux-gnu", "-I/usr/aarch64-linux-gnu/include")
COMPILERS: dict[str, tuple[str, ...]] = {"llvm": (), "gcc": (GCC,), "clang": CLANG}
_HEADS, _WIDTH = 12, 64


class Attention(torch.nn.Module):
    """Causal attention of q, k, v, each [batch, 12, length, 64]."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is compiled: a module, inputs of a call, and whether their sizes are those of all.

    `feature`: what a processor must have besides NEON; "" for nothing.
    """

    name: str
    module: Callable[[], torch.nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    fixed: bool = False
    precision: str = "fp32"
    feature: str = ""

    def target(self, cpu: str) -> Any:
        """That of a processor; None where it lacks the feature."""
        if self.feature and cpu in WITHOUT[self.feature]:
            return None
        return tc.target(f"arm-neon{'+' * bool(self.feature)}{self.feature} cpu={cpu}")


WITHOUT = {"dotprod": ("cortex-a72",)}
KERNELS = (
    Kernel("gemm", lambda: torch.nn.Linear(768, 768), ((128, 768),)),
    Kernel("gemm int8", lambda: torch.nn.Linear(768, 768), ((128, 768),), False, "int8", "dotprod"),
    Kernel("decode matvec", lambda: torch.nn.Linear(768, 3072), ((1, 768),), fixed=True),
    Kernel("attention", Attention, ((2, _HEADS, 128, _WIDTH),) * 3),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One loop: cycles and the share of the peak of multiply-adds are of an iteration."""

    kernel: str
    compiler: str
    cpu: str
    instructions: int
    fmas: int
    spills: int
    cycles: float
    peak: float
    limit: str

    @property
    def good(self) -> bool:
        """Whether it is what it should be."""
        return self.peak >= LEAST and self.spills == 0


def rows(
    cpus: Sequence[str], compilers: Sequence[str], kernels: Sequence[Kernel] = KERNELS
) -> Iterator[Row]:
    """The loops, processor by processor.

    Raises:
        TcError: llvm-mca or a compiler is missing, or has no model of all instructions of a loop.
    """
    for cpu in cpus:
        for kernel in kernels:
            target = kernel.target(cpu)
            if target is None:
                continue
            model = MachineModel(target)
            compiled = _compiled(kernel, target)
            for compiler in compilers:
                command = COMPILERS[compiler]
                loops = _of_c(compiled, command) if command else _of_llvm(compiled)
                most = max(loop.fmas for loop in loops)
                for loop in loops:
                    if loop.fmas == most:
                        yield _row(kernel.name, compiler, cpu, loop, model)


def _compiled(kernel: Kernel, target: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        example = tuple(torch.randn(shape) for shape in kernel.shapes)
        module = kernel.module().eval()
    return tc.compile(module, target=target, example_inputs=example, dynamic=not kernel.fixed,
                      precision=kernel.precision)  # fmt: skip


def _row(kernel: str, compiler: str, cpu: str, loop: LoopCounts, model: MachineModel) -> Row:
    timing = model.timing(loop)
    if timing is None:
        raise TcError(f"{kernel}: llvm-mca has no model of {cpu} with all instructions of its loop")
    return Row(kernel, compiler, cpu, loop.instructions, loop.fmas, loop.spills, timing.cycles,
               timing.peak, timing.limit)  # fmt: skip


def _of_llvm(compiled: Any) -> list[LoopCounts]:
    sections = compiled.explain(static=True).sections
    return [loop.counts for s in sections for row in s.rows for loop in row.loops]


def _of_c(compiled: Any, command: Sequence[str]) -> list[LoopCounts]:
    with tempfile.TemporaryDirectory(prefix="benchmarks-neon-") as name:
        exported = compiled.export_c(name)
        sources = sorted(str(path) for path in Path(name).glob("kernels*.c"))
        flags = ("-std=c99", "-O3", *MEANING, *machine_flags(exported.target))
        found = []
        for source in sources:
            words = [*command, *flags, "-S", "-o", "-", source]
            if shutil.which(command[0]) is None:
                raise TcError(f"there is no {command[0]} on this machine")
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise TcError(f"{command[0]}: {done.stderr.strip()}")
            found += count_loops(done.stdout, "aarch64")
        return of_whole_tiles(found)


def of_whole_tiles(found: list[LoopCounts]) -> list[LoopCounts]:
    """The loops of the largest tiles: compilers unroll those of smaller ones, with what follows."""
    shapes = [re.match(r"tile_(\d+)x(\d+)", loop.function) for loop in found]
    sizes = [0 if shape is None else int(shape[1]) * int(shape[2]) for shape in shapes]
    return [loop for loop, size in zip(found, sizes, strict=True) if size == max(sizes)]


def table(found: Sequence[Row], version: str) -> Table:
    """A line for each loop."""
    columns = ("kernel", "compiler", "processor", "instructions", "FMA", "spills", "cycles",
               "FMA peak", "limit", "")  # fmt: skip
    lines = [
        (r.kernel, r.compiler, r.cpu, str(r.instructions), str(r.fmas), str(r.spills),
         f"{r.cycles:.1f}", f"{r.peak:.0%}", r.limit, "" if r.good else "short")
        for r in found
    ]  # fmt: skip
    return Table(
        "Inner loops for ARM NEON", columns, tuple(lines),
        (f"by llvm-mca {version}: no spill and {LEAST:.0%} of the FMA peak are wanted",),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 where all loops are good, 1 where some are not, or a tool is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neon", description=__doc__)
    add = parser.add_argument
    add("--cpus", nargs="+", default=CPUS, metavar="NAME", help=", ".join(CPUS))
    add("--compilers", nargs="+", choices=list(COMPILERS), help="all that there are")
    add("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)
    there = [name for name, words in COMPILERS.items() if not words or shutil.which(words[0])]
    compilers = given.compilers or there
    try:
        found = list(rows(given.cpus, compilers))
        version = MachineModel(tc.target("arm-neon")).version
    except TcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.json:
        shown = [{**asdict(row), "good": row.good} for row in found]
        print(json.dumps({"llvm-mca": version, "rows": shown}, indent=2))
    else:
        show(table(found, version))
    return int(not all(row.good for row in found))


if __name__ == "__main__":
    sys.exit(main())
