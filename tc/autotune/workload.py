"""What a tuning record is keyed by: a workload's naive loops as text, and its constants.

The text says all that the speed of a schedule depends on but the machine and the sizes: element
types, shapes, symbols with their bounds, what is computed. The names of symbols differ from model
to model and mean nothing, so they are numbered. A record is made a kernel again from the text
alone. This module must not schedule anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from tc.autotune.rows import WorkloadRow
from tc.device.dims import compile_dim, dim_of
from tc.errors import TcError, TuningError, describe
from tc.frozen import frozen
from tc.graph.cost import flops, moved_bytes
from tc.ir.expr import Sym
from tc.ir.loop import Func
from tc.ir.parser import parse
from tc.pipeline import Workload

MOST_TEXT: Final = 1 << 20
_SYMBOL: Final = re.compile(r"[(,] ?(\w+): sym\[")


@frozen
class Key:
    """A workload's canonical text.

    Attributes:
        text: of the naive loops, with symbols numbered n0, n1, … in the order of the kernel's.
        constants: a letter for each input, c for a constant and v for another.
        symbols: as the kernel at hand calls them, in that order.
    """

    text: str
    constants: str
    symbols: tuple[str, ...]

    @property
    def hash(self) -> str:
        """The key itself, of fixed length."""
        return text_hash(self.text, self.constants)


def text_hash(text: str, constants: str) -> str:
    """What a workload of this canonical text is found by."""
    return hashlib.sha256(f"{constants}\n{text}".encode()).hexdigest()[:32]


def key_of(workload: Workload) -> Key:
    """The key of a workload as the pipeline has it."""
    made = workload.computation
    letters = "".join("c" if p.name in made.constants else "v" for p in made.inputs)
    return key_of_text(str(workload.lowered.func), letters)


def key_of_text(text: str, constants: str) -> Key:
    """The key of naive loops with symbols of any name."""
    if text.startswith("def kernel(\n"):
        # How long names are decides whether the printer gives each parameter a line of its own.
        head, end, body = text.partition(",\n):")
        head = head.replace("(\n    ", "(", 1).replace(",\n    ", ", ")
        text = f"{head}):{body}" if end else text
    symbols = tuple(_SYMBOL.findall(text))
    prefix = "n"
    while any(w not in symbols for w in re.findall(rf"(?<!\w){prefix}\d+(?!\w)", text)):
        prefix += "n"  # a loop or buffer is called so
    names = {name: f"{prefix}{number}" for number, name in enumerate(symbols)}
    if names:
        whole = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, names))})(?!\w)")
        text = whole.sub(lambda found: names[found[1]], text)
    return Key(text, constants, symbols)


def row_of(workload: Workload, key: Key, name: str, family: str) -> WorkloadRow:
    """The database's row for a workload."""
    renamed = {old: f"n{number}" for number, old in enumerate(key.symbols)}

    def sized(value: int | str) -> str:
        text = str(value)
        for old, new in renamed.items():
            text = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, text)
        return text

    made = workload.computation
    return WorkloadRow(
        hash=key.hash,
        name=name,
        family=family,
        constants=key.constants,
        text=key.text,
        flops=sized(dim_of(flops(made))),
        bytes=sized(dim_of(moved_bytes(made))),
    )


def work_at(row: WorkloadRow, sizes: Sequence[int]) -> tuple[float, float]:
    """(floating-point operations, bytes) of a call at sizes of its symbols."""
    names = [f"n{n}" for n in range(len(sizes))]

    def value(text: str) -> float:
        dim: int | str = int(text) if text.isdecimal() else text
        return float(compile_dim(dim, names)(sizes))

    return value(row.flops), value(row.bytes)


def loops_of(text: str | bytes, where: str = "") -> Func:
    """The naive loops again; TuningError for text that is none."""
    if isinstance(text, bytes):  # which a column of a database can hold too
        raise TuningError(describe("workload", where=where, why="its text is no text"))
    if len(text) > MOST_TEXT:
        raise TuningError(describe("workload", where=where, why=f"longer than {MOST_TEXT} bytes"))
    try:
        found = parse(text)
    except (TcError, ValueError, RecursionError) as error:
        raise TuningError(
            describe("workload", where=where, why=f"its text cannot be read ({error})")
        ) from error
    if not isinstance(found, Func):
        raise TuningError(describe("workload", where=where, why="its text is no kernel"))
    return found


def sizes_text(symbols: Mapping[str, int] | list[int] | tuple[int, ...]) -> str:
    """Sizes of symbols in canonical order, as the database keeps them: "n0=1 n1=128"."""
    values = list(symbols.values()) if isinstance(symbols, Mapping) else list(symbols)
    return " ".join(f"n{number}={value}" for number, value in enumerate(values))


def sizes_of(text: str) -> tuple[int, ...]:
    """The sizes again, in order; TuningError for text that is none."""
    found = re.findall(r"(?:^|\s)n\d+=(\d{1,10})(?=\s|$)", text)
    if " ".join(f"n{n}={value}" for n, value in enumerate(found)) != text:
        raise TuningError(describe(f"sizes {text!r}", why="not of the form n0=1 n1=128"))
    return tuple(map(int, found))


def checked_sizes(symbols: Sequence[Sym], sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Further sizes to check a candidate at: the least, odd ones, tails; none too large.

    A symbol that can be 0 may be a place, or the number of those before it: it stays below others.
    """
    if not symbols:
        return ()
    found = [
        tuple(
            max(s.lo, min(number - (s.lo == 0), s.hi, size))
            for s, size in zip(symbols, sizes, strict=True)
        )
        for number in (1, 7, 34)
    ]
    return tuple(each for each in dict.fromkeys(found) if each != sizes)
