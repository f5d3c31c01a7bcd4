"""What LLVM makes of the kernels of a program, loop by loop, by looking alone: nothing is run.

The counterpart of `tc.device.run_explanation` for a program of another machine. This module must
not measure.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from tc.codegen.assembly.counts import ARCHITECTURES, LoopCounts, count_loops
from tc.codegen.assembly.machine_model import MachineModel, Timing
from tc.codegen.llvm.library import library
from tc.device.artifact import Artifact, FallbackCall, KernelCall, KernelInfo
from tc.device.dims import Dim
from tc.errors import UnsupportedError, describe
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.standalone.rendering import flat
from tc.target import Target

_SHORT: Final = 60
_NAMES: Final = 32


@frozen
class LoopRow:
    """One inner loop; `timing` is None where there is no model, or it does not know the code."""

    counts: LoopCounts
    timing: Timing | None

    def as_dict(self) -> dict[str, object]:
        """The same as plain data."""
        counts: dict[str, Any] = asdict(self.counts)
        del counts["function"]
        timing: dict[str, Any] = {} if self.timing is None else asdict(self.timing)
        if self.timing is not None:
            timing["limit"] = self.timing.limit
        return {"instructions": self.counts.instructions, **counts, "kinds": dict(counts["kinds"]),
                "timing": timing or None}  # fmt: skip


@frozen
class KernelRow:
    """One kernel.

    Attributes:
        calls: how many times one call of the program runs it.
        flops, bytes: of one call, over `symbols`: operations, and what must be moved at least.
    """

    kernel: str
    calls: int
    schedule: str
    source: str
    origin: tuple[str, ...]
    symbols: tuple[str, ...]
    flops: Dim
    bytes: Dim
    loops: tuple[LoopRow, ...]

    def as_dict(self) -> dict[str, object]:
        """The same as plain data."""
        names = ("kernel", "calls", "schedule", "source", "origin", "symbols", "flops", "bytes")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "loops": [loop.as_dict() for loop in self.loops]}


@frozen
class LoopSection:
    """One program: its kernels in the order of their first call, and its eager operators."""

    title: str
    rows: tuple[KernelRow, ...]
    eager: tuple[str, ...] = ()


@frozen
class LoopReport:
    """The inner loops of all programs of a model; `str` of it is a table.

    Attributes:
        cpu: the processor whose model was asked.
        model: what has the model: "llvm-mca 19"; "" where there is none.
        note: why there are no cycles; "" where there are.
    """

    target: str
    cpu: str
    model: str
    note: str
    sections: tuple[LoopSection, ...]

    def as_dict(self) -> dict[str, object]:
        """The same as plain data."""
        sections = [
            {"title": s.title, "eager": s.eager, "rows": [row.as_dict() for row in s.rows]}
            for s in self.sections
        ]
        return {"target": self.target, "cpu": self.cpu, "model": self.model, "note": self.note,
                "sections": sections}  # fmt: skip

    def __str__(self) -> str:
        known = f", cycles by {self.model} for {self.cpu}" if self.model else ""
        head = f"inner loops as LLVM makes them for {self.target}{known}; an iteration of each"
        parts = [head, *map(_table, self.sections), *([self.note] if self.note else [])]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def report(programs: Sequence[tuple[str, Artifact]], target: Target) -> LoopReport:
    """Look at the kernels of programs, each with its title.

    Raises:
        UnsupportedError: a target that LLVM does not know, or whose assembly is not known here.
    """
    model, note = None, ""
    try:
        model = MachineModel(target)
    except UnsupportedError as error:
        note = error.message
    sections = tuple(_section(title, a, target, model) for title, a in programs)
    version = "" if model is None else f"llvm-mca {model.version}"
    return LoopReport(str(target), target.llvm_cpu, version, note, sections)


def loops_of(kernels: Mapping[str, Func], target: Target) -> list[LoopCounts]:
    """The inner loops of kernels, flat vector IR, as LLVM makes them.

    Raises:
        UnsupportedError: a target that LLVM does not know, or whose assembly is not known here.
    """
    arch = target.llvm_triple.split("-")[0]
    if arch not in ARCHITECTURES:
        raise UnsupportedError(
            describe(
                f"loops of code for {target}",
                why=f"the assembly of {arch} is not known",
                way_out=f"known: {', '.join(ARCHITECTURES)}",
            )
        )
    return count_loops(library(kernels, target).assembly(comments=True), arch)


def _section(
    title: str, artifact: Artifact, target: Target, model: MachineModel | None
) -> LoopSection:
    calls = Counter(step.kernel for step in artifact.main if isinstance(step, KernelCall))
    infos = {number: artifact.kernels[number] for number in calls}
    found: dict[str, list[LoopRow]] = {info.name: [] for info in infos.values()}
    for counts in loops_of({info.name: flat(info, target) for info in infos.values()}, target):
        timing = None if model is None else model.timing(counts)
        found[counts.function].append(LoopRow(counts, timing))
    rows = [_row(info, calls[n], tuple(found[info.name])) for n, info in infos.items()]
    eager = [step.op for step in artifact.main if isinstance(step, FallbackCall)]
    return LoopSection(title, tuple(rows), tuple(dict.fromkeys(eager)))


def _row(info: KernelInfo, calls: int, loops: tuple[LoopRow, ...]) -> KernelRow:
    return KernelRow(info.name, calls, info.schedule, info.source, info.origin, info.symbols,
                     info.flops, info.bytes, loops)  # fmt: skip


_HEAD: Final = ("kernel", "calls", "instructions", "FMA", "products", "loads", "stores", "spills",
                "bytes", "cycles", "FMA peak", "limit", "schedule")  # fmt: skip


def _table(section: LoopSection) -> str:
    lines: list[tuple[str, ...]] = [_HEAD]
    for row in section.rows:
        name, schedule = _cut(row.kernel, _NAMES), _cut(row.schedule, _SHORT)
        cells = [_cells(loop) for loop in row.loops] or [("",) * 10]
        lines.append((name, str(row.calls), *cells[0], schedule))
        lines += [("", "", *more, "") for more in cells[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    left = {0, 11, 12}
    shown = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    eager = f", eager: {', '.join(section.eager)}" if section.eager else ""
    return "\n".join([f"{section.title}: {len(section.rows)} kernels{eager}", *shown])


def _cells(loop: LoopRow) -> tuple[str, ...]:
    c, t = loop.counts, loop.timing
    numbers = (c.instructions, c.fmas, c.products, c.loads, c.stores, c.spills)
    timed = ("", "", "") if t is None else (
        f"{t.cycles:.1f}", f"{t.peak:.0%}" if c.fmas else "", t.limit
    )  # fmt: skip
    return (*map(str, numbers), str(c.loaded + c.stored), *timed)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
