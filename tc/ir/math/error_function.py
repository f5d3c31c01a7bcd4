"""erf and erfc.

F32 erf is one odd rational function that saturates, without exponential or select. The others use
erfc(a) = exp(-a^2) g(t) / (1 + 2 a), t = (a - K) / (a + K), one polynomial g for all a >= 0
(Shepherd and Laframboise, Mathematics of Computation 36 (1981)).
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Expr, Unary
from tc.ir.math import tables as t
from tc.ir.math.build import Builder
from tc.ir.math.exponential import clamp_exp, exp_of, reduce_exp
from tc.ir.types import F32

_LARGEST: Final = 28.0  # erfc of it is 0 in every type


def erf(b: Builder, x: Expr) -> Expr:
    """The error function 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    if b.dtype is F32:
        clamped = b.within(x, 3.93)  # where the quotient comes out as 1
        z = clamped * clamped
        square = z * z
        y = clamped * b.pairs(t.ERF_P_F32, z, square) / b.pairs(t.ERF_Q_F32, z, square)
        return b.within(y, 1.0)
    a = b.abs(x)
    small = x * b.horner(t.ERF_F64, x * x)
    large = b.with_sign(b.k(1.0) - _erfc_right(b, a), b.sign_of(x))
    return b.select(a < b.k(1.0), small, large)


def erfc(b: Builder, x: Expr) -> Expr:
    """1 - erf(x), with full relative accuracy in the right tail."""
    y = _erfc_right(b, b.abs(x))
    return b.select(x < b.k(0.0), b.k(2.0) - y, y)


def _erfc_right(b: Builder, a: Expr) -> Expr:
    """erfc(a) for a >= 0."""
    a = b.at_most(a, _LARGEST)
    square, error = b.two_prod(a, a)
    r, s = reduce_exp(b, clamp_exp(b, Unary("neg", square)))
    e = exp_of(b, r)
    e = b.fma(e, Unary("neg", error), e)
    center = 3.0 if b.target is F32 else 4.0
    q = (a - b.k(center)) / (a + b.k(center))
    g = b.horner(b.pick(t.ERFCX_F32, t.ERFCX_F64), q) / b.fma(a, 2.0, 1.0)
    return e * g * s * s
