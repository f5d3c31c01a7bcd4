"""Expressions to values: each node of the expression graph is emitted once where it can be.

Where that is, `tc.codegen.placement` says. This module must not emit statements.
"""

from __future__ import annotations

from tc.codegen.llvm import arith, dots, memory
from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.casts import cast, narrow_half, widen_half
from tc.codegen.llvm.counters import Counter
from tc.codegen.llvm.hardware import Hardware
from tc.codegen.llvm.text import HALVES, literal, mangled, sequence, splat, value_type, vector
from tc.codegen.placement import Placement
from tc.codegen.runs import shared_word
from tc.errors import InternalError
from tc.ir.expr import (
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
    Sym,
    Unary,
    Var,
)
from tc.ir.types import BOOL, F32, F64, U8, DType


class Values(Placement[str]):
    """Emits expressions into `b`, with the special instructions of `hardware`."""

    def __init__(self, b: Builder, hardware: Hardware) -> None:
        super().__init__(b)
        self.b = b
        self.hardware = hardware
        self.f16c = hardware.f16c
        self.pointers: dict[str, str] = {}
        self.aligns: dict[str, int] = {}
        self._masked: dict[tuple[int, Expr], Expr] = {}  # runs of which some bits count
        self.counters: dict[Expr, Counter] = {}  # of the innermost loop, by its variable

    def __call__(self, x: Expr) -> str:
        """The value of `x` as an operand of the code at the builder's present place."""
        if isinstance(x, Const):
            return literal(x)
        if isinstance(x, Var):
            return self.names[x]
        if isinstance(x, Sym):
            return f"%s.{x.name}"
        if isinstance(x, Broadcast) and isinstance(x.x, Const):
            return literal(x.x, x.width)
        return self.placed(x, id(x), self._emit)

    def _emit(self, x: Expr) -> str:
        b = self.b
        match x:
            case Load():
                return memory.load(self, x)
            case Fma(p, q, r):
                return self._fma(x, self._factor(p, x.lanes), self._factor(q, x.lanes),
                                 self._operand(r, x.lanes))  # fmt: skip
            case Binary():
                return self._binary(x)
            case Broadcast(y, width):
                return self.spread(self(y), value_type(y.dtype), width)
            case Unary(op, y):
                return self._unary(op, y)
            case Select(cond, then, other):
                return self._select(x, cond, then, other)
            case Cast(y, dtype):
                return cast(b, self(y), y.dtype, dtype, x.lanes, self.f16c)
            case Bitcast(y, dtype):
                s, d = value_type(y.dtype, y.lanes), value_type(dtype, x.lanes)
                return self(y) if s == d else b.ins(f"bitcast {s} {self(y)} to {d}")
            case Dot(p, q, r):
                small = dots.fits_pairs(p)
                a, w = self._packed(p, x.lanes), self._packed(q, x.lanes)
                return dots.dot(b, a, w, self(r), p.dtype, x.lanes, self.hardware, small)
            case Let():
                return self._let(x)
            case Ramp():
                return self._ramp(x)
            case LaneReduce(op, y):
                if y.dtype in HALVES:
                    raise InternalError("emit: a lane reduction of halves: cast to f32 before")
                return arith.lane_reduce(b, op, self(y), y.dtype, y.lanes)
        raise InternalError(f"emit: {type(x).__name__} is not part of flat vector IR")

    def wide(self, x: Expr, lanes: int) -> str:
        """The value of `x` in so many lanes."""
        if x.lanes == lanes:
            return self(x)
        if isinstance(x, Const):
            return literal(x, lanes)
        return self.spread(self(x), value_type(x.dtype), lanes)

    def _operand(self, x: Expr, lanes: int) -> str:
        """As `wide`, for an instruction that reads a literal from where it lies."""
        c = x.x if isinstance(x, Broadcast) else x
        if lanes == 1 or not isinstance(c, Const) or not self.hardware.literal_loads:
            return self.wide(x, lanes)
        if c.type not in (F32, F64, U8) or not c.value or c.value != c.value:
            return self.wide(x, lanes)  # zero is made of nothing, and a NaN is to be recognised
        return self.b.literal(value_type(c.type, lanes), literal(c, lanes))

    def _factor(self, x: Expr, lanes: int) -> str:
        """As `_operand`, of a run where it is of one."""
        load = x.x if isinstance(x, Broadcast) else x
        part = self.runs.get(id(load))
        if part is None or lanes == 1:
            return self._operand(x, lanes)

        def lane(_: Expr) -> str:
            t = vector(value_type(load.dtype), part.load.lanes)
            numbers = sequence("i32", [str(part.lane)] * lanes)
            mask = f"<{lanes} x i32> {numbers}"
            return self.b.ins(f"shufflevector {t} {self(part.load)}, {t} poison, {mask}")

        return self.placed(load, (id(load), lanes), lane)

    def _packed(self, x: Expr, lanes: int) -> str:
        """The small elements of a dot product, of a run where they are of one."""
        load = shared_word(x)
        part = None if load is None else self.runs.get(id(load))
        if load is None or part is None:
            return self(x)
        whole: Expr = part.load
        if isinstance(x, Binary):  # which elements count is the same for all of the run
            assert isinstance(x.b, Broadcast)
            whole = self._masked.setdefault(
                (id(whole), x.b.x), Binary("and", whole, Broadcast(x.b.x, whole.lanes))
            )
        kind, words = value_type(x.dtype, whole.lanes), vector("i32", whole.lanes // load.lanes)

        def lane(_: Expr) -> str:
            numbers = sequence("i32", [str(part.lane)] * lanes)
            v = self.b.ins(f"bitcast {kind} {self(whole)} to {words}")
            mask = f"<{lanes} x i32> {numbers}"
            v = self.b.ins(f"shufflevector {words} {v}, {words} poison, {mask}")
            t = vector("i32", lanes)
            return self.b.ins(f"bitcast {t} {v} to {value_type(x.dtype, lanes * load.lanes)}")

        return self.placed(x, (id(x), "lane"), lane)

    def spread(self, x: str, scalar: str, lanes: int) -> str:
        """A scalar operand in every lane."""
        if lanes == 1:
            return x
        if not x.startswith("%"):
            return splat(scalar, x, lanes)
        t = vector(scalar, lanes)
        first = self.b.ins(f"insertelement {t} poison, {scalar} {x}, i64 0")
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.b.ins(f"shufflevector {t} {first}, {t} poison, {zeros}")

    def _fma(self, x: Expr, p: str, q: str, r: str) -> str:
        dtype, lanes = x.dtype, x.lanes
        if not dtype.is_float:
            product = arith.binary(self.b, "mul", p, q, dtype, lanes)
            return arith.binary(self.b, "add", product, r, dtype, lanes)
        if dtype in HALVES:
            p, q, r = (widen_half(self.b, v, dtype, lanes, self.f16c) for v in (p, q, r))
        inner = F32 if dtype in HALVES else dtype
        if inner is F32 and not self.hardware.fma:
            return self._back(arith.fma_of_f32(self.b, p, q, r, lanes), dtype, lanes)
        t = value_type(inner, lanes)
        name = f"llvm.fma.{mangled(value_type(inner), lanes)}"
        out = self.b.call(t, name, [t, t, t], [p, q, r])
        return self._back(out, dtype, lanes)

    def _back(self, x: str, dtype: DType, lanes: int) -> str:
        """An f32 result as the half that it was asked for."""
        return narrow_half(self.b, x, dtype, lanes, self.f16c) if dtype in HALVES else x

    def _binary(self, x: Binary) -> str:
        lanes, dtype = x.lanes, x.a.dtype
        match x:
            case Binary("lt", Ramp(base, Const(1), width), Broadcast(end, _)) if width <= 1 << 15:
                return self._tail(base, end, width)
        p, q = self._operand(x.a, lanes), self._operand(x.b, lanes)
        if x.op in ("floordiv", "mod") and not dtype.is_float:
            xs, ys = self.range(x.a), self.range(x.b)
            return arith.divide(self.b, x.op, p, q, dtype, lanes, xs, ys)
        if x.op in ("shl", "shr"):
            return arith.shift(self.b, x.op, p, q, dtype, lanes, self.range(x.b))
        if dtype in HALVES:
            p, q = (widen_half(self.b, v, dtype, lanes, self.f16c) for v in (p, q))
            out = arith.binary(self.b, x.op, p, q, F32, lanes)
            return out if x.dtype is BOOL else self._back(out, dtype, lanes)
        return arith.binary(self.b, x.op, p, q, dtype, lanes)

    def _tail(self, base: Expr, end: Expr, lanes: int) -> str:
        """base + lane < end: the number of lanes left is found on a scalar, and compared as i32."""
        b = self.b
        left = b.ins(f"sub i64 {self(end)}, {self(base)}")
        left = b.call("i64", "llvm.smax.i64", ["i64", "i64"], [left, "0"])
        left = b.call("i64", "llvm.smin.i64", ["i64", "i64"], [left, str(lanes)])
        count = self.spread(b.ins(f"trunc i64 {left} to i32"), "i32", lanes)
        numbers = sequence("i32", [str(n) for n in range(lanes)])
        return b.ins(f"icmp slt {vector('i32', lanes)} {numbers}, {count}")

    def _unary(self, op: str, y: Expr) -> str:
        value, dtype, lanes = self(y), y.dtype, y.lanes
        if dtype in HALVES:
            value = widen_half(self.b, value, dtype, lanes, self.f16c)
            out = arith.unary(self.b, op, value, F32, lanes)
            return out if op in ("isnan", "isinf") else self._back(out, dtype, lanes)
        return arith.unary(self.b, op, value, dtype, lanes)

    def _select(self, x: Select, cond: Expr, then: Expr, other: Expr) -> str:
        lanes = x.lanes
        c = self(cond)
        t, ct = value_type(x.dtype, lanes), value_type(BOOL, cond.lanes)
        yes, no = self._operand(then, lanes), self._operand(other, lanes)
        return self.b.ins(f"select {ct} {c}, {t} {yes}, {t} {no}")

    def _let(self, x: Let) -> str:
        return self.bound(x.var, self(x.value), lambda: self(x.body))

    def _ramp(self, x: Ramp) -> str:
        scalar, t = value_type(x.dtype), value_type(x.dtype, x.width)
        numbers = sequence(scalar, [str(n) for n in range(x.width)])
        base = self.spread(self(x.base), scalar, x.width)
        if x.stride == Const(1, x.dtype):
            return self.b.ins(f"add {t} {base}, {numbers}")
        stride = self.spread(self(x.stride), scalar, x.width)
        steps = self.b.ins(f"mul {t} {stride}, {numbers}")
        return self.b.ins(f"add {t} {base}, {steps}")
