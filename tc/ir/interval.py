"""Interval analysis of integer expressions: between which two numbers a value lies.

Index arithmetic is taken not to overflow 64 bits; narrower integers that may wrap have the range
of their type. This module looks at intervals alone: relations between variables (i < M) are the
business of tc.ir.facts, rewriting that of tc.ir.simplify.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final

from tc.frozen import frozen
from tc.ir.affine import Poly, expr_of, plain_poly, repeated_atoms, separated
from tc.ir.expr import (
    Binary,
    Broadcast,
    Cast,
    Const,
    Expr,
    LaneReduce,
    Let,
    Ramp,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.types import BOOL, HELD, I64, DType
from tc.ir.visit import free_vars

End = int | float  # an int, or plus or minus infinity


@frozen
class Interval:
    """The integers from `lo` to `hi`, both included; None is unbounded on that side."""

    lo: int | None = None
    hi: int | None = None

    @property
    def value(self) -> int | None:
        """The only member, where there is only one."""
        return self.lo if self.lo == self.hi else None

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            None if self.lo is None or other.lo is None else self.lo + other.lo,
            None if self.hi is None or other.hi is None else self.hi + other.hi,
        )

    def __neg__(self) -> Interval:
        return Interval(
            None if self.hi is None else -self.hi, None if self.lo is None else -self.lo
        )

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        (a, b), (c, d) = ends(self), ends(other)
        if a >= 0 and c >= 0:
            return interval_of(times(a, c), times(b, d))
        found = (times(a, c), times(a, d), times(b, c), times(b, d))
        return interval_of(min(found), max(found))

    def __floordiv__(self, other: Interval) -> Interval:
        lo, hi = ends(other)
        if hi <= 0 and lo < 0:
            return (-self) // (-other)
        if lo < 0:
            return EVERYTHING
        # A zero divisor is undefined, so it need not be thought of.
        divisors = (max(lo, 1), max(hi, 1))
        found = [_over(x, d) for x in ends(self) for d in divisors]
        return interval_of(min(found), max(found))

    def __mod__(self, other: Interval) -> Interval:
        lo, hi = ends(other)
        if hi <= 0 and lo < 0:
            return -((-self) % (-other))
        if lo < 0:
            return EVERYTHING
        quotient = (self // other).value
        if quotient == 0:
            return self
        if quotient is not None and other.value is not None:
            shift = quotient * other.value
            return self - Interval(shift, shift)
        own_lo, own_hi = ends(self)
        return interval_of(0, min(hi - 1, own_hi) if own_lo >= 0 else hi - 1)

    def __or__(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        (a, b), (c, d) = ends(self), ends(other)
        return interval_of(min(a, c), max(b, d))

    def __and__(self, other: Interval) -> Interval:
        """What both have in common; may be empty, with lo > hi."""
        (a, b), (c, d) = ends(self), ends(other)
        return interval_of(max(a, c), min(b, d))

    def within(self, other: Interval) -> bool:
        """Whether every member is a member of `other`."""
        (a, b), (c, d) = ends(self), ends(other)
        return c <= a and b <= d


EVERYTHING: Final = Interval(None, None)
_TRUTH: Final = Interval(0, 1)


def ends(x: Interval) -> tuple[End, End]:
    """Both ends as numbers that can be compared."""
    return (-math.inf if x.lo is None else x.lo, math.inf if x.hi is None else x.hi)


def interval_of(lo: End, hi: End) -> Interval:
    """The interval between two such numbers."""
    return Interval(
        None if isinstance(lo, float) else lo,
        None if isinstance(hi, float) else hi,
    )


def times(x: End, y: End) -> End:
    """x * y, where nothing times infinity is nothing."""
    return 0 if x == 0 or y == 0 else x * y


def _over(x: End, divisor: End) -> End:
    if isinstance(divisor, float):
        return 0 if x >= 0 else -1
    return x if isinstance(x, float) else x // divisor


def smaller(a: Interval, b: Interval) -> Interval:
    """The interval of min(a, b)."""
    (p, q), (r, s) = ends(a), ends(b)
    return interval_of(min(p, r), min(q, s))


def larger(a: Interval, b: Interval) -> Interval:
    """The interval of max(a, b)."""
    (p, q), (r, s) = ends(a), ends(b)
    return interval_of(max(p, r), max(q, s))


def type_range(dtype: DType) -> Interval:
    """What a value of that type can be; floats are unbounded, and so is i64 as an index."""
    if dtype is BOOL:
        return _TRUTH
    if dtype.is_float or dtype is I64:
        return EVERYTHING
    held = HELD[dtype]
    return Interval(held[0], held[-1])


class Bounds:
    """The interval of any expression, each node looked at once; `env` must not change meanwhile."""

    __slots__ = ("_memo", "env")

    def __init__(self, env: Mapping[Var, Interval]) -> None:
        self.env = env
        # Keyed by identity; the expression is kept so that its identity is not given anew.
        self._memo: dict[int, tuple[Expr, Interval]] = {}

    def __call__(self, expr: Expr) -> Interval:
        if type(expr) is Const:
            return self._const(expr)
        known = self._memo.get(id(expr))
        if known is not None:
            return known[1]
        found = self._find(expr)
        whole = type_range(expr.dtype)
        if not found.within(whole):
            found = whole  # it may wrap around
        self._memo[id(expr)] = (expr, found)
        return found

    @staticmethod
    def _const(expr: Const) -> Interval:
        if expr.type.is_float:
            return EVERYTHING
        return Interval(int(expr.value), int(expr.value))

    def _find(self, expr: Expr) -> Interval:
        match expr:
            case Var():
                return self.env.get(expr, EVERYTHING)
            case Sym(_, lo, hi):
                return Interval(lo, hi)
            case Binary(op, a, b) if not a.dtype.is_float:
                found = self._binary(op, a, b)
                if (
                    op in ("add", "sub")
                    and (found.lo is None or found.lo < 0)
                    and _multiplies(expr)
                ):
                    return found & self._factored(plain_poly(expr))
                return found
            case Unary("neg", x):
                return -self(x)
            case Unary("abs", x):
                inner = self(x)
                return larger(inner, -inner) & Interval(0, None)
            case Unary("sign", _):
                return Interval(-1, 1)
            case Select(_, then, other):
                return self(then) | self(other)
            case Cast(x, dtype) if not x.dtype.is_float and not dtype.is_float:
                return self(x) if dtype is not BOOL else _TRUTH
            case Ramp(base, stride, width):
                return self(base) + self(stride) * Interval(0, width - 1)
            case Broadcast(x, _):
                return self(x)
            case LaneReduce("min" | "max" | "and" | "or", x):
                return self(x)
            case Let(var, value, body):
                return Bounds({**self.env, var: self(value)})(body)
        return type_range(expr.dtype)

    def _factored(self, p: Poly) -> Interval:
        """Of a sum, with what some of its terms have in common taken out: b s - b = b (s - 1)."""
        found = Interval(0, 0)
        for m, c in p.items():
            term = Interval(c, c)
            for atom in m:
                term = term * self(atom)
            found = found + term
        for atom in repeated_atoms(p):
            rest, factor = separated(p, atom)
            product = self(atom) * self(expr_of(factor))
            found = found & (product + self(expr_of(rest)))
        return found

    def _binary(self, op: str, a: Expr, b: Expr) -> Interval:
        x, y = self(a), self(b)
        match op:
            case "add":
                return x + y
            case "sub":
                return x - y
            case "mul":
                return x * y
            case "floordiv":
                return x // y
            case "mod":
                return x % y
            case "min":
                return smaller(x, y)
            case "max":
                return larger(x, y)
            case "and" if a.dtype is not BOOL and y.lo is not None and y.lo >= 0:
                return Interval(0, y.hi)
            case "shr" if y.value is not None and 0 <= y.value < 64:
                return x // Interval(1 << y.value, 1 << y.value)
            case "eq" | "ne" | "lt" | "le":
                return _TRUTH
        return type_range(a.dtype)


def _multiplies(expr: Expr) -> bool:
    """Whether a sum has a product of two terms of which neither is a number."""
    while isinstance(expr, Binary) and expr.op in ("add", "sub"):
        if _multiplies(expr.b):
            return True
        expr = expr.a
    match expr:
        case Binary("mul", a, b):
            return not isinstance(a, Const) and not isinstance(b, Const)
    return False


def bounds(expr: Expr, env: Mapping[Var, Interval] | None = None) -> Interval:
    """Between what `expr` lies when its variables lie in `env` (unbounded where not named).

    Of a vector, the interval holds all lanes. Floats are unbounded.
    """
    return Bounds(env)(expr) if env and free_vars(expr) else _alone(expr)


@functools.lru_cache(maxsize=1 << 10)
def _alone(expr: Expr) -> Interval:
    """As `bounds`, where nothing is known; of the same lengths it is asked again and again."""
    return Bounds({})(expr)
