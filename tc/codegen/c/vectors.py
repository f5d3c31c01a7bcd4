"""Vectors in registers: each node by a row of the target's table, else lane by lane through memory.

A vector is a number of registers of one kind, its parts. Integers of fewer than 32 bits and halves
take 32 bits for each lane, so that lanes of different types lie side by side. This module must
not write statements but those that a value needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tc.codegen.c import memory
from tc.codegen.c.instructions import Instruction, Isa
from tc.codegen.c.text import (
    ATOM,
    HALVES,
    LOOSE,
    PREFIX,
    VALUE,
    Term,
    identifier,
    int_literal,
    literal,
)
from tc.codegen.c.values import Values
from tc.codegen.c.writer import LONGEST_INLINE, Writer
from tc.ir.expr import (
    COMPARISONS,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Dot,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    Unary,
    Var,
)
from tc.ir.loop import Buffer
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType

_KINDS: Final = {
    F32: "f32", F64: "f64", I32: "i32", I16: "i32", I8: "i32", U8: "i32", F16: "i32", BF16: "i32",
    BOOL: "m32",
}  # fmt: skip
_NARROW: Final = frozenset((I8, U8, I16))
_WRAPS: Final = frozenset(("add", "sub", "mul", "shl"))


@dataclass(frozen=True, slots=True)
class Vec:
    """A vector: the kind of its registers, and an expression for each of them."""

    kind: str
    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A buffer in variables: one for each register, or for each scalar where `lanes` is 1."""

    lanes: int
    names: tuple[str, ...]


class Vectors(Values):
    """Writes expressions with the instructions of `isa`; None: lane by lane."""

    def __init__(self, w: Writer, uses: Mapping[int, int], isa: Isa | None) -> None:
        super().__init__(w, uses)
        self.isa = isa
        self.held: dict[str, Held] = {}

    # --- rows

    def kind(self, dtype: DType, lanes: int) -> str | None:
        """The kind of registers that hold such a vector; None where none do."""
        kind = _KINDS.get(dtype)
        if self.isa is None or kind is None or lanes == 1 or lanes % self.isa.count(kind):
            return None
        return kind

    def row(self, op: str, *operands: str, result: str = "") -> Instruction | None:
        """See `Isa.row`."""
        return None if self.isa is None else self.isa.row(op, *operands, result=result)

    def write(self, row: Instruction, *operands: Term) -> Term:
        """The text of a row with its operands."""
        assert self.isa is not None
        self.w.headers.add(self.isa.header)
        for helper in row.helpers:
            self.w.use(helper)
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
        return self._hold(x, v)

    def _settled_vector(self, x: Expr) -> Vec:
        return self._hold(x, self._vector(x))

    def _hold(self, x: Expr, v: Vec) -> Vec:
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
        kind = _KINDS[x.dtype]
        name, element = self.array(x)
        loaded = "i32" if kind == "m32" else kind
        row = self.row("load", f"{element}*", result=loaded)
        assert row is not None
        count = self.isa.count(kind)
        at = [Term(f"&{name}[{n}]") for n in range(0, x.lanes, count)]
        out = self._hold(x, Vec(loaded, tuple(self.write(row, p) for p in at)))
        return out if kind != "m32" else self._must(self.each("mask", "m32", out))

    def array(self, x: Expr) -> tuple[str, str]:
        """An array with the lanes of `x`, 32 bits or more for each, and its element type."""
        kind = _KINDS[x.dtype]
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

    # --- nodes

    def _native(self, x: Expr) -> Vec | None:
        """By rows of the table alone, for the topmost node; None where there is none."""
        match x:
            case Load():
                return self._load(x)
            case Broadcast(y, width):
                return self.spread(y, _KINDS[y.dtype], width)
            case Fma(p, q, r):
                return self._fma(x, p, q, r)
            case Binary(op, p, q) if op in COMPARISONS:
                return self._compare(op, p, q, x.lanes)
            case Binary(op, p, q):
                return self._binary(op, p, q, x)
            case Unary(op, y):
                return self._unary(op, y)
            case Select(cond, then, other):
                return self._select(x, cond, then, other)
            case Cast(y, dtype):
                return self._cast(y, dtype)
            case Bitcast(y, _) if y.lanes == x.lanes:
                return self._same_bits(x, y)
            case Dot(p, q, r):
                return self._dot_product(x, p, q, r)
            case Let(var, value, body):
                return self._let(var, value, body)
        return None

    def _let(self, var: Var, value: Expr, body: Expr) -> Vec:
        if var.width > 1:
            self._lets[var] = value
            if self.kind(value.dtype, value.lanes) is None:
                return self.vector(body)
            held: Vec | Term = self._hold(value, self.vector(value))
        else:
            held = self._named(value, self(value))
        out: Vec = self.bound(var, held, lambda: self._hold(body, self.vector(body)))
        return out

    def _load(self, x: Load) -> Vec | None:
        held = self.held.get(x.buffer.name)
        if held is not None:
            return self.registers(x.buffer, x.indices[0])
        (index,) = x.indices
        kind = _KINDS[x.dtype]
        if not isinstance(index, Ramp) or index.stride != Const(1):
            return None
        element = "u8" if x.dtype is BOOL else str(x.dtype)
        loaded = "i32" if kind == "m32" else kind
        operands = [f"{element}*"] if x.mask is None else [f"{element}*", "m32"]
        row = self.row("load", *operands, result=loaded)
        if row is None or (x.mask is not None and kind == "m32"):
            return None
        at = [Vec("", tuple(self.addresses(x.buffer, index.base, kind, x.lanes)))]
        if x.mask is not None:
            mask = self.operand(x.mask, x.lanes)
            if mask is None:
                return None
            at.append(self._hold(x.mask, mask))
        parts = tuple(self.write(row, *p) for p in zip(*(v.parts for v in at), strict=True))
        out = Vec(loaded, parts)
        return out if kind != "m32" else self.each("mask", "m32", out)

    def registers(self, buffer: Buffer, index: Expr) -> Vec:
        """The variables of a buffer that an access to it means."""
        assert self.isa is not None and isinstance(index, Ramp) and isinstance(index.base, Const)
        kind = _KINDS[buffer.dtype]
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

    def _fma(self, x: Expr, p: Expr, q: Expr, r: Expr) -> Vec | None:
        if x.dtype not in (F32, F64):
            return None
        kind = _KINDS[x.dtype]
        single = self.row("fma", kind, f"{kind}1", kind, result=kind)
        c = self.operand(r, x.lanes)
        for a, b in ((p, q), (q, p)):
            scalar = b.x if isinstance(b, Broadcast) else b
            if single is None or scalar.lanes > 1 or isinstance(scalar, Const) or c is None:
                continue
            vector, value = self.operand(a, x.lanes), self(scalar)
            if vector is not None:
                pairs = zip(vector.parts, c.parts, strict=True)
                return Vec(kind, tuple(self.write(single, v, value, y) for v, y in pairs))
        a_, b_ = self.operand(p, x.lanes), self.operand(q, x.lanes)
        return None if a_ is None or b_ is None or c is None else self.each("fma", kind, a_, b_, c)

    def _compare(self, op: str, p: Expr, q: Expr, lanes: int) -> Vec | None:
        if p.dtype is I64:
            return self._compare_places(op, p, q, lanes)
        a, b = self._plain(p, lanes), self._plain(q, lanes)
        if a is None or b is None:
            return None
        out = self.each(op, "m32", a, b)
        if out is not None or a.kind != "i32" or op not in ("le", "ne"):
            return out
        turned = self.each("lt", "m32", b, a) if op == "le" else self.each("eq", "m32", a, b)
        return None if turned is None else self.each("not", "m32", turned)

    def _plain(self, x: Expr, lanes: int) -> Vec | None:
        """An operand in the type that it is computed with: halves are widened."""
        v = self.operand(x, lanes)
        if v is None or x.dtype not in HALVES:
            return v
        return self.each(f"widen_{x.dtype}", "f32", v)

    def _back(self, v: Vec | None, dtype: DType) -> Vec | None:
        """A result that was computed in f32 as the half that was asked for."""
        return v if v is None or dtype not in HALVES else self.each(f"narrow_{dtype}", "i32", v)

    def _compare_places(self, op: str, p: Expr, q: Expr, lanes: int) -> Vec | None:
        """Lanes that count up, against one number: those below some lane, or the others."""
        match p, q:
            case Ramp(base, Const(1), _), Broadcast(end, _) if op in ("lt", "le"):
                below, more = True, op == "le"
            case Broadcast(end, _), Ramp(base, Const(1), _) if op in ("lt", "le"):
                below, more = False, op == "lt"
            case _:
                return None
        row = self.row("below", "i641", result="m32")
        if row is None or not (self.is_size(base) and self.is_size(end)):
            return None
        assert self.isa is not None
        count = self.w.settle("int64_t", memory.difference(self, end, base, int(more)), "n")
        steps = range(0, lanes, self.isa.count("m32"))
        parts = [Term(count.text if n == 0 else f"{count.text} - {n}", 3) for n in steps]
        out = Vec("m32", tuple(self.write(row, n) for n in parts))
        return out if below else self.each("not", "m32", out)

    def _binary(self, op: str, p: Expr, q: Expr, x: Expr) -> Vec | None:
        dtype, lanes = x.dtype, x.lanes
        if dtype.is_float and op in ("min", "max"):
            out = self._extreme(op, p, q, lanes)
            return self._back(out, dtype)
        a = self._plain(p, lanes)
        if a is None:
            return None
        amount = q.x if isinstance(q, Broadcast) else q
        if not dtype.is_float and isinstance(amount, Const):
            out = self._by_constant(op, a, int(amount.value), dtype, lanes)
            if out is not None:
                return self._wrapped(out, dtype) if op in _WRAPS else out
        if op in ("shl", "shr", "floordiv", "mod"):
            return None
        b = self._plain(q, lanes)
        if b is None:
            return None
        kind = "f32" if dtype in HALVES else _KINDS[dtype]
        if dtype is BOOL:
            op = {"min": "and", "mul": "and", "max": "or", "add": "or"}.get(op, op)
        out = self.each(op, kind, a, b)
        if out is not None and dtype in _NARROW and op in _WRAPS:
            return self._wrapped(out, dtype)
        return self._back(out, dtype)

    def _extreme(self, op: str, p: Expr, q: Expr, lanes: int) -> Vec | None:
        """min or max; one instruction where one side is a literal."""
        if _is_number(p):
            p, q = q, p
        a, b = self._plain(p, lanes), self._plain(q, lanes)
        if a is None or b is None or a.kind != "f32":
            return None
        out = self.each(f"{op}_number", "f32", a, b) if _is_number(q) else None
        return out or self.each(op, "f32", a, b)

    def _by_constant(self, op: str, a: Vec, number: int, dtype: DType, lanes: int) -> Vec | None:
        """Shifts by a literal, and divisions by powers of two."""
        if op == "floordiv" and number > 0 and number & (number - 1) == 0:
            op, number = "shr", number.bit_length() - 1
        elif op == "mod" and number > 0 and number & (number - 1) == 0:
            return self.each("and", "i32", a, self.number(number - 1, "i32", lanes))
        if op not in ("shl", "shr") or not 0 <= number < dtype.bits:
            return None
        return self._shifted(op, a, number)

    def _shifted(self, op: str, a: Vec, number: int) -> Vec | None:
        if number == 0:
            return a
        row = self.row(op, "i32", "i321", result="i32")
        n = int_literal(number, I32)
        return None if row is None else Vec("i32", tuple(self.write(row, p, n) for p in a.parts))

    def _wrapped(self, v: Vec | None, dtype: DType) -> Vec | None:
        """Integers of fewer bits out of the lowest bits of each lane."""
        assert self.isa is not None
        if v is None or dtype not in _NARROW:
            return v
        if dtype is U8:
            lanes = len(v.parts) * self.isa.count("i32")
            return self.each("and", "i32", v, self.number(255, "i32", lanes))
        up = self._shifted("shl", v, 32 - dtype.bits)
        return None if up is None else self._shifted("shr", up, 32 - dtype.bits)

    def _unary(self, op: str, y: Expr) -> Vec | None:
        a = self._plain(y, y.lanes)
        if a is None:
            return None
        if op in ("isnan", "isinf") and a.kind == "f32":
            return self.each(op, "m32", a)
        if a.kind == "i32":
            zero = self.number(-1 if op == "not" else 0, "i32", y.lanes)
            turned = {"neg": ("sub", zero, a), "not": ("xor", a, zero)}.get(op)
            if turned is None:
                return a if op in ("floor", "ceil", "trunc", "round") else None
            return self._wrapped(self.each(turned[0], "i32", *turned[1:]), y.dtype)
        return self._back(self.each(op, a.kind, a), y.dtype)

    def _select(self, x: Expr, cond: Expr, then: Expr, other: Expr) -> Vec | None:
        lanes = x.lanes
        yes, no = self.operand(then, lanes), self.operand(other, lanes)
        if yes is None or no is None:
            return None
        if cond.lanes == 1:
            c = self._named(cond, self(cond))
            pairs = zip(yes.parts, no.parts, strict=True)
            return Vec(
                yes.kind, tuple(Term(f"{c.atom} ? {a.atom} : {b.atom}", LOOSE) for a, b in pairs)
            )
        if yes.kind == "m32":
            return None
        mask = self.operand(cond, lanes)
        return None if mask is None else self.each("select", yes.kind, mask, yes, no)

    def _cast(self, y: Expr, dst: DType) -> Vec | None:
        src, lanes = y.dtype, y.lanes
        if F64 in (src, dst) or I64 in (src, dst):
            return None
        a = self._plain(y, lanes)
        if a is None:
            return None
        if dst is BOOL:
            zero = self.number(0, a.kind, lanes) if a.kind == "f32" else None
            return self.each("mask", "m32", a) if zero is None else self.each("ne", "m32", a, zero)
        floats = dst.is_float
        if src is BOOL:
            kind = "f32" if floats else "i32"
            ones, zeros = self.number(1, kind, lanes), self.number(0, kind, lanes)
            out = self.each("select", kind, a, ones, zeros)
        elif a.kind == "f32":
            out = a if floats else self.each("cast", "i32", a)
        else:
            out = self.each("cast", "f32", a) if floats else a
        if not floats:
            return self._wrapped(out, dst)
        return self._back(out, dst)

    def _same_bits(self, x: Bitcast, y: Expr) -> Vec | None:
        if VALUE[x.dtype] == VALUE[y.dtype]:
            return self.vector(y)
        if {x.dtype, y.dtype} == {F32, I32}:
            return self.each("bitcast", _KINDS[x.dtype], self.vector(y))
        return None

    # --- dot products

    def _dot_product(self, x: Dot, p: Expr, q: Expr, r: Expr) -> Vec | None:
        kind = _KINDS[x.dtype]
        names = ("bf16", "bf16") if p.dtype is BF16 else ("u8", "i8")
        ops = ["dot"]
        if names[0] == "u8" and _seven_bits(p):
            ops = ["dot7", "dot"]
            if self.row("dot_fast", *names, kind, result=kind):
                ops = ["dot"]
        for op in ops:
            if self.row(op, *names, kind, result=kind) is not None:
                a, b = self.packed(p, names[0]), self.packed(q, names[1])
                return self.each(op, kind, a, b, self.vector(r))
        return None

    def packed(self, x: Expr, kind: str) -> Vec:
        """A vector of small elements, 32 bits of them for each lane of the sum."""
        key = (id(x), "p")
        if self.uses.get(id(x), 2) > 1 and not isinstance(x, Broadcast):
            placed: Vec = self.placed(x, key, lambda y: self._hold(y, self._packed(y, kind)))
            return placed
        return self._short(x, self._packed(x, kind))

    def _packed(self, x: Expr, kind: str) -> Vec:
        assert self.isa is not None
        count = self.isa.count(kind)
        match x:
            case Load(buffer, (Ramp(base, Const(1), _),), None) if buffer.name not in self.held:
                row = self.row("load", f"{kind}*", result=kind)
                if row is not None:
                    at = self.addresses(buffer, base, kind, x.lanes)
                    return Vec(kind, tuple(self.write(row, p) for p in at))
            case Bitcast(y, _) if y.dtype is I32 and self.kind(I32, y.lanes) is not None:
                out = self.each("bitcast", kind, self.vector(y))
                if out is not None:
                    return out
            case Binary("and", p, Broadcast(Const(mask), _)) if kind == "u8":
                row = self.row("broadcast", "u81", result="u8")
                if row is not None:
                    number = self.write(row, int_literal(int(mask), U8))
                    masks = Vec("u8", (number,) * (x.lanes // count))
                    out = self.each("and", "u8", self.packed(p, kind), masks)
                    if out is not None:
                        return out
        name = self.w.names.numbered("lanes")
        c_type = VALUE[x.dtype]
        self.w.do(f"{c_type} {name}[{x.lanes}];")
        with self.lanes(x.lanes, (x,), frozenset()) as lane:
            self.w.do(f"{name}[{lane.name}] = {self(x).text};")
        row = self.row("load", f"{kind}*", result=kind)
        assert row is not None
        at = [Term(f"&{name}[{n}]") for n in range(0, x.lanes, count)]
        return self._hold(x, Vec(kind, tuple(self.write(row, p) for p in at)))

    # --- folds over lanes

    def _write(self, x: Expr) -> Term:
        if isinstance(x, LaneReduce):
            out = self._fold(x.op, x.x)
            if out is not None:
                return out
        if isinstance(x, Load) and x.buffer.name in self.held:
            return self._of_variables(x)
        return super()._write(x)

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

    def _fold(self, op: str, y: Expr) -> Term | None:
        """All lanes as a balanced tree of halves: of the parts, then within the last."""
        kind = self.kind(y.dtype, y.lanes)
        if kind is None or y.dtype not in (F32, I32, BOOL) or self.isa is None:
            return None
        count = y.lanes // self.isa.count(kind)
        last = "any" if kind == "m32" else f"reduce_{op}"
        scalar = "bool1" if kind == "m32" else f"{kind}1"
        final = self.row(last, kind, result=scalar)
        if final is None or count & (count - 1) or (kind == "m32" and op not in ("or", "max")):
            return None
        v = self._hold(y, self.vector(y))
        while len(v.parts) > 1:
            half = len(v.parts) // 2
            a, b = Vec(kind, v.parts[:half]), Vec(kind, v.parts[half:])
            step = self.each("or" if kind == "m32" else op, kind, a, b)
            if step is None:
                return None
            v = self._hold(y, step) if half > 1 else step
        return self.write(final, v.parts[0])


def _seven_bits(a: Expr) -> bool:
    """Whether u8 are masked so far that two products with i8 fit 16 bits."""
    match a:
        case Binary("and", _, Broadcast(Const(mask))):
            return 0 <= int(mask) <= 127
    return False


def _is_number(x: Expr) -> bool:
    """Whether `x` is a literal and no NaN."""
    c = x.x if isinstance(x, Broadcast) else x
    return isinstance(c, Const) and c.value == c.value
