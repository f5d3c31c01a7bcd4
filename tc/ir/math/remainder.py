"""fmod.

A quotient rounded to 53 bits, times y, is taken from x in one fma, which is exact: what is left
has a quotient that is as much shorter. Results in F32, computed in F64, take three such steps and
are exact for quotients below 2^150; results in F64 take one, for quotients below 2^53. Where they
are greater the result is anything below |y| with the sign of x: the greatest of F64 would need
forty steps.
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Expr, Unary
from tc.ir.math.build import Builder
from tc.ir.types import F32

_MAX: Final = 1.7976931348623157e308
_STEPS: Final = 3  # of 52 bits; six, for all quotients of f32, take half as long again


def fmod(b: Builder, x: Expr, y: Expr) -> Expr:
    """x - trunc(x / y) y, with the sign of x where it is zero."""
    u, v = b.abs(x), b.abs(y)
    finite = b.at_most(v, _MAX)  # 0 times infinity would be NaN
    zero = b.k(0.0)
    if b.target is F32:
        rest, inverse = u, b.k(1.0) / v
        for _ in range(_STEPS):
            rest = _less(b, rest, Unary("round", rest * inverse), finite)
    else:
        rest = _less(b, u, Unary("trunc", u / v), finite)
    rest = b.select(rest < zero, rest + v, rest)  # the quotient was rounded up
    rest = b.abs(rest)
    rest = b.select(v <= rest, zero, rest)
    return b.with_sign(rest, b.sign_of(x))


def _less(b: Builder, rest: Expr, n: Expr, v: Expr) -> Expr:
    return b.fma(Unary("neg", n), v, rest)
