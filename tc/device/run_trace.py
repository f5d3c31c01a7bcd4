"""An explanation as a trace: Chrome's trace event format, which Perfetto and browsers open.

Each program is a process of the trace, each of its threads a track, each kernel call a slice. The
format: "Trace Event Format", Google, 2016. This module must not measure or write files.
"""

from __future__ import annotations

from collections.abc import Iterator

from tc.device.run_explanation import Explanation, Section


def chrome_trace(explained: Explanation) -> dict[str, object]:
    """The trace of one call of each program, ready for JSON; times in microseconds."""
    events: list[dict[str, object]] = []
    for number, section in enumerate(explained.sections):
        events += _names(number, section)
        events += _slices(number, section)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _names(number: int, section: Section) -> Iterator[dict[str, object]]:
    yield _name("process_name", number, 0, section.title)
    for thread in sorted({event.thread for event in section.events}):
        yield _name("thread_name", number, thread, f"thread {thread}")


def _name(what: str, process: int, thread: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _slices(number: int, section: Section) -> Iterator[dict[str, object]]:
    rows = {row.kernel: row for row in section.rows}
    for event in section.events:
        row = rows[event.kernel]
        yield {
            "ph": "X",
            "name": event.kernel,
            "cat": row.bound or "kernel",
            "pid": number,
            "tid": event.thread,
            "ts": event.begin * 1e6,
            "dur": (event.end - event.begin) * 1e6,
            "args": {
                "shapes": row.shapes,
                "schedule": row.schedule,
                "products": row.factors,
                "flops": row.flops // row.calls,
                "bytes": row.bytes // row.calls,
                "origin": ", ".join(row.origin),
            },
        }
