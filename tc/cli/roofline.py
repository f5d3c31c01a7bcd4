"""The roofline of a model as a picture: what its kernels reach, below what the machine allows.

The model of the picture is that of Williams, Waterman and Patterson, "Roofline", 2009: the
operations that a kernel does for each byte that it must move, against those that it does a second.
This module must not measure.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from tc.device.run_explanation import Explanation, Roofs, Row, Section
from tc.errors import UnsupportedError, describe

_NAMED = 6  # kernels of each program that the legend names, the slowest first


def require_matplotlib() -> None:
    """Raise UnsupportedError, with the way out, where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise UnsupportedError(
            describe(
                "--plot",
                why="it draws with matplotlib, which is not installed",
                way_out="pip install 'tensorc[plot]'",
            )
        )


def points(section: Section) -> list[tuple[float, float, Row]]:
    """(flops a byte, GFLOP/s, row) of each kernel that computes something."""
    return [
        (row.flops / row.bytes, row.gflops, row)
        for row in section.rows
        if row.flops and row.bytes and row.gflops
    ]


def roofline(explained: Explanation) -> bytes:
    """The picture as PNG, one part for each program; a kernel's area is its share of the time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sections = explained.sections
    figure = Figure(figsize=(9, 5.5 * max(1, len(sections))), layout="constrained")
    FigureCanvasAgg(figure)
    for number, section in enumerate(sections):
        axes = figure.add_subplot(len(sections), 1, number + 1)
        _draw(axes, section)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _draw(axes: Any, section: Section) -> None:
    found = points(section)
    total = sum(row.seconds for row in section.rows) or 1.0
    intensities = [intensity for intensity, _, _ in found] or [1.0]
    low, high = min(0.1, *intensities) / 2, max(100.0, *intensities) * 2
    for rate in sorted({1, *(row.rate for _, _, row in found)}):
        _roof(axes, section.roofs, rate, low, high)
    for number, (intensity, gflops, row) in enumerate(found):
        name = f"{row.kernel} ({row.seconds / total:.0%})" if number < _NAMED else None
        axes.scatter([intensity], [gflops], s=30 + 600 * row.seconds / total, alpha=0.6, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        title=section.title,
        xlabel="intensity (operations for each byte)",
        ylabel="GFLOP/s",
    )
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small", loc="lower right")


def _roof(axes: Any, roofs: Roofs, rate: int, low: float, high: float) -> None:
    """The bound of instructions that run at `rate` times the speed of fp32."""
    if not roofs.gflops or not roofs.bandwidth:
        return
    peak = roofs.gflops * rate
    corner = min(max(peak / roofs.bandwidth, low), high)
    name = f"{peak:.0f} GFLOP/s" + (f" ({rate} × fp32)" if rate > 1 else "")
    axes.plot(
        [low, corner, high],
        [low * roofs.bandwidth, min(corner * roofs.bandwidth, peak), peak],
        color="black",
        linewidth=1,
        linestyle="-" if rate == 1 else "--",
        label=f"{name}, {roofs.bandwidth:.0f} GB/s",
    )
