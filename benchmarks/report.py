"""Tables on a terminal, as plain text elsewhere, and as Markdown.

Must not compute figures: it shows what it is given, with what is needed to repeat it.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorc",
    "torch",
    "transformers",
    "llvmlite",
    "numpy",
    "onnxruntime",
    "openvino",
    "ctranslate2",
    "llama-cpp-python",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; `notes` are lines that belong under it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def with_notes(table: Table, more: Sequence[str]) -> Table:
    """The table with these notes added."""
    return dataclasses.replace(table, notes=(*table.notes, *more))


def cpu_name() -> str:
    """The CPU's name and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in found.items()}
    model = fields.get("model name", platform.processor() or "unknown")
    return f"{model} family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that take part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def metadata(cores: Sequence[int]) -> dict[str, Any]:
    """When, where, with what and how the figures were taken."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": list(cores),
        "versions": versions(),
        "command": command(sys.argv[1:]),
    }


def command(arguments: Sequence[str]) -> str:
    """What to type to repeat it; where the results were put belongs to this machine alone."""
    kept = list(arguments)
    if "--out" in kept:
        at = kept.index("--out")
        del kept[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks", *kept])


def progress(text: str) -> None:
    """One line of progress on stderr: overwritten on a terminal, left out elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def announce(text: str) -> None:
    """A step that takes long: shown on any stderr, on a line of its own."""
    progress("")
    print(text, file=sys.stderr, flush=True)


def show(table: Table) -> None:
    """Print the table to stdout; nothing of it is cut off, however narrow a terminal is."""
    progress("")
    if not sys.stdout.isatty():
        print(plain(table))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    rich_table = RichTable(title=table.title, box=box.SIMPLE_HEAD, title_justify="left")
    for name, right in zip(table.columns, _figures(table), strict=True):
        rich_table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        rich_table.add_row(*row)
    console = Console(markup=False, highlight=False)
    console.print(rich_table)
    for note in table.notes:
        console.print(note)


def _figures(table: Table) -> list[bool]:
    """For each column whether it holds figures, which are aligned on their right."""
    return [
        index > 0 and any(row[index][:1].isdigit() for row in table.rows)
        for index in range(len(table.columns))
    ]


def plain(table: Table) -> str:
    """The table as aligned text."""
    lines = (table.columns, *table.rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    right = _figures(table)
    text = [
        "  ".join(
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, text))
    return "\n".join([table.title, text[0], rule, *text[1:], *table.notes])


def markdown(table: Table) -> str:
    """The table as Markdown."""
    head = ["|" + "|".join(f" {cell} " for cell in line) + "|" for line in (table.columns,)]
    rule = "|" + "|".join("---:" if right else "---" for right in _figures(table)) + "|"
    body = ["|" + "|".join(f" {cell} " for cell in row) + "|" for row in table.rows]
    return "\n".join([f"### {table.title}", "", *head, rule, *body, "", *table.notes, ""])


def plain_values(value: Any) -> Any:
    """Dataclasses as dicts, NaN and infinity as None: what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_values(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: plain_values(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
