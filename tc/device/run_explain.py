"""Where the time of a program goes: each kernel with its shapes, its schedule and its bound.

The bound of a kernel is the time that the measured peak of this machine's arithmetic or of its
memory asks for, whichever is more; one that is faster than memory allows finds its data in a
cache. This module must not change what a program does.
"""

from __future__ import annotations

import ctypes
import html
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from tc.device.artifact import FallbackCall, KernelCall
from tc.device.physical import host_device
from tc.device.run import Program
from tc.device.run_profile import CallTime
from tc.ir.types import DType

_RUNS = 5
_LENGTH = 128  # of a symbol, where a program has not been called yet
_SHORT = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel, or one eager operator, with the sum over its calls.

    Attributes:
        kernel: its name; an eager operator's is that of its overload.
        calls: how many times one call of the program runs it.
        shapes: of its buffers at one of those.
        schedule: the steps, as text.
        seconds: of all calls together.
        bound: "compute" or "memory", which of them it cannot beat; "" if not known.
        fraction: of the bound's speed that it reaches; None if not known.
        gflops: GFLOP/s; None if it computes nothing.
        origin: places in the model.
        factors: element types of the products that it sums, such as "bf16*bf16"; "" for none.
    """

    kernel: str
    calls: int
    shapes: str
    schedule: str
    seconds: float
    bound: str
    fraction: float | None
    gflops: float | None
    origin: tuple[str, ...]
    factors: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One program: what it is called with, and its kernels, the slowest first."""

    title: str
    rows: tuple[Row, ...]
    threads: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """The kernels of all programs of a model; `str` of it is a table."""

    sections: tuple[Section, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all programs."""
        return tuple(row for section in self.sections for row in section.rows)

    def as_dict(self) -> list[dict[str, object]]:
        """The same as plain data."""
        return [asdict(section) for section in self.sections]

    def __str__(self) -> str:
        return "\n\n".join(_table(section) for section in self.sections) or "nothing compiled yet"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def explain(program: Program, title: str, labels: Mapping[str, str] | None = None) -> Section:
    """Run the program a few times at the sizes of its last call, on made-up values, and see.

    `labels` says what a symbol means, by its name.
    """
    values = program.last_values or _usual_values(program)
    args = _sample(program, values)
    runs = [program.profile(args) for _ in range(_RUNS + 1)][1:]  # the first meets cold memory
    spent = [statistics.median(t.nanoseconds for t in steps) for steps in zip(*runs, strict=True)]
    groups: dict[object, list[int]] = {}
    for number, time in enumerate(runs[0]):
        step = time.step
        key = step.kernel if isinstance(step, KernelCall) else step.op
        groups.setdefault(key, []).append(number)
    rows = [
        _row(program, [runs[0][n] for n in numbers], sum(spent[n] for n in numbers) * 1e-9, values)
        for numbers in groups.values()
    ]
    sizes = ", ".join(
        f"{(labels or {}).get(symbol.name, symbol.name)}={value}"
        for symbol, value in zip(program.artifact.symbols, values, strict=True)
    )
    rows.sort(key=lambda row: -row.seconds)
    return Section(f"{title} [{sizes}]" if sizes else title, tuple(rows), program.threads)


def _row(
    program: Program, times: Sequence[CallTime], seconds: float, values: tuple[int, ...]
) -> Row:
    step = times[0].step
    if isinstance(step, FallbackCall):
        shapes = program.storage_shapes(step.inputs, values)
        return Row(
            step.op, len(times), shapes, "(runs eagerly)", seconds, "", None, None,
            tuple(t.step.origin for t in times if isinstance(t.step, FallbackCall)),
        )  # fmt: skip
    kernel = program.artifact.kernels[step.kernel]
    flops = moved = 0
    for time in times:
        assert isinstance(time.step, KernelCall)
        one, other = program.kernel_sizes(time.step, values)
        flops, moved = flops + one, moved + other
    bound, least = _bound(flops / kernel.rate, moved, program.threads)
    return Row(
        kernel.name,
        len(times),
        program.storage_shapes(step.buffers, values),
        kernel.schedule,
        seconds,
        bound,
        least / seconds if least and seconds else None,
        flops / seconds * 1e-9 if flops and seconds else None,
        kernel.origin,
        kernel.factors,
    )


def _bound(flops: float, moved: int, threads: int) -> tuple[str, float]:
    """What bounds such work, of `flops` at the rate of f32, and the seconds it takes at least."""
    properties = host_device().properties
    alone = threads == 1
    peak = properties.peak_gflops_core if alone else properties.peak_gflops
    bandwidth = properties.bandwidth_core if alone else properties.bandwidth
    if not peak or not bandwidth or not (flops or moved):
        return "", 0.0
    compute, memory = flops / (peak * 1e9), moved / (bandwidth * 1e9)
    return ("compute", compute) if compute >= memory else ("memory", memory)


def _usual_values(program: Program) -> tuple[int, ...]:
    return tuple(
        min(max(symbol.low, 1 if n == 0 else _LENGTH), symbol.high)
        for n, symbol in enumerate(program.artifact.symbols)
    )


def _sample(program: Program, values: tuple[int, ...]) -> list[object]:
    """Inputs of these sizes that hold ones: legal ids, and masks that let everything pass."""
    made = []
    for info, shape in zip(program.artifact.inputs, program.input_shapes(values), strict=True):
        array = program.arrays.maker(shape, info.dtype)()
        size = int(np.prod(shape)) * info.dtype.bytes
        if size:
            memory = (ctypes.c_char * size).from_address(program.arrays.address(array))
            np.frombuffer(memoryview(memory), _NUMPY[info.dtype])[:] = _ONE.get(info.dtype, 1)
        made.append(array)
    return made


_NUMPY: Final[Mapping[DType, Any]] = {
    DType.BOOL: np.uint8, DType.I8: np.int8, DType.U8: np.uint8, DType.I16: np.int16,
    DType.I32: np.int32, DType.I64: np.int64, DType.F16: np.float16, DType.BF16: np.uint16,
    DType.F32: np.float32, DType.F64: np.float64,
}  # fmt: skip
_ONE = {DType.BF16: 0x3F80}


def _table(section: Section) -> str:
    total = sum(row.seconds for row in section.rows) or 1.0
    lines = [("kernel", "calls", "products", "shapes", "time", "share", "GFLOP/s", "bound",
              "% of bound", "schedule")]  # fmt: skip
    for row in section.rows:
        lines.append(
            (
                _cut(row.kernel, 32),
                str(row.calls),
                row.factors,
                _cut(row.shapes, _SHORT),
                _time(row.seconds),
                f"{row.seconds / total:.0%}",
                "" if row.gflops is None else f"{row.gflops:.1f}",
                row.bound,
                "" if row.fraction is None else f"{row.fraction:.0%}",
                _cut(row.schedule, _SHORT),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {1, 4, 5, 6, 8}
    shown = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    names = Counter(row.kernel for row in section.rows if row.schedule == "(runs eagerly)")
    note = f", eager: {', '.join(names)}" if names else ""
    head = f"{section.title}: {_time(total)} in {len(section.rows)} kernels"
    threads = "thread" if section.threads == 1 else "threads"
    return "\n".join([f"{head}, {section.threads} {threads}{note}", *shown])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"
