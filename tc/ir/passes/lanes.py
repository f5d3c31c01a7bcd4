"""Scalar expressions to vectors, for the body of one vector loop.

Keeps affine indices as Ramp, so that the code generator sees which accesses are contiguous. An
expression that does not depend on the lane is given back as it is, a scalar. This module must not
look at statements.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tc.errors import InternalError
from tc.ir.affine import content, plain_poly
from tc.ir.expr import (
    Binary,
    Broadcast,
    Const,
    Expr,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    Var,
)
from tc.ir.expr import binary as scalar
from tc.ir.loop import Buffer, Scope
from tc.ir.types import I64
from tc.ir.visit import CLOSED, children, with_children


@dataclass
class Lanes:
    """`env`: the vector of a variable; `private`: the widened buffer of one allocated inside."""

    width: int
    env: dict[Var, Expr]
    private: dict[Buffer, Buffer] = field(default_factory=dict)
    _memo: dict[tuple[int, int], tuple[Expr, Expr | None, Expr]] = field(default_factory=dict)

    def __call__(self, x: Expr, mask: Expr | None) -> Expr:
        """`x` in all lanes; its loads touch memory only where `mask` is true."""
        if isinstance(x, Var):
            return self.env.get(x, x)
        if type(x) in CLOSED:
            return x
        key = (id(x), id(mask))
        known = self._memo.get(key)
        if known is not None:
            return known[2]
        out = self._rebuild(x, mask)
        # The originals are kept so that their identities are not given anew.
        self._memo[key] = (x, mask, out)
        return out

    @property
    def numbers(self) -> Expr:
        """The number of each lane."""
        return Ramp(Const(0), Const(1), self.width)

    def widen(self, x: Expr) -> Expr:
        """`x` as a vector."""
        return x if x.lanes > 1 or self.width == 1 else Broadcast(x, self.width)

    def even(self, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        """Both as vectors, unless both are scalars."""
        return (a, b) if a.lanes == b.lanes else (self.widen(a), self.widen(b))

    def choose(self, mask: Expr, then: Expr, other: Expr) -> Expr:
        """`then` in the lanes of the mask, else `other`."""
        return Select(self.widen(mask), self.widen(then), self.widen(other))

    def _rebuild(self, x: Expr, mask: Expr | None) -> Expr:
        match x:
            case Load(buffer, indices, own):
                return self._load(buffer, indices, own, mask)
            case Let(var, value, body):
                bound = self(value, mask)
                if bound.lanes == var.width:
                    new: Var = var
                else:
                    new = Var(var.name, var.type, bound.lanes)
                    self.env[var] = new
                return Let(new, bound, self(body, mask))
            case Ramp() | Broadcast():
                raise InternalError("vectorize: a vector inside a vector loop")
            case LaneReduce():
                raise InternalError("vectorize: a lane reduction inside a vector loop")
        kids = children(x)
        new_kids = tuple([self(k, mask) for k in kids])
        if all(a is b for a, b in zip(kids, new_kids, strict=True)):
            return x
        if all(k.lanes == 1 for k in new_kids):
            return with_children(x, new_kids)
        if isinstance(x, Binary) and x.a.dtype is I64:
            ramp = self._affine(x.op, *new_kids)
            if ramp is not None:
                return ramp
        if isinstance(x, Select) and new_kids[0].lanes == 1:
            return Select(new_kids[0], self.widen(new_kids[1]), self.widen(new_kids[2]))
        return with_children(x, tuple([self.widen(k) for k in new_kids]))

    def _load(
        self, buffer: Buffer, indices: tuple[Expr, ...], own: Expr | None, mask: Expr | None
    ) -> Expr:
        at = tuple([self(i, mask) for i in indices])
        wide = self.private.get(buffer)
        if wide is not None:
            return Load(wide, (*at, self.numbers))
        if own is not None:
            guard = self(own, mask)
            mask = guard if mask is None else scalar("and", *self.even(mask, guard))
        if buffer.scope is Scope.REGISTER:
            mask = None  # always there to be read
        if any(i.lanes > 1 for i in at):
            return Load(buffer, at, None if mask is None else self.widen(mask))
        if mask is not None and mask.lanes > 1:
            mask = LaneReduce("or", mask)
        return Load(buffer, at, mask)

    def _affine(self, op: str, a: Expr, b: Expr) -> Expr | None:
        """The result as a Ramp or a scalar, where it is one."""
        match op, a, b:
            case "add", Ramp(p, s, w), Ramp(q, t, _):
                return _ramp(p + q, s + t, w)
            case "sub", Ramp(p, s, w), Ramp(q, t, _):
                return _ramp(p - q, s - t, w)
            case ("add" | "sub" | "mul", Ramp(p, s, w), _) if b.lanes == 1:
                return _ramp(scalar(op, p, b), s * b if op == "mul" else s, w)
            case ("add" | "mul", _, Ramp(q, t, w)) if a.lanes == 1:
                return _ramp(scalar(op, a, q), a * t if op == "mul" else t, w)
            case "sub", _, Ramp(q, t, w) if a.lanes == 1:
                return _ramp(a - q, Const(0) - t, w)
            case "floordiv" | "mod", Ramp(p, Const(1), w), Const(d):
                return _split(op, p, w, int(d))
        return None


def _ramp(base: Expr, stride: Expr, width: int) -> Expr:
    return base if stride == Const(0) else Ramp(base, stride, width)


def _split(op: str, base: Expr, width: int, divisor: int) -> Expr | None:
    """ramp // d and ramp % d, where no multiple of d lies between the first lane and the last."""
    p = dict(plain_poly(base))
    rest = p.pop((), 0)
    if divisor < 1 or content(p) % divisor or rest % divisor + width > divisor:
        return None
    if op == "floordiv":
        return scalar("floordiv", base, Const(divisor))
    return Ramp(scalar("mod", base, Const(divisor)), Const(1), width)
