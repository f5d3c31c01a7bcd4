"""asin, acos, atan, atan2.

atan reduces twice with one division, atan(a) = pi/2 - atan(1/a) and atan(t) = pi/4 +
atan((t - 1) / (t + 1)); asin and acos use asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)) from 1/2 on
(Muller, "Elementary Functions", 3rd edition, and fdlibm's e_asin.c).
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Expr, Unary, equal
from tc.ir.math import tables as t
from tc.ir.math.build import Builder

_INF: Final = float("inf")
# pi and its fractions as an f64 and what it lacks.
_PI: Final = (3.141592653589793, 1.2246467991473532e-16)
_HALF_PI: Final = (1.5707963267948966, 6.123233995736766e-17)
_QUARTER_PI: Final = (0.7853981633974483, 3.061616997868383e-17)
_TAN_PI_8: Final = 0.41421356237309503


def _atan_ratio(b: Builder, low: Expr, high: Expr, swapped: Expr) -> Expr:
    """atan(low / high), or pi/2 minus it where `swapped`, for 0 <= low <= high."""
    beyond = high * b.k(_TAN_PI_8) < low
    q = b.select(beyond, low - high, low) / b.select(beyond, low + high, high)
    z = q * q
    cubic = q * z * b.horner(b.pick(t.ATAN_F32, t.ATAN_F64), z)
    y = q + (cubic + b.select(beyond, _QUARTER_PI[1], 0.0))
    y = b.select(beyond, _QUARTER_PI[0], 0.0) + y
    return b.select(swapped, b.k(_HALF_PI[0]) - (y - b.k(_HALF_PI[1])), y)


def atan(b: Builder, x: Expr) -> Expr:
    """The angle whose tangent is x."""
    a = b.abs(x)
    one = b.k(1.0)
    swapped = one < a
    y = _atan_ratio(b, b.select(swapped, one, a), b.select(swapped, a, one), swapped)
    y = b.select(a <= b.k(_INF), y, a)
    return b.with_sign(y, b.sign_of(x))


def atan2(b: Builder, y: Expr, x: Expr) -> Expr:
    """The angle of the point (x, y), in C's convention for zeros and infinities."""
    ay, ax = b.abs(y), b.abs(x)
    swapped = ax < ay
    low, high = b.select(swapped, ax, ay), b.select(swapped, ay, ax)
    # inf / inf counts as 1 / 1, 0 / 0 as 0 / 1; below, nothing overflows in the sum of both.
    inf, one, zero = b.k(_INF), b.k(1.0), b.k(0.0)
    infinite = equal(high, inf)
    low = b.select(infinite, b.select(equal(low, inf), one, zero), low)
    high = b.select(infinite | equal(high, zero), one, high)
    scale = b.select(b.k(2.0**1000) < high, 0.25, 1.0)
    angle = _atan_ratio(b, low * scale, high * scale, swapped)
    left = b.sign_of(x) < b.i(0)
    angle = b.select(left, b.k(_PI[0]) - (angle - b.k(_PI[1])), angle)
    ordered = (ay <= inf) & (ax <= inf)
    return b.select(ordered, b.with_sign(angle, b.sign_of(y)), x + y)


def _asin_parts(b: Builder, x: Expr) -> tuple[Expr, Expr, Expr]:
    """(small, v, asin(v)) with v = |x| where small, else sqrt((1 - |x|) / 2)."""
    a = b.abs(x)
    small = a <= b.k(0.5)
    folded = (b.k(1.0) - a) * b.k(0.5)
    z = b.select(small, a * a, folded)
    v = b.select(small, a, Unary("sqrt", folded))
    return small, v, b.fma(v * z, b.horner(b.pick(t.ASIN_F32, t.ASIN_F64), z), v)


def asin(b: Builder, x: Expr) -> Expr:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1."""
    small, _, s = _asin_parts(b, x)
    y = b.select(small, s, b.k(_HALF_PI[0]) - (s + s - b.k(_HALF_PI[1])))
    return b.with_sign(y, b.sign_of(x))


def acos(b: Builder, x: Expr) -> Expr:
    """The angle in [0, pi] whose cosine is x; NaN beyond 1."""
    small, _, s = _asin_parts(b, x)
    signed = b.with_sign(s, b.sign_of(x))
    middle = b.k(_HALF_PI[0]) - (signed - b.k(_HALF_PI[1]))
    double = s + s
    far = b.k(_PI[0]) - (double - b.k(_PI[1]))
    return b.select(small, middle, b.select(x < b.k(0.0), far, double))
