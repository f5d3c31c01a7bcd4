"""Vectors in registers: what holds them, and the ways between registers, memory and lanes.

A vector is a number of registers of one kind, its parts. Integers of fewer than 32 bits and halves
take 32 bits for each lane, so that lanes of different types lie side by side. Which row of a table
computes a node is said by `tc.codegen.c.vectors`; what none does goes lane by lane through memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tc.codegen.c import memory, scalar
from tc.codegen.c.instructions import Instruction, Isa
from tc.codegen.c.text import (
    ATOM,
    HALVES,
    LOOSE,
    PREFIX,
    Term,
    identifier,
    literal,
)
from tc.codegen.c.values import Values
from tc.codegen.c.writer import LONGEST_INLINE, Writer
from tc.frozen import frozen
from tc.ir.expr import (
    Broadcast,
    Const,
    Expr,
    Load,
    Ramp,
    Var,
)
from tc.ir.loop import Buffer
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, U8, DType

KINDS: Final = {
    F32: "f32", F64: "f64", I32: "i32", I16: "i32", I8: "i32", U8: "i32", F16: "i32", BF16: "i32",
    BOOL: "m32",
}  # fmt: skip

# Rows that are an operator of C.
_INFIX: Final = re.compile(r"\{a\} (\S+) \{b\}")
_PREFIX: Final = re.compile(r"([-~]|\(\w+\))\{a\}")


@frozen
class Vec:
    """A vector: the kind of its registers, and an expression for each of them."""

    kind: str
    parts: tuple[Term, ...]


@frozen
class Held:
    """A buffer in variables: one for each register, or for each scalar where `lanes` is 1."""

    lanes: int
    names: tuple[str, ...]


class Registers(Values):
    """Writes expressions with the instructions of `isa`; None: lane by lane."""

    def __init__(self, w: Writer, uses: Mapping[int, int], fuses: bool, isa: Isa | None) -> None:
        super().__init__(w, uses, fuses)
        self.isa = isa
        self.held: dict[str, Held] = {}

    # --- rows

    def kind(self, dtype: DType, lanes: int) -> str | None:
        """The kind of registers that hold such a vector; None where none do."""
        kind = KINDS.get(dtype)
        if self.isa is None or kind is None or lanes == 1 or lanes % self.isa.count(kind):
            return None
        return kind

    def row(self, op: str, *operands: str, result: str = "") -> Instruction | None:
        """See `Isa.row`."""
        return None if self.isa is None else self.isa.row(op, *operands, result=result)

    def write(self, row: Instruction, *operands: Term) -> Term:
        """The text of a row with its operands."""
        assert self.isa is not None
        if self.isa.header:
            self.w.headers.add(self.isa.header)
        for helper in row.helpers:
            self.w.use(helper)
        operator = _INFIX.fullmatch(row.c)
        if operator is not None:
            return scalar.infix(operator[1], *operands)
        operator = _PREFIX.fullmatch(row.c)
        if operator is not None:
            return Term(operator[1] + operands[0].atom, PREFIX)
        names = dict(zip("abc", (x.text for x in operands), strict=False))
        text = row.c.format(**names)
        if row.c == "{a}":
            return operands[0]
        return Term(text, LOOSE if " != " in text else ATOM)

    def each(self, op: str, result: str, *operands: Vec) -> Vec | None:
        """`op` of every part; None where no row computes it."""
        row = self.row(op, *(v.kind for v in operands), result=result)
        if row is None:
            return None
        parts = zip(*(v.parts for v in operands), strict=True)
        return Vec(result, tuple(self.write(row, *p) for p in parts))

    # --- values

    def vector(self, x: Expr) -> Vec:
        """The registers of `x`, whose kind is not None."""
        if isinstance(x, Var) and isinstance(self.names.get(x), Vec):
            bound: Vec = self.names[x]
            return bound
        if isinstance(x, Broadcast) and isinstance(x.x, Const):
            return self._vector(x)
        info = self.info(x)
        if self.uses.get(id(x), 2) > 1 or self._leaves(info):
            placed: Vec = self.placed(x, (id(x), "v"), self._settled_vector)
            return placed
        out = self._vector(x)
        return self._short(x, out)

    def stored(self, x: Expr, lanes: int) -> Vec | None:
        """A vector that is assigned at once, so that what depends on memory needs no variable."""
        if x.lanes == lanes and self.info(x).buffers and self.kind(x.dtype, lanes) is not None:
            return self._vector(x)
        return self.operand(x, lanes)

    def _short(self, x: Expr, v: Vec) -> Vec:
        if all(len(p.text) <= LONGEST_INLINE for p in v.parts):
            return v
        return self.hold(x, v)

    def _settled_vector(self, x: Expr) -> Vec:
        return self.hold(x, self._vector(x))

    def hold(self, x: Expr, v: Vec) -> Vec:
        """Variables for the parts that are no names already."""
        assert self.isa is not None
        kind, known, parts = self.isa.types[v.kind], {}, []
        source = x.x if isinstance(x, Broadcast) else x
        stem = identifier(source.buffer.name) if isinstance(source, Load) else "v"
        for p in v.parts:
            if not p.text.isidentifier() and p not in known:
                known[p] = self.w.settle(kind, p, stem)
            parts.append(known.get(p, p))
        return Vec(v.kind, tuple(parts))

    def _vector(self, x: Expr) -> Vec:
        return self._native(x) or self._through_memory(x)

    def _through_memory(self, x: Expr) -> Vec:
        """Lane by lane into an array, and from there into registers."""
        assert self.isa is not None
        kind = KINDS[x.dtype]
        name, element = self.array(x)
        loaded = "i32" if kind == "m32" else kind
        row = self.row("load", f"{element}*", result=loaded)
        assert row is not None
        count = self.isa.count(kind)
        at = [Term(f"&{name}[{n}]") for n in range(0, x.lanes, count)]
        out = self.hold(x, Vec(loaded, tuple(self.write(row, p) for p in at)))
        return out if kind != "m32" else self._must(self.each("mask", "m32", out))

    def array(self, x: Expr) -> tuple[str, str]:
        """An array with the lanes of `x`, 32 bits or more for each, and its element type."""
        kind = KINDS[x.dtype]
        element = "i32" if kind in ("i32", "m32") else kind
        c_type = {"i32": "int32_t", "f32": "float", "f64": "double"}[element]
        name = self.w.names.numbered("lanes")
        self.w.do(f"{c_type} {name}[{x.lanes}];")
        with self.lanes(x.lanes, (x,), frozenset()) as lane:
            value = self(x)
            if kind != element or x.dtype.bits < 32:
                value = Term(f"({c_type}){value.within(PREFIX)}", PREFIX)
            self.w.do(f"{name}[{lane.name}] = {value.text};")
        return name, element

    @staticmethod
    def _must(v: Vec | None) -> Vec:
        assert v is not None
        return v

    def operand(self, x: Expr, lanes: int) -> Vec | None:
        """A vector of so many lanes; scalars are repeated. None where no registers hold it."""
        kind = self.kind(x.dtype, lanes)
        if kind is None:
            return None
        return self.vector(x) if x.lanes == lanes else self.spread(x, kind, lanes)

    def spread(self, x: Expr, kind: str, lanes: int) -> Vec | None:
        """A scalar in every lane."""
        assert self.isa is not None
        value = self(x)
        if kind == "m32":
            number = Term(f"{value.atom} ? -1 : 0", LOOSE)
            v = self._repeated("i32", number, lanes)
            return None if v is None else self.each("mask", "m32", v)
        if x.dtype in HALVES:
            value = Term(f"(int32_t){value.within(PREFIX)}", PREFIX)
        return self._repeated(kind, value, lanes)

    def _repeated(self, kind: str, value: Term, lanes: int) -> Vec | None:
        assert self.isa is not None
        row = self.row("broadcast", f"{kind}1", result=kind)
        if row is None:
            return None
        return Vec(kind, (self.write(row, value),) * (lanes // self.isa.count(kind)))

    def number(self, value: float, kind: str, lanes: int) -> Vec:
        """A literal in every lane of an f32 or i32."""
        c = literal(Const(value, F32 if kind == "f32" else I32))
        return self._must(self._repeated(kind, c, lanes))

    def registers(self, buffer: Buffer, index: Expr) -> Vec:
        """The variables of a buffer that an access to it means."""
        assert self.isa is not None and isinstance(index, Ramp) and isinstance(index.base, Const)
        kind = KINDS[buffer.dtype]
        first = int(index.base.value) // self.isa.count(kind)
        names = self.held[buffer.name].names
        count = index.width // self.isa.count(kind)
        return Vec(kind, tuple(Term(n) for n in names[first : first + count]))

    def addresses(self, buffer: Buffer, base: Expr, kind: str, lanes: int) -> list[Term]:
        """Where each part of a vector lies."""
        assert self.isa is not None
        name = self.buffers[buffer.name]
        steps = range(0, lanes, self.isa.count(kind))
        return [Term(f"&{name}[{memory.offset(self, base, n).text}]") for n in steps]

    def _of_variables(self, x: Load) -> Term:
        """A scalar of a buffer in variables, or the present lane of a vector of it."""
        held, (index,) = self.held[x.buffer.name], x.indices
        if held.lanes == 1:
            assert isinstance(index, Const)
            return Term(held.names[int(index.value)])
        spilled: Term = self.placed(x, (id(x), "memory"), lambda y: self.spill(y, self.vector(y)))
        assert self.lane is not None
        return Term(f"{spilled.text}[{self.lane.term.text}]")

    def spill(self, x: Expr, v: Vec) -> Term:
        """An array that holds what registers do."""
        assert self.isa is not None
        element = {"i32": "int32_t", "f32": "float", "f64": "double"}[v.kind]
        count = self.isa.count(v.kind)
        name = self.w.names.numbered("lanes")
        self.w.do(f"{element} {name}[{x.lanes}];")
        row = self.row("store", f"{v.kind}*", v.kind)
        assert row is not None
        for n, part in enumerate(v.parts):
            self.w.do(f"{self.write(row, Term(f'&{name}[{n * count}]'), part).text};")
        return Term(name)

    def _native(self, x: Expr) -> Vec | None:
        """By rows of the table alone, for the topmost node; None where there is none."""
        del x
        return None
