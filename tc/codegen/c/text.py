"""C's spelling of types, literals, operators and names.

Values live in variables as: bool `bool`, integers `intN_t`, f16 and bf16 the `uint16_t` of their
bits, f32 `float`, f64 `double`. In memory a bool is a `uint8_t`. This module must not know
statements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from tc.ir.expr import Const
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType

VALUE: Final = {
    BOOL: "bool", I8: "int8_t", U8: "uint8_t", I16: "int16_t", I32: "int32_t", I64: "int64_t",
    F16: "uint16_t", BF16: "uint16_t", F32: "float", F64: "double",
}  # fmt: skip
MEMORY: Final = {**VALUE, BOOL: "uint8_t"}
HALVES: Final = frozenset((F16, BF16))

MOST_COLUMNS: Final = 100
INDENT: Final = "    "

# How tightly the outermost operator of an expression binds.
ATOM, PREFIX, PRODUCT, SUM, LOOSE = range(5)

_KEYWORDS: Final = frozenset((
    "auto", "bool", "break", "case", "char", "complex", "const", "continue", "default", "do",
    "double", "else", "enum", "extern", "false", "float", "for", "goto", "if", "imaginary",
    "inline", "int", "long", "main", "register", "restrict", "return", "short", "signed",
    "sizeof", "static", "struct", "switch", "true", "typedef", "union", "unsigned", "void",
    "volatile", "while", "asm", "typeof", "tid", "team", "scratch", "error", "errno", "stdin",
    "stdout", "stderr", "INFINITY", "NAN", "NULL", "EOF", "I",
))  # fmt: skip
# Names of the headers that are included: functions and types of the C library and intrinsics.
_RESERVED: Final = re.compile(
    r"_.*|tc_.*|TC_.*|.*_t|v[a-z0-9]+q?(_[a-z0-9]+)*_[usfbp]+\d+|u?int(ptr|max|\d+).*|"
    r"mem(cpy|move|set|cmp|chr)|str(n?(cpy|cat|cmp)|len|r?chr|str|tok|p?brk|to.*)|"
    r"(is(nan|inf|finite|normal|less|greater)\w*)|(f?printf|puts|exit|abort|free|malloc|calloc)|"
    r"(a?(sin|cos|tan)h?|exp2?|expm1|log(2|10|1p|b)?|l?l?r(int|ound)|erfc?|cbrt|sqrt|ceil|floor|"
    r"pow|trunc|[lt]gamma|f?abs|fm(a|ax|in|od)|fdim|hypot|copysign|nan|remainder|nextafter|"
    r"nearbyint|ldexp|frexp|modf|signbit|gamma|div|time|clock|signal|rand|index)[fl]?"
)


class Term(NamedTuple):
    """An expression of C: its text and how tightly its outermost operator binds."""

    text: str
    level: int = ATOM

    def within(self, level: int) -> str:
        """The text as an operand of an operator of that level, in parentheses where needed."""
        return self.text if self.level <= level else f"({self.text})"

    @property
    def atom(self) -> str:
        """The text as an operand of anything."""
        return self.within(ATOM)


def pointer(dtype: DType) -> str:
    """The type of a pointer to elements."""
    return f"{MEMORY[dtype]} *"


def literal(c: Const) -> Term:
    """A literal operand."""
    dtype = c.type
    if dtype is BOOL:
        return Term("true" if c.value else "false")
    if dtype in HALVES:
        return Term(f"0x{half_bits(float(c.value), dtype):04x}u", ATOM)
    if dtype.is_float:
        return float_literal(float(c.value), dtype is F64)
    return int_literal(int(c.value), dtype)


def int_literal(value: int, dtype: DType) -> Term:
    """A number of an integer type."""
    least = -(1 << (dtype.bits - 1))
    if value == least and dtype in (I32, I64):
        return Term("INT32_MIN" if dtype is I32 else "INT64_MIN")
    if dtype is I64 and abs(value) >= 1 << 31:
        return Term(f"INT64_C({value})")
    return Term(str(value), ATOM if value >= 0 else PREFIX)


def float_literal(value: float, double: bool) -> Term:
    """A float or double that is read back to the bit."""
    if not double:
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    if math.isnan(value):
        return Term("NAN")
    level = PREFIX if math.copysign(1.0, value) < 0 else ATOM
    if math.isinf(value):
        return Term("INFINITY" if value > 0 else "-INFINITY", level)
    text = repr(value) if double else str(np.float32(value))
    if "." not in text and "e" not in text:
        text += ".0"
    return Term(text if double else text + "f", level)


def half_bits(value: float, dtype: DType) -> int:
    """The bits of `value` rounded to f16 or bf16, to nearest even."""
    with np.errstate(over="ignore"):
        if dtype is F16:
            return int(np.float16(value).view(np.uint16))
        bits = int(np.float32(value).view(np.uint32))
    if value != value:
        return (bits >> 16) | 0x40
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def identifier(name: str) -> str:
    """A name for C made of `name`, whatever characters that has."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)[:60] or "x"
    if not clean[0].isalpha():
        clean = "x" + clean
    return clean + "_" if clean in _KEYWORDS or _RESERVED.fullmatch(clean) else clean


class Names:
    """Gives out the names of one function, each once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """`wanted` as an identifier, with a number where it is taken."""
        name = identifier(wanted)
        if name in self._taken:
            name = self.numbered(name)
        self._taken.add(name)
        return name

    def release(self, name: str) -> None:
        """`name` may be given out again: its block has ended."""
        self._taken.discard(name)

    def numbered(self, stem: str) -> str:
        """A new name of `stem` and a number."""
        while True:
            self._counts[stem] = n = self._counts.get(stem, 0) + 1
            name = identifier(stem) if n == 1 else f"{stem}{'_' if stem[-1].isdigit() else ''}{n}"
            if name not in self._taken:
                self._taken.add(name)
                return name


def comment(text: str) -> str:
    """A comment of these lines; nothing in them can end it."""
    safe = text.replace("*/", "* /").replace("\\\n", "\\ \n").replace("??/", "? ?/")
    safe = "".join(c if c.isprintable() or c == "\n" else "?" for c in safe)
    lines = [part for line in safe.splitlines() for part in _folded(line)]
    return "\n".join(["/*", *[f" * {line}".rstrip() for line in lines], " */"])


def _folded(line: str) -> list[str]:
    out: list[str] = []
    width = MOST_COLUMNS - 3
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > width:
        cut = line.rfind(" ", len(indent), width)
        cut = width if cut <= len(indent) else cut
        out.append(line[:cut].rstrip())
        line = indent + line[cut:].lstrip()
    return [*out, line]


def wrap(line: str, depth: int) -> list[str]:
    """A line of code at a depth of blocks, broken at spaces where it is too long."""
    line, more = INDENT * depth + line, INDENT * (depth + 2)
    out: list[str] = []
    while len(line) > MOST_COLUMNS and '"' not in line:
        least = len(more) + 1
        cut = max(line.rfind(", ", least, MOST_COLUMNS - 1) + 1, 0)
        if cut < MOST_COLUMNS // 2:
            cut = line.rfind(" ", least, MOST_COLUMNS + 1)
        if cut <= least:
            cut = line.rfind("(", least, MOST_COLUMNS) + 1
        if cut <= least:
            break
        out.append(line[:cut].rstrip())
        line = more + line[cut:].lstrip()
    return [*out, line]
