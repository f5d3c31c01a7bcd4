"""Dot products of small elements, and folds over the lanes of a vector, in registers.

This module must not know where values are placed.
"""

from __future__ import annotations

from tc.codegen.c import memory
from tc.codegen.c.registers import KINDS, Registers, Vec
from tc.codegen.c.text import (
    VALUE,
    Term,
    int_literal,
)
from tc.codegen.runs import shared_word
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Const,
    Dot,
    Expr,
    LaneReduce,
    Load,
    Ramp,
)
from tc.ir.types import BF16, BOOL, F32, I8, I32, U8


class Dots(Registers):
    """Writes dot products and folds with the rows of the table."""

    def _dot_product(self, x: Dot, p: Expr, q: Expr, r: Expr) -> Vec | None:
        kind = KINDS[x.dtype]
        names = ("bf16", "bf16") if p.dtype is BF16 else ("u8", "i8")
        ops = ["dot"]
        if names[0] == "u8" and _seven_bits(p):
            ops = ["dot7", "dot"]
            if self.row("dot_fast", *names, kind, result=kind):
                ops = ["dot"]
        for op in ops:
            by_lane = self._dot_by_lane(op, x, names, kind)
            if by_lane is not None:
                return by_lane
            if self.row(op, *names, kind, result=kind) is not None:
                a, b = self.packed(p, names[0]), self.packed(q, names[1])
                return self.each(op, kind, a, b, self.vector(r))
        return None

    def _dot_by_lane(self, op: str, x: Dot, names: tuple[str, str], kind: str) -> Vec | None:
        """Where the small elements that all lanes share are of a run, see `tc.codegen.runs`."""
        load = shared_word(x.a)
        part = None if load is None else self.runs.get(id(load))
        if part is None:
            return None
        row = self.row(f"{op}_lane{part.lane}", *names, kind, result=kind)
        if row is None:
            return None
        whole = part.load
        mask = x.a.b.x if isinstance(x.a, Binary) and isinstance(x.a.b, Broadcast) else None
        (a,) = self.placed(whole, (id(whole), mask), lambda y: self._whole(y, names[0], mask)).parts
        b, c = self.packed(x.b, names[1]), self.vector(x.c)
        pairs = zip(b.parts, c.parts, strict=True)
        return Vec(kind, tuple(self.write(row, a, v, y) for v, y in pairs))

    def _whole(self, x: Expr, kind: str, mask: Expr | None) -> Vec:
        """The register that holds a run of small elements, of which `mask` are the bits to keep."""
        out = self._packed(x, kind)
        if isinstance(mask, Const):
            row = self.row("broadcast", "u81", result="u8")
            assert row is not None
            number = self.write(row, int_literal(int(mask.value), U8))
            kept = self.each("and", "u8", out, Vec("u8", (number,) * len(out.parts)))
            out = out if kept is None else kept
        return self.hold(x, out)

    def packed(self, x: Expr, kind: str) -> Vec:
        """A vector of small elements, 32 bits of them for each lane of the sum."""
        key = (id(x), "p")
        if self.uses.get(id(x), 2) > 1 and not isinstance(x, Broadcast):
            placed: Vec = self.placed(x, key, lambda y: self.hold(y, self._packed(y, kind)))
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
        return self.hold(x, Vec(kind, tuple(self.write(row, p) for p in at)))

    def _write(self, x: Expr) -> Term:
        if isinstance(x, LaneReduce):
            out = self._fold(x.op, x.x)
            if out is not None:
                return out
        if isinstance(x, Load) and x.buffer.name in self.held:
            return self._of_variables(x)
        if isinstance(x, Bitcast):
            word = self._word(x)
            if word is not None:
                return word
        return super()._write(x)

    def _word(self, x: Bitcast) -> Term | None:
        """32 bits of small elements that lie side by side in memory."""
        match x:
            case Bitcast(Load(buffer, (Ramp(base, Const(1), _),), None) as y, dtype) if (
                x.lanes == 1 and dtype is I32 and y.dtype in (U8, I8, BF16)
            ):
                if buffer.name not in self.held:
                    place = memory.element(self, buffer, base)
                    return self.w.call("tc_word", Term(f"&{place.text}"))
        return None

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
        v = self.hold(y, self.vector(y))
        while len(v.parts) > 1:
            half = len(v.parts) // 2
            a, b = Vec(kind, v.parts[:half]), Vec(kind, v.parts[half:])
            step = self.each("or" if kind == "m32" else op, kind, a, b)
            if step is None:
                return None
            v = self.hold(y, step) if half > 1 else step
        return self.write(final, v.parts[0])


def _seven_bits(a: Expr) -> bool:
    """Whether u8 are masked so far that two products with i8 fit 16 bits."""
    match a:
        case Binary("and", _, Broadcast(Const(mask))):
            return 0 <= int(mask) <= 127
    return False
