"""What every part of the benchmark is given and gives: options in, tables and verdicts out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from benchmarks import load
from benchmarks.report import Table
from benchmarks.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        rows: parts of the names of the rows to measure; none: all rows.
        peers: contenders to take part; none: all that the part has.
        quick: fewer and shorter rounds, and a sample of a part that has very many rows.
        force: time on a busy machine all the same.
        cores: what everything is pinned to.
        watch: how the cores' foreign load is found out.
    """

    rows: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    quick: bool = False
    force: bool = False
    cores: tuple[int, ...] = field(default_factory=load.chosen_cores)
    watch: Callable[[tuple[int, ...]], float] = load.watch_cores

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of a part's rows that were asked for. Raises ValueError: none."""
        found = [
            name
            for name in names
            if not self.rows or any(part.lower() in name.lower() for part in self.rows)
        ]
        if not found:
            raise ValueError(f"no row matches {', '.join(self.rows)}; rows: {', '.join(names)}")
        return found

    def contenders(self, known: Sequence[str]) -> list[str]:
        """Those of a part's contenders that take part, in its order. Raises ValueError: none."""
        found = [name for name in known if not self.peers or name in self.peers]
        if not found:
            raise ValueError(
                f"no contender is called {', '.join(self.peers)}; contenders: {', '.join(known)}"
            )
        return found


class Quiet:
    """Refuses timings on cores that others use, and remembers how busy they were."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.busy = 0.0

    def __call__(self) -> None:
        """Look now. Raises LoadError, unless forced."""
        options = self._options
        share = load.require_quiet(options.cores, options.force, options.watch)
        self.busy = max(self.busy, share)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of it."""
        if self.busy <= load.BUSY_LIMIT:
            return ()
        return (f"UNRELIABLE: the cores were up to {self.busy:.0%} busy with other work (--force)",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a part found.

    Attributes:
        figures: everything measured, as dataclasses, dicts, lists and plain values.
        failed: something was wrong, broken or refused.
        busy: greatest share of the cores' time that others used (0 to 1).
    """

    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...]
    figures: dict[str, Any]
    failed: bool = False
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part: what it is, the names of its rows and contenders, and how it is run."""

    doc: str
    rows: Callable[[], Sequence[str]]
    peers: Sequence[str]
    run: Callable[[Options], Outcome]


def run_as_program(name: str) -> NoReturn:
    """Run one part by its name in `python -m benchmarks`, with the rest of the command line."""
    from benchmarks.__main__ import main

    sys.exit(main([name, *sys.argv[1:]]))
