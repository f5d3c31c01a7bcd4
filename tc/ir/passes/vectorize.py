"""VECTOR loops become vector expressions: the loop variable turns into a Ramp.

    for j in vector(16):            C[i, ramp(0, 1, 16)] = A[i, ramp(0, 1, 16)] * broadcast(s, 16)
        C[i, j] = A[i, j] * s  =>

What does not depend on the lane stays scalar and is broadcast where a vector needs it. A condition
that depends on the lane becomes a mask. A store to one address from all lanes must be a fold of
what lies there, and becomes a `LaneReduce`. Buffers allocated inside get a copy for each lane.

Whether the lanes may run side by side was decided by the schedule; this pass must not judge it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tc.errors import InternalError
from tc.ir.expr import Binary, Broadcast, Const, Expr, Fma, LaneReduce, Load, Ramp, Unary, Var
from tc.ir.expr import binary as scalar
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Scope,
    Seq,
    Stmt,
    Store,
    seq,
)
from tc.ir.monoid import max_of, min_of
from tc.ir.passes.lanes import Lanes
from tc.ir.types import BOOL, DType
from tc.ir.visit import sub_exprs, with_body


def vectorize(func: Func) -> Func:
    """Replace every VECTOR loop of `func`."""
    return with_body(func, _outside(func.body))


def _outside(s: Stmt) -> Stmt:
    match s:
        case For(var, extent, LoopKind.VECTOR, body):
            return _vector_loop(var, extent, body)
        case For(var, extent, kind, body):
            inner = _outside(body)
            return s if inner is body else For(var, extent, kind, inner)
        case Seq(body):
            news = tuple([_outside(b) for b in body])
            return s if all(a is b for a, b in zip(body, news, strict=True)) else seq(*news)
        case If(cond, then, other):
            yes, no = _outside(then), None if other is None else _outside(other)
            return s if yes is then and no is other else If(cond, yes, no)
        case Alloc(buffer, body):
            inner = _outside(body)
            return s if inner is body else Alloc(buffer, inner)
    return s


def _vector_loop(var: Var, extent: Expr, body: Stmt) -> Stmt:
    if not isinstance(extent, Const) or int(extent.value) < 1:
        raise InternalError(f"vectorize: loop {var.name}: {extent} is not a constant of at least 1")
    width = int(extent.value)
    lanes = Lanes(width, {var: Ramp(Const(0), Const(1), width) if width > 1 else Const(0)})
    return _Inside(lanes).stmt(body, None)


@dataclass
class _Inside:
    """Rewrites the statements of one vector loop; `mask` is None where every lane runs."""

    lanes: Lanes
    own: dict[Buffer, Buffer] = field(default_factory=dict)

    def stmt(self, s: Stmt, mask: Expr | None) -> Stmt:
        match s:
            case Seq(body):
                return seq(*[self.stmt(b, mask) for b in body])
            case Store(buffer, indices, value, own_mask):
                if own_mask is not None:
                    mask = self._and(mask, self.lanes(own_mask, mask))
                at = tuple([self.lanes(i, mask) for i in indices])
                return self._store(buffer, at, self.lanes(value, mask), mask)
            case If(cond, then, other):
                return self._if(self.lanes(cond, mask), then, other, mask)
            case For(var, extent, LoopKind.SERIAL | LoopKind.UNROLLED | LoopKind.DOT as kind, body):
                n = self.lanes(extent, mask)
                if n.lanes > 1:
                    raise InternalError(f"vectorize: the extent of loop {var.name} has lanes")
                return For(var, n, kind, self.stmt(body, mask))
            case Alloc(buffer, body):
                return self._alloc(buffer, body, mask)
            case Assert(cond, message):
                return Assert(self._holds(self.lanes(cond, mask), mask), message)
            case Prefetch():
                return s if not any(self.lanes(i, mask).lanes > 1 for i in s.indices) else seq()
        kind_of = s.kind.value if isinstance(s, For) else type(s).__name__
        raise InternalError(f"vectorize: {kind_of} inside a vector loop")

    def _and(self, a: Expr | None, b: Expr) -> Expr:
        return b if a is None else scalar("and", *self.lanes.even(a, b))

    def _if(self, cond: Expr, then: Stmt, other: Stmt | None, mask: Expr | None) -> Stmt:
        if cond.lanes == 1:
            no = None if other is None else self.stmt(other, mask)
            return If(cond, self.stmt(then, mask), no)
        parts = [self.stmt(then, self._and(mask, cond))]
        if other is not None:
            parts.append(self.stmt(other, self._and(mask, Unary("not", cond))))
        return seq(*parts)

    def _holds(self, cond: Expr, mask: Expr | None) -> Expr:
        if mask is not None:
            cond = scalar("or", *self.lanes.even(cond, Unary("not", mask)))
        return cond if cond.lanes == 1 else LaneReduce("and", cond)

    def _alloc(self, buffer: Buffer, body: Stmt, mask: Expr | None) -> Stmt:
        """One element for each lane; the lane is the last dim, so that lanes lie side by side."""
        width = self.lanes.width
        if width == 1:
            return Alloc(buffer, self.stmt(body, mask))
        shape = (*buffer.shape, Const(width))
        wide = Buffer(buffer.name, shape, buffer.dtype, buffer.scope, buffer.align)
        self.lanes.private[buffer] = wide
        return Alloc(wide, self.stmt(body, mask))

    def _store(self, buffer: Buffer, at: tuple[Expr, ...], value: Expr, mask: Expr | None) -> Stmt:
        wide = self.lanes.private.get(buffer)
        if wide is not None:
            at = (*at, self.lanes.numbers)
            buffer = wide
        if self.lanes.width == 1 or any(i.lanes > 1 for i in at):
            whole = self.lanes.widen(value)
            if mask is not None and buffer.scope is Scope.REGISTER:
                whole = self.lanes.choose(mask, whole, Load(buffer, at))
                mask = None
            return Store(buffer, at, whole, mask)
        return self._fold(buffer, at, value, mask)

    def _fold(self, buffer: Buffer, at: tuple[Expr, ...], value: Expr, mask: Expr | None) -> Stmt:
        """All lanes store to one address."""
        any_lane = mask if mask is None or mask.lanes == 1 else LaneReduce("or", mask)
        reads = any(isinstance(x, Load) and x.buffer == buffer for x in sub_exprs(value))
        if value.lanes == 1 and not reads:
            return Store(buffer, at, value, any_lane)
        found = _as_fold(buffer, at, value)
        if found is None:
            raise InternalError(
                f"vectorize: every lane stores to {buffer.name} at one place, and the value is no "
                "fold of what lies there"
            )
        op, part = found
        part = self.lanes.widen(part)
        if mask is not None:
            neutral = Broadcast(_identity(op, part.dtype), self.lanes.width)
            part = self.lanes.choose(mask, part, neutral)
        return Store(buffer, at, scalar(op, Load(buffer, at), LaneReduce(op, part)), None)


def _as_fold(buffer: Buffer, at: tuple[Expr, ...], value: Expr) -> tuple[str, Expr] | None:
    """(op, x) where value is op(what lies at the address, x)."""
    old = Load(buffer, at)
    match value:
        case Fma(a, b, c) if _bare(c, old):
            width = max(a.lanes, b.lanes)
            a, b = (x if x.lanes == width else Broadcast(x, width) for x in (a, b))
            return "add", scalar("mul", a, b)
        case Binary("add" | "mul" | "min" | "max" | "and" | "or" as op, a, b):
            if _bare(a, old):
                return op, b
            if _bare(b, old):
                return op, a
    return None


def _bare(x: Expr, old: Load) -> bool:
    """Whether x is the old value, broadcast or masked or not."""
    while isinstance(x, Broadcast):
        x = x.x
    return isinstance(x, Load) and x.buffer == old.buffer and x.indices == old.indices


def _identity(op: str, dtype: DType) -> Const:
    match op:
        case "max":
            return max_of(dtype).identity[0]
        case "min":
            return min_of(dtype).identity[0]
        case "add" | "or":
            return Const(0, dtype)
        case "mul":
            return Const(1, dtype)
    return Const(dtype is BOOL or -1, dtype)  # and: all bits
