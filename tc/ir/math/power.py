"""pow.

x^y = exp(y log|x|) with the logarithm as a sum of two f64 (about 64 bits) for results in F64, as
one f64 for results in F32, where 53 bits leave 2^-40 of error. Zeros, infinities and signs follow
C99, annex F.9.4.4. The sums of two floats are Dekker's (Numerische Mathematik 18, 1971).
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Expr, Select, Unary, equal
from tc.ir.math import tables as t
from tc.ir.math.build import Builder
from tc.ir.math.exponential import LN2, clamp_exp, exp_of, reduce_exp
from tc.ir.math.logarithm import lift_denormals, log_core, split
from tc.ir.types import F32, F64

_INF: Final = float("inf")
_NAN: Final = float("nan")
_TWO_THIRDS: Final = (0.6666666666666666, 3.700743415417188e-17)
_LOG_LIMIT: Final = 746.0  # from there on the exponential is 0 or inf


def _log_parts(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """log x of a positive finite x as an unevaluated sum of two f64."""
    scaled, offset = lift_denormals(b, x)
    e, m = split(b, scaled, offset)
    f = m - b.k(1.0)  # exact
    d, d_low = b.two_sum(m, b.k(1.0))
    s = f / d
    minus_s = Unary("neg", s)
    s_low = b.fma(minus_s, d_low, b.fma(minus_s, d, f)) / d
    z, z_low = b.two_prod(s, s)
    z_low = b.fma(s + s, s_low, z_low)
    c, c_low = b.two_prod(s, z)
    c_low = b.fma(s, z_low, b.fma(s_low, z, c_low))
    u, u_low = b.two_prod(c, b.k(_TWO_THIRDS[0]))
    u_low = b.fma(c, _TWO_THIRDS[1], b.fma(c_low, _TWO_THIRDS[0], u_low))
    rest = c * z * b.horner(t.LOG_TAIL_F64, z)
    high, low = LN2[F64]
    total, error = b.two_sum(e * b.k(high), s + s)
    total, error2 = b.two_sum(total, u)
    tail = error + error2 + b.fma(e, low, s_low + s_low + u_low + rest)
    return b.fast_two_sum(total, tail)


def _power_of_magnitude(b: Builder, a: Expr, y: Expr) -> Expr:
    """a^y for positive finite a and |y| <= 2^64."""
    if b.target is F32:
        r, s = reduce_exp(b, clamp_exp(b, y * log_core(b, a, exact=True)))
        return exp_of(b, r) * s * s
    high, low = _log_parts(b, a)
    w, w_low = b.two_prod(y, high)
    w_low = b.select(b.abs(w) < b.k(_LOG_LIMIT), b.fma(y, low, w_low), 0.0)
    r, s = reduce_exp(b, clamp_exp(b, w))
    return exp_of(b, r + w_low) * s * s


def pow(b: Builder, x: Expr, y: Expr) -> Expr:
    """x raised to y."""
    a = b.abs(x)
    zero, one, inf = b.k(0.0), b.k(1.0), b.k(_INF)
    # Beyond 2^64 the result is 0, 1 or inf, and y * log stays finite.
    result = _power_of_magnitude(b, a, b.within(y, 2.0**64))
    extreme = equal(a, zero) | equal(a, inf)
    grows = (one < a) ^ (y < zero)
    result = b.select(extreme, b.select(grows, inf, zero), result)
    half = y * b.k(0.5)
    whole = equal(Unary("trunc", y), y)
    odd = whole & Unary("not", equal(Unary("trunc", half), half))
    flip = Select(odd, b.sign_of(x), b.i(0))
    result = b.with_sign(result, flip)
    undefined = (x < zero) & (a < inf) & Unary("not", whole)
    result = b.select(undefined, _NAN, result)
    ordered = (a <= inf) & (b.abs(y) <= inf)
    result = b.select(ordered, result, x + y)
    return b.select(equal(y, zero) | equal(x, one), one, result)
