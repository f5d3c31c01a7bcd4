"""A small builder for straight-line float arithmetic, and the sharing of its common nodes.

Formulas build a graph of nodes in which a node may have several parents; `share` turns that graph
into a tree with one `Let` for each node that is used twice, so that text and work stay linear.
This module knows nothing of any function.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Const,
    Expr,
    Fma,
    Let,
    Select,
    Unary,
    Var,
)
from tc.ir.types import F32, F64, I32, I64, DType
from tc.ir.visit import children, with_children

Coefficients = tuple[float, ...]
Fresh = Callable[[str], str]  # a name that nothing else has, starting with the given prefix


class Builder:
    """Makes nodes of one float type and number of lanes.

    `dtype` is the type (F32 or F64) in which the arithmetic is done; `target` is the type of the
    result, which says how good it has to be: F32 functions may compute in F64 with short
    polynomials. Where nothing is `fused`, their steps are rounded twice, unless the result is F64:
    an instruction is missing that would do it at once.
    """

    def __init__(self, dtype: DType, target: DType, lanes: int, fused: bool = True) -> None:
        self.dtype = dtype
        self.target = target
        self.lanes = lanes
        self.fused = fused or target is F64
        self.int_type = I32 if dtype is F32 else I64
        self.mantissa = 23 if dtype is F32 else 52
        self.bias = 127 if dtype is F32 else 1023
        self.sign_bit = -(1 << (self.int_type.bits - 1))

    def k(self, value: float) -> Expr:
        """A float constant in every lane, rounded to the type."""
        if self.dtype is F32:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        return self._spread(Const(value, self.dtype))

    def i(self, value: int) -> Expr:
        """An integer constant in every lane, as wide as the float type."""
        return self._spread(Const(value, self.int_type))

    def _spread(self, c: Const) -> Expr:
        return Broadcast(c, self.lanes) if self.lanes > 1 else c

    def pick(self, f32: Coefficients, f64: Coefficients) -> Coefficients:
        """The coefficients that suit the result type."""
        return f32 if self.target is F32 else f64

    def fma(self, a: Expr, b: Expr | float, c: Expr | float) -> Expr:
        """a * b + c, rounded once."""
        return Fma(a, self._number(b), self._number(c))

    def select(self, cond: Expr, then: Expr | float, other: Expr | float) -> Expr:
        """`then` where `cond`, else `other`."""
        return Select(cond, self._number(then), self._number(other))

    def _number(self, x: Expr | float) -> Expr:
        return x if isinstance(x, Expr) else self.k(x)

    def bits(self, x: Expr) -> Expr:
        """The bits of a float as an integer."""
        return Bitcast(x, self.int_type)

    def real(self, i: Expr) -> Expr:
        """The float with the given bits."""
        return Bitcast(i, self.dtype)

    def shl(self, a: Expr, n: int) -> Expr:
        """Bits shifted to the left."""
        return Binary("shl", a, self.i(n))

    def shr(self, a: Expr, n: int) -> Expr:
        """Bits of a non-negative integer shifted to the right."""
        return Binary("shr", a, self.i(n))

    def step(self, a: Expr, b: Expr | float, c: Expr | float) -> Expr:
        """a * b + c, which a little more rounding does not harm."""
        return self.fma(a, b, c) if self.fused else a * self._number(b) + self._number(c)

    def horner(self, c: Coefficients, x: Expr) -> Expr:
        """c[0] + c[1] x + c[2] x^2 + …"""
        acc: Expr = self.k(c[-1])
        for value in reversed(c[:-1]):
            acc = self.step(acc, x, value)
        return acc

    def pairs(self, c: Coefficients, x: Expr, square: Expr) -> Expr:
        """The same polynomial by pairs in `square` = x^2: half as many steps in a row."""
        ends = zip(c[::2], c[1::2], strict=False)
        low = [self.step(self.k(b), x, a) for a, b in ends]
        acc = low.pop() if len(c) % 2 == 0 else self.k(c[-1])
        for pair in reversed(low):
            acc = self.step(acc, square, pair)
        return acc

    def abs(self, x: Expr) -> Expr:
        """The magnitude."""
        return Unary("abs", x)

    def at_least(self, x: Expr, low: float) -> Expr:
        """max(x, low) that keeps NaN; one instruction where the hardware has one."""
        return Select(x < self.k(low), self.k(low), x)

    def at_most(self, x: Expr, high: float) -> Expr:
        """min(x, high) that keeps NaN."""
        return Select(self.k(high) < x, self.k(high), x)

    def within(self, x: Expr, limit: float) -> Expr:
        """x clamped to [-limit, limit]; NaN stays."""
        return self.at_most(self.at_least(x, -limit), limit)

    def sign_of(self, x: Expr) -> Expr:
        """The sign bit of a float alone, as an integer."""
        return self.bits(x) & self.i(self.sign_bit)

    def with_sign(self, magnitude: Expr, sign: Expr) -> Expr:
        """A float whose sign is flipped where the integer `sign` has its sign bit set."""
        return self.real(self.bits(magnitude) ^ sign)

    def two_sum(self, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        """a + b as a rounded sum and its exact error (Knuth, TAOCP vol. 2, 4.2.2)."""
        s = a + b
        t = s - a
        return s, (a - (s - t)) + (b - t)

    def fast_two_sum(self, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        """The same for |a| >= |b| (Dekker 1971)."""
        s = a + b
        return s, b - (s - a)

    def two_prod(self, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        """a * b as a rounded product and its exact error."""
        p = a * b
        return p, Fma(a, b, Unary("neg", p))


def share(root: Expr, fresh: Fresh, prefix: str) -> Expr:
    """`root`, a graph, as a tree in which every node used more than once is bound by a `Let`."""
    uses: dict[int, int] = {}
    order: list[Expr] = []

    def count(x: Expr) -> None:
        uses[id(x)] = uses.get(id(x), 0) + 1
        if uses[id(x)] == 1:
            for kid in children(x):
                count(kid)
            order.append(x)

    count(root)
    done: dict[int, Expr] = {}
    lets: list[tuple[Var, Expr]] = []
    for x in order:
        new = _rebuild(x, done)
        if uses[id(x)] > 1 and not _is_leaf(x):
            var = Var(fresh(prefix), x.dtype, x.lanes)
            lets.append((var, new))
            new = var
        done[id(x)] = new
    out = done[id(root)]
    for var, value in reversed(lets):
        out = Let(var, value, out)
    return out


def _rebuild(x: Expr, done: dict[int, Expr]) -> Expr:
    kids = children(x)
    new = tuple([done[id(k)] for k in kids])
    if all(a is b for a, b in zip(kids, new, strict=True)):
        return x
    return with_children(x, new)


def _is_leaf(x: Expr) -> bool:
    return isinstance(x, (Const, Var)) or (isinstance(x, Broadcast) and isinstance(x.x, Const))
