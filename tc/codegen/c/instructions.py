"""Tables of vector instructions: what each computes, and how C says it.

A row has a signature over kinds of registers, its meaning for one lane in the words of the loop IR,
its C text, and the feature that a target must have. `Isa` is the table of one target; the writer of
vectors looks rows up by operator and kinds of operands, and has a loop over lanes for what no row
computes. This module must not write kernels.

Kinds, of one register each: f32, f64, i32 and i64 are lanes of that type; i32 also carries
integers of fewer bits, one in each lane, and the bits of halves. m32 is a mask for lanes of 32 bits
(a bool in each). u8, i8 and bf16 are packed: 32 bits of them belong to each lane of an i32 or f32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tc.codegen.c.helpers import Helper
from tc.frozen import frozen
from tc.ir.types import BF16, BOOL, F32, F64, I8, I32, I64, U8, DType
from tc.target import Target

# The element type of each kind, and how many elements a register of 128 bits holds.
ELEMENTS: Final[Mapping[str, tuple[DType, int]]] = {
    "f32": (F32, 4), "f64": (F64, 2), "i32": (I32, 4), "i64": (I64, 2), "m32": (BOOL, 4),
    "u8": (U8, 16), "i8": (I8, 16), "bf16": (BF16, 8),
}  # fmt: skip


@frozen
class Instruction:
    """One row.

    Attributes:
        op: the operator, as `tc.ir.expr` names it, or a word of the table.
        operands: the kinds of a, b, c, or an element type followed by "*" for memory, or by "1"
            for a scalar.
        result: the kind of the result; "" where it writes to memory.
        meaning: an expression of the loop IR for lane l over the operands a[l], b[l], c[l]; a
            scalar is a[0]. `dot` is the node of that name, `lanes_add` a fold of all lanes.
        c: the C text, with {a}, {b}, {c} for the operands.
        feature: what a target must have, by LLVM's name.
        helpers: the functions that the text calls.
    """

    op: str
    operands: tuple[str, ...]
    result: str
    meaning: str
    c: str
    feature: str
    helpers: tuple[str, ...] = ()


def rows(feature: str, table: str) -> tuple[Instruction, ...]:
    """Rows of text: op operands -> result ; meaning ; C text. A line that ends in ";" goes on."""
    out = []
    for line in table.replace(";\n", "; ").strip().splitlines():
        signature, meaning, c = (part.strip() for part in line.split(";"))
        left, _, result = signature.partition("->")
        op, *operands = left.split()
        helpers = tuple(dict.fromkeys(re.findall(r"tc_\w+", c)))
        out.append(Instruction(op, tuple(operands), result.strip(), meaning, c, feature, helpers))
    return tuple(out)


@dataclass(frozen=True)
class Isa:
    """The vector instructions of one target.

    Attributes:
        name: of the table.
        bits: of a register.
        header: the system header that declares the instructions; "": C itself has them.
        types: the C type of a register of each kind.
        table: the rows, in order of preference.
        helpers: functions and types of this table, beside those of `tc.codegen.c.helpers`.
        preamble: lines that go first in a file of kernels, in front of its headers.
        prefetch: the text that asks for the line at {p}, for cache {level}; "": C has no such hint.
        lane_registers: how many registers there are, where `fma_lane0` and its like multiply by a
            lane of one, or 0.
    """

    name: str
    bits: int
    header: str
    types: Mapping[str, str]
    table: tuple[Instruction, ...]
    helpers: Mapping[str, Helper] = field(default_factory=dict)
    preamble: tuple[str, ...] = ()
    prefetch: str = ""
    lane_registers: int = 0

    def __post_init__(self) -> None:
        found: dict[tuple[str, ...], Instruction] = {}
        for row in self.table:
            found.setdefault((row.op, *row.operands, "->", row.result), row)
        object.__setattr__(self, "_rows", found)

    def row(self, op: str, *operands: str, result: str = "") -> Instruction | None:
        """The instruction for an operator on these kinds, or None."""
        known: Mapping[tuple[str, ...], Instruction] = self._rows  # type: ignore[attr-defined]
        return known.get((op, *operands, "->", result))

    def count(self, kind: str) -> int:
        """How many elements a register of that kind holds."""
        return ELEMENTS[kind][1] * self.bits // 128


def available(table: Iterable[Instruction], target: Target) -> tuple[Instruction, ...]:
    """The rows whose feature `target` has."""
    return tuple(r for r in table if target.has(r.feature))
