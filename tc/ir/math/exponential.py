"""exp, exp_nonpos, exp2, expm1, sigmoid, tanh, sinh, cosh.

The exponent is found in halves: x = 2 m ln 2 + r with |r| <= ln 2, so that e^x = p(r) s s with
s = 2^m always a normal number. The two multiplications by s round at most once, overflow to inf
and underflow through the denormals without any select, at the price of two degrees of p. Rounding
by adding 1.5 * 2^(mantissa bits) and the two-part ln 2 are Cody and Waite, "Software Manual for
the Elementary Functions" (1980).
"""

from __future__ import annotations

import math
from typing import Final

from tc.ir.expr import Expr, Unary
from tc.ir.math import tables as t
from tc.ir.math.build import Builder, Coefficients
from tc.ir.types import F32, F64

_LOG2E: Final = 1.4426950408889634
# ln 2 in two parts, the first with so few bits that its product with 2 m is exact.
LN2: Final = {
    F32: (0.693145751953125, 1.4286068203094173e-06),
    F64: (0.6931471805598903, 5.497923018708371e-14),
}
# Beyond these arguments the result is 0 and inf in every rounding.
_LOW: Final = {F32: -104.0, F64: -746.0}
_HIGH: Final = {F32: 89.0, F64: 710.0}


def _round(b: Builder, x: Expr, scale: float) -> tuple[Expr, Expr]:
    """The integer m next to x * scale as a float, and 2^m; |m| < 2^(exponent bits - 1)."""
    magic = 1.5 * 2.0**b.mantissa
    shifted = b.step(x, scale, magic)
    power = b.real(b.shl(b.bits(shifted), b.mantissa) + b.i(b.bias << b.mantissa))
    return shifted - b.k(magic), power


def reduce_exp(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """(r, s) with e^x = e^r s s and |r| <= ln 2, for x between the limits of the type."""
    m, s = _round(b, x, _LOG2E / 2)
    high, low = LN2[b.dtype]
    r = b.fma(m, -2 * high, x)
    return b.fma(m, -2 * low, r), s


def exp_table(b: Builder) -> Coefficients:
    """(e^r - 1 - r) / r^2, evaluated in the type of the builder."""
    if b.dtype is F32:
        return t.EXP_F32
    return b.pick(t.EXPM1_F32, t.EXP_F64)


def exp_of(b: Builder, r: Expr) -> Expr:
    """e^r for a reduced r."""
    return b.horner((1.0, 1.0, *exp_table(b)), r)


def clamp_exp(b: Builder, x: Expr) -> Expr:
    """x between the limits of `reduce_exp`; NaN stays."""
    return b.at_most(b.at_least(x, _LOW[b.dtype]), _HIGH[b.dtype])


def exp(b: Builder, x: Expr) -> Expr:
    """e^x."""
    r, s = reduce_exp(b, clamp_exp(b, x))
    return exp_of(b, r) * s * s


def exp_nonpos(b: Builder, x: Expr) -> Expr:
    """e^x for x <= 0: the weights of a softmax. In F32 half the work of `exp`.

    x = m ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 + 127 rounds to m and leaves m + 127 in
    the low bits, which shifted are 2^m; at m = -127 they are 0, and so is the result. ln 2 is a
    single number, the error of which grows with m: 3 ULP down to e^-30, 5 where results are 1e-38
    times the largest. Positive x up to 88 is as good, beyond that the result has no meaning.
    """
    if b.dtype is not F32:
        return exp(b, x)
    magic = 1.5 * 2.0**b.mantissa + b.bias
    x = b.at_least(x, -(b.bias + 0.25) * math.log(2))
    shifted = b.step(x, _LOG2E, magic)
    m = shifted - b.k(magic)
    r = b.fma(m, -math.log(2), x)
    power = b.real(b.shl(b.bits(shifted), b.mantissa))
    return b.horner((1.0, 1.0, *t.EXP_HALF_F32), r) * power


def exp2(b: Builder, x: Expr) -> Expr:
    """2^x; exact for integers."""
    low, high = (-151.0, 129.0) if b.dtype is F32 else (-1076.0, 1025.0)
    x = b.at_most(b.at_least(x, low), high)
    m, s = _round(b, x, 0.5)
    r = b.fma(m, -2.0, x)
    table = t.EXP2_F32 if b.dtype is F32 else t.EXP2_F64
    return b.horner((1.0, *table), r) * s * s


def _expm1_finite(b: Builder, x: Expr) -> Expr:
    """e^x - 1 = (q s + (s - 1/s)) s with q = e^r - 1, for x between -100 and the upper limit."""
    r, s = reduce_exp(b, x)
    q = b.step(b.horner(exp_table(b), r), r * r, r)
    reciprocal = b.real(b.i(2 * b.bias << b.mantissa) - b.bits(s))
    return b.fma(q, s, s - reciprocal) * s


def expm1(b: Builder, x: Expr) -> Expr:
    """e^x - 1, accurate next to 0."""
    clamped = b.at_most(b.at_least(x, -50.0), _HIGH[b.dtype])
    # -0.0 would come out as 0.0.
    return b.select(b.abs(x) < b.k(2.0**-60), x, _expm1_finite(b, clamped))


def sigmoid(b: Builder, x: Expr) -> Expr:
    """1 / (1 + e^-x), by e^-|x| so that both tails keep their relative accuracy."""
    negative = Unary("neg", b.abs(x))
    r, s = reduce_exp(b, b.at_least(negative, _LOW[b.dtype]))
    e = exp_of(b, r) * s * s
    return b.select(x < b.k(0.0), e, 1.0) / (e + b.k(1.0))


def tanh(b: Builder, x: Expr) -> Expr:
    """tanh x: in F32 one odd rational function, in F64 by expm1(2 |x|)."""
    if b.dtype is F32:
        clamped = b.within(x, 9.02)  # where the quotient comes out as 1
        z = clamped * clamped
        y = clamped * b.horner(t.TANH_P_F32, z) / b.horner(t.TANH_Q_F32, z)
        return b.within(y, 1.0)
    a = b.at_most(b.abs(x), 22.0)
    e = _expm1_finite(b, a + a)
    return b.with_sign(e / (e + b.k(2.0)), b.sign_of(x))


def _half_exp(b: Builder, a: Expr) -> Expr:
    """e^a / 2 for a >= 0, finite wherever the result is."""
    r, s = reduce_exp(b, b.at_most(a, 711.0))
    return exp_of(b, r) * (s * b.k(0.5)) * s


def sinh(b: Builder, x: Expr) -> Expr:
    """sinh x: an odd polynomial below 1, exponentials above."""
    z = x * x
    small = b.fma(x * z, b.horner(b.pick(t.SINH_F32, t.SINH_F64), z), x)
    a = b.abs(x)
    h = _half_exp(b, a)
    large = b.with_sign(h - b.k(0.25) / h, b.sign_of(x))
    return b.select(a < b.k(1.0), small, large)


def cosh(b: Builder, x: Expr) -> Expr:
    """cosh x = e^|x| / 2 + e^-|x| / 2."""
    h = _half_exp(b, b.abs(x))
    return h + b.k(0.25) / h
