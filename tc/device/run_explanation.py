"""What `explain` found: the kernels of each program of a model, and its text.

This module must not run or measure anything.
"""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import asdict
from typing import Final

from tc.device.run_accuracy import Accuracy
from tc.frozen import frozen

EAGER: Final = "(runs eagerly)"
"""What stands in place of a schedule where a kernel is an operator of the caller's framework."""

_SHORT = 60


@frozen
class Row:
    """One kernel, or one eager operator, with the sum over its calls.

    Attributes:
        kernel: its name; an eager operator's is that of its overload.
        calls: how many times one call of the program runs it.
        shapes: of its buffers at one of those.
        schedule: the steps, as text.
        seconds: of all calls together, from the first thread's beginning to the last one's end.
        waiting: of those, how many a thread on average waits for the slowest.
        flops, bytes: of all calls together: operations, and what must be moved at least.
        bound: "compute" or "memory", which of them it cannot beat; "" if not known.
        least: the seconds that this bound asks for; None if not known.
        fraction: of the bound's speed that it reaches; None if not known.
        gflops: GFLOP/s; None if it computes nothing.
        origin: places in the model.
        factors: element types of the products that it sums, such as "bf16*bf16"; "" for none.
        rate: how many times the rate of f32 the instructions for these products have.
        source: where the schedule comes from: "default", or a tuning record; "" for an operator.
    """

    kernel: str
    calls: int
    shapes: str
    schedule: str
    seconds: float
    waiting: float = 0.0
    flops: int = 0
    bytes: int = 0
    bound: str = ""
    least: float | None = None
    fraction: float | None = None
    gflops: float | None = None
    origin: tuple[str, ...] = ()
    factors: str = ""
    rate: int = 1
    source: str = ""


@frozen
class Roofs:
    """What bounds a program on this machine with its threads; None: could not be measured.

    Attributes:
        gflops: of fp32 FMA instructions.
        bandwidth: of streaming reads, in GB/s.
    """

    gflops: float | None
    bandwidth: float | None


@frozen
class Event:
    """One kernel call, or eager operator, on one thread, in seconds since the first began."""

    kernel: str
    thread: int
    begin: float
    end: float


@frozen
class Section:
    """One program: what it is called with, its kernels, the slowest first, and the rest.

    Attributes:
        latency: seconds of a call as measured without time stamps.
        barriers, fork_join, call: seconds of a call that no kernel takes, see `Account`.
        events: the kernels of one call in order of time.
    """

    title: str
    rows: tuple[Row, ...]
    threads: int
    latency: float
    barriers: float
    fork_join: float
    call: float
    roofs: Roofs
    events: tuple[Event, ...]

    @property
    def accounted(self) -> float:
        """The sum of all parts, in seconds; `latency` is measured apart from it."""
        rows = sum(row.seconds for row in self.rows)
        return rows + self.barriers + self.fork_join + self.call

    def as_dict(self) -> dict[str, object]:
        """The same as plain data, without the events."""
        found = asdict(self)
        del found["events"]
        return {**found, "accounted": self.accounted}


@frozen
class Explanation:
    """The kernels of all programs of a model; `str` of it is a table.

    `accuracy` is what shorter numbers than fp32 change, where the model is in such.
    """

    sections: tuple[Section, ...]
    accuracy: Accuracy | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all programs."""
        return tuple(row for section in self.sections for row in section.rows)

    def as_dict(self) -> list[dict[str, object]]:
        """The same as plain data."""
        return [section.as_dict() for section in self.sections]

    def __str__(self) -> str:
        parts = [_table(section) for section in self.sections] or ["nothing compiled yet"]
        return "\n\n".join(parts if self.accuracy is None else [*parts, str(self.accuracy)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _table(section: Section) -> str:
    total = sum(row.seconds for row in section.rows) or 1.0
    lines = [("kernel", "calls", "products", "shapes", "time", "share", "waits", "GFLOP", "MB",
              "GFLOP/s", "bound", "% of bound", "source", "schedule")]  # fmt: skip
    for row in section.rows:
        lines.append(
            (
                _cut(row.kernel, 32),
                str(row.calls),
                row.factors,
                _cut(row.shapes, _SHORT),
                _time(row.seconds),
                f"{row.seconds / total:.0%}",
                f"{row.waiting / row.seconds:.0%}" if row.seconds else "",
                f"{row.flops * 1e-9:.3f}" if row.flops else "",
                f"{row.bytes * 1e-6:.3f}" if row.bytes else "",
                "" if row.gflops is None else f"{row.gflops:.1f}",
                row.bound,
                "" if row.fraction is None else f"{row.fraction:.0%}",
                row.source,
                _cut(row.schedule, _SHORT),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {0, 2, 3, 10, 12, 13}
    shown = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([_head(section, total), *shown, _rest(section)])


def _head(section: Section, total: float) -> str:
    names = Counter(row.kernel for row in section.rows if row.schedule == EAGER)
    note = f", eager: {', '.join(names)}" if names else ""
    threads = "thread" if section.threads == 1 else "threads"
    head = f"{section.title}: {_time(total)} in {len(section.rows)} kernels"
    return f"{head}, {section.threads} {threads}{note}"


def _rest(section: Section) -> str:
    """What no kernel takes, and how well the sum of all meets the time of a call."""
    parts = (
        ("barriers", section.barriers),
        ("fork and join", section.fork_join),
        ("call", section.call),
    )
    named = ", ".join(f"{name} {_time(seconds)}" for name, seconds in parts)
    return f"{named}; together {_time(section.accounted)}, measured {_time(section.latency)}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"
