"""Which row of a target's table computes a node of an expression.

None is no fault: the node is then computed lane by lane. This module must not write statements.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c import memory
from tc.codegen.c.dots import Dots
from tc.codegen.c.registers import KINDS, Vec
from tc.codegen.c.text import (
    HALVES,
    LOOSE,
    VALUE,
    Term,
    int_literal,
)
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
    Let,
    Load,
    Ramp,
    Select,
    Unary,
    Var,
)
from tc.ir.types import BF16, BOOL, F32, F64, I8, I16, I32, I64, U8, DType

_NARROW: Final = frozenset((I8, U8, I16))
_WRAPS: Final = frozenset(("add", "sub", "mul", "shl"))


class Vectors(Dots):
    """Writes expressions with the instructions of a table, see `Registers`."""

    def _native(self, x: Expr) -> Vec | None:
        """By rows of the table alone, for the topmost node; None where there is none."""
        match x:
            case Load():
                return self._load(x)
            case Broadcast(y, width):
                return self.spread(y, KINDS[y.dtype], width)
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
            held: Vec | Term = self.hold(value, self.vector(value))
        else:
            held = self._named(value, self(value))
        out: Vec = self.bound(var, held, lambda: self.hold(body, self.vector(body)))
        return out

    def _load(self, x: Load) -> Vec | None:
        held = self.held.get(x.buffer.name)
        if held is not None:
            return self.registers(x.buffer, x.indices[0])
        (index,) = x.indices
        kind = KINDS[x.dtype]
        if not isinstance(index, Ramp):
            return None
        if index.stride != Const(1):
            return self._load_apart(x, index)
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
            at.append(self.hold(x.mask, mask))
        parts = tuple(self.write(row, *p) for p in zip(*(v.parts for v in at), strict=True))
        out = Vec(loaded, parts)
        return out if kind != "m32" else self.each("mask", "m32", out)

    def _load_apart(self, x: Load, index: Ramp) -> Vec | None:
        """Elements that lie a constant number of others apart."""
        row = self.row("load_apart", f"{x.dtype}*", "i641", result=KINDS[x.dtype])
        if row is None or x.mask is not None or not isinstance(index.stride, Const):
            return None
        assert self.isa is not None
        step, name = int(index.stride.value), self.buffers[x.buffer.name]
        firsts = (n * step for n in range(0, x.lanes, self.isa.count(row.result)))
        at = [Term(f"&{name}[{memory.offset(self, index.base, n).text}]") for n in firsts]
        return Vec(row.result, tuple(self.write(row, p, int_literal(step, I64)) for p in at))

    def _fma(self, x: Expr, p: Expr, q: Expr, r: Expr) -> Vec | None:
        if x.dtype not in (F32, F64):
            return None
        kind = KINDS[x.dtype]
        single = self.row("fma", kind, f"{kind}1", kind, result=kind)
        c = self.operand(r, x.lanes)
        for a, b in ((p, q), (q, p)):
            out = None if c is None else self._by_lane(kind, a, b, c, x.lanes)
            if out is not None:
                return out
            scalar = b.x if isinstance(b, Broadcast) else b
            if single is None or scalar.lanes > 1 or isinstance(scalar, Const) or c is None:
                continue
            vector, value = self.operand(a, x.lanes), self(scalar)
            if vector is not None:
                pairs = zip(vector.parts, c.parts, strict=True)
                return Vec(kind, tuple(self.write(single, v, value, y) for v, y in pairs))
        a_, b_ = self.operand(p, x.lanes), self.operand(q, x.lanes)
        return None if a_ is None or b_ is None or c is None else self.each("fma", kind, a_, b_, c)

    def _by_lane(self, kind: str, a: Expr, b: Expr, c: Vec, lanes: int) -> Vec | None:
        """a * b + c where `b` is of a run, see `tc.codegen.runs`."""
        part = self.runs.get(id(b.x if isinstance(b, Broadcast) else b))
        row = None if part is None else self.row(f"fma_lane{part.lane}", kind, kind, kind,
                                                 result=kind)  # fmt: skip
        vector = None if row is None else self.operand(a, lanes)
        if part is None or row is None or vector is None:
            return None
        load = part.load
        (run,) = self.placed(load, (id(load), "run"), self._run).parts
        pairs = zip(vector.parts, c.parts, strict=True)
        return Vec(kind, tuple(self.write(row, v, run, y) for v, y in pairs))

    def _run(self, x: Expr) -> Vec:
        """The register that holds a run of four factors, or of two."""
        assert isinstance(x, Load) and isinstance(x.indices[0], Ramp)
        kind = KINDS[x.dtype]
        row = self.row("load" if x.lanes == 4 else "load_pair", f"{kind}*", result=kind)
        assert row is not None
        at = self.addresses(x.buffer, x.indices[0].base, kind, 1)
        return self.hold(x, Vec(kind, (self.write(row, *at),)))

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
        kind = "f32" if dtype in HALVES else KINDS[dtype]
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
        a = self._widened(y) if dst is F32 else None
        if a is not None:
            return a
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

    def _widened(self, x: Expr) -> Vec | None:
        """f32 of what lies side by side in memory as bf16, where that is one row."""
        match x:
            case Load(buffer, (Ramp(base, Const(1), _),), None) if (
                x.dtype is BF16 and buffer.name not in self.held
            ):
                row = self.row("widen", "bf16*", result="f32")
                if row is not None and self.kind(F32, x.lanes) is not None:
                    at = self.addresses(buffer, base, "f32", x.lanes)
                    return Vec("f32", tuple(self.write(row, p) for p in at))
        return None

    def _same_bits(self, x: Bitcast, y: Expr) -> Vec | None:
        if VALUE[x.dtype] == VALUE[y.dtype]:
            return self.vector(y)
        if {x.dtype, y.dtype} == {F32, I32}:
            return self.each("bitcast", KINDS[x.dtype], self.vector(y))
        return None


def _is_number(x: Expr) -> bool:
    """Whether `x` is a literal and no NaN."""
    c = x.x if isinstance(x, Broadcast) else x
    return isinstance(c, Const) and c.value == c.value
