"""What the commands print: tables and JSON on stdout, progress on stderr.

Stdout holds the answer alone, so that it can be piped. This module must not decide what is
printed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from tc.cli.options import Settings

WIDE = 10_000  # columns of a table that is not shown on a terminal: nothing is cut off


def print_json(value: object) -> None:
    """One document; what JSON has no number for (NaN, infinities) becomes null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1
) -> None:
    """A table on stdout; the first `left` columns are text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE)
    console.print(table)


@contextmanager
def step(settings: Settings, text: str) -> Iterator[None]:
    """Show on stderr that something is going on, and how long it took; nothing without text."""
    if settings.quiet or not text:
        yield
        return
    start = time.perf_counter()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape

        with Console(stderr=True).status(f"{escape(text)} ..."):
            yield
    else:
        print(f"{text} ...", file=sys.stderr, flush=True)
        yield
    print(f"{text}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def progress(settings: Settings, text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar with the time left on stderr; the function that it gives moves it by one."""
    if settings.quiet or not sys.stderr.isatty():
        with step(settings, text):
            yield lambda: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)
