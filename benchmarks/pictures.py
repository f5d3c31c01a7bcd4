"""The pictures of a report, drawn with matplotlib from records alone; without it there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.record import Record
from benchmarks.report import announce
from benchmarks.sweep import Row
from benchmarks.verdict import Verdict, geometric_mean

COLOURS = {"aim met": "tab:green", "must met": "gold"}


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the pictures that the records hold something for; their paths."""
    if find_spec("matplotlib") is None:
        announce("no pictures: pip install matplotlib")
        return []
    known = {found.part: found for found in records}
    verdicts = [each for found in records for each in found.verdicts]
    made = {}
    if any(each.relative is not None for each in verdicts):
        made["goals.png"] = _goals(verdicts)
    if "models" in known and (times := model_times(known["models"])):
        made["models.png"] = _models(times)
    if "sweep" in known and (lines := shares_by_size(known["sweep"])):
        made["sweep.png"] = _sweep(lines)
    for name, figure in made.items():
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in made]


def model_times(found: Record) -> dict[str, dict[str, float]]:
    """How many times tc's time each contender takes, by row and contender; tc has 1."""
    rows = {}
    for row in found.figures["rows"]:
        ratios = {r["name"]: r["ratio"] for r in row["results"] if r["state"] == "ok"}
        if "tc" in ratios:
            rows[row["name"]] = ratios
    return rows


def shares_by_size(found: Record) -> dict[str, dict[int, float]]:
    """Geometric mean of the shares over K and N, by row and M."""
    lines: dict[str, dict[int, float]] = {}
    for each in found.figures["passes"]:
        sizes: dict[int, list[float]] = {}
        for cell in each["cells"]:
            sizes.setdefault(cell["m"], []).append(min(1.0, cell["bound"] / cell["seconds"]))
        if sizes:
            row = Row(**each["row"])
            lines[row.name] = {m: geometric_mean(shares) for m, shares in sorted(sizes.items())}
    return lines


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _goals(verdicts: Sequence[Verdict]) -> Any:
    """A bar for each figure, as long as it is good: 1 is what must be; a mark is the aim."""
    shown = [each for each in reversed(verdicts) if each.relative is not None]
    figure, axes = _figure(9, 1 + 0.24 * len(shown))
    places = range(len(shown))
    colours = [COLOURS.get(each.text, "tab:red") for each in shown]
    axes.barh(places, [each.relative for each in shown], color=colours)
    aims = [
        each.wanted.must / each.wanted.aim
        if each.goal.lower
        else each.wanted.aim / each.wanted.must
        for each in shown
    ]
    axes.plot(aims, places, "k|", markersize=9, label="aim")
    axes.axvline(1.0, color="black", linewidth=1, label="must")
    axes.set_yticks(places, [each.row for each in shown], fontsize="x-small")
    axes.set(xscale="log", xlabel="figure over what must be reached (more is better)")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.legend(fontsize="x-small")
    return figure


def _models(times: Mapping[str, Mapping[str, float]]) -> Any:
    """Groups of bars: the time of each contender over tc's."""
    contenders = list(dict.fromkeys(name for row in times.values() for name in row))
    figure, axes = _figure(9, 4.5)
    width = 0.8 / len(contenders)
    for number, (name, places, values) in enumerate(_bars(times, contenders)):
        shift = (number - (len(contenders) - 1) / 2) * width
        axes.bar([place + shift for place in places], values, width, label=name)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xticks(range(len(times)), list(times), rotation=25, ha="right", fontsize="small")
    axes.set(ylabel="time over tc's (less is faster)", title="Whole models, fp32")
    axes.legend(fontsize="small")
    return figure


def _bars(
    times: Mapping[str, Mapping[str, float]], contenders: Sequence[str]
) -> Iterator[tuple[str, list[int], list[float]]]:
    for name in contenders:
        found = [(n, row[name]) for n, row in enumerate(times.values()) if name in row]
        yield name, [n for n, _ in found], [value for _, value in found]


def _sweep(lines: Mapping[str, Mapping[int, float]]) -> Any:
    """A line for each kind of arithmetic and number of threads."""
    figure, axes = _figure(8, 4.5)
    for name, shares in lines.items():
        axes.plot(list(shares), [100 * s for s in shares.values()], marker=".", label=name)
    axes.set(
        xscale="log",
        ylim=(0, 105),
        xlabel="M",
        ylabel="% of the bound, geometric mean over K and N",
        title="Matrix products with constant weights",
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    return figure
