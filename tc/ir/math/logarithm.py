"""log, log2, log1p, asinh, acosh, atanh.

x = 2^e m with sqrt(1/2) <= m < sqrt(2); log m by 2 atanh(f / (2 + f)) with f = m - 1, arranged as
in fdlibm's e_log.c (Sun Microsystems 1993). F32 log has a direct polynomial in f without division.
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Cast, Expr, Unary, equal
from tc.ir.math import tables as t
from tc.ir.math.build import Builder
from tc.ir.math.exponential import LN2
from tc.ir.types import F32

_SQRT_HALF_BITS: Final = {23: 0x3F3504F3, 52: 0x3FE6A09E667F3BCD}
_INF: Final = float("inf")
_NAN: Final = float("nan")
_LN2_F64: Final = 0.6931471805599453


def split(b: Builder, x: Expr, offset: Expr | float) -> tuple[Expr, Expr]:
    """(e - offset, m) of a positive normal x = 2^e m, both floats, sqrt(1/2) <= m < sqrt(2)."""
    i = b.bits(x)
    # The bias goes on first so that the shifted number is never negative.
    biased = b.shr(i + b.i((b.bias << b.mantissa) - _SQRT_HALF_BITS[b.mantissa]), b.mantissa)
    m = b.real((i + b.i(b.bias << b.mantissa)) - b.shl(biased, b.mantissa))
    shift = (offset if isinstance(offset, Expr) else b.k(offset)) + b.k(b.bias)
    if b.dtype is F32:
        return Cast(biased, F32) - shift, m
    # The conversion of i64 to f64 is not in every vector instruction set; this is two bit ops.
    magic = 2.0**52
    as_float = b.real(biased | b.i(0x433 << 52)) - b.k(magic)
    return as_float - shift, m


def lift_denormals(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """Denormals times 2^(mantissa bits + 1), and the exponent to subtract for that."""
    smallest = 2.0 ** (1 - b.bias)
    n = b.mantissa + 1
    tiny = x < b.k(smallest)
    return b.select(tiny, x * b.k(2.0**n), x), b.select(tiny, float(n), 0.0)


def log_core(b: Builder, x: Expr, extra: Expr | None = None, *, exact: bool = False) -> Expr:
    """log x + extra for a positive finite F64 x, |extra| below half an ulp of x over x.

    `exact` asks for the F64 polynomial even where the result is F32.
    """
    if b.target is F32:
        scaled, offset = x, b.k(0.0)  # an f32, or anything made of it, is normal in f64
    else:
        scaled, offset = lift_denormals(b, x)
    e, m = split(b, scaled, offset)
    f = m - b.k(1.0)
    s = f / (f + b.k(2.0))
    z = s * s
    r = z * b.horner(t.LOG_F64 if exact else b.pick(t.LOG_F32, t.LOG_F64), z)
    half_square = f * (f * b.k(0.5))
    high, low = LN2[b.dtype]
    tail = e * b.k(low) if extra is None else b.fma(e, low, extra)
    return b.fma(e, high, f - (half_square - b.fma(s, half_square + r, tail)))


def _domain(b: Builder, x: Expr, inner: Expr) -> Expr:
    """`inner` with the values of a logarithm at 0, inf, NaN and below 0."""
    finite = b.select(x < b.k(_INF), inner, x)
    edge = b.select(equal(x, b.k(0.0)), -_INF, _NAN)
    return b.select(b.k(0.0) < x, finite, edge)


def log(b: Builder, x: Expr) -> Expr:
    """Natural logarithm."""
    if b.dtype is not F32:
        return _domain(b, x, log_core(b, x))
    scaled, offset = lift_denormals(b, x)
    e, m = split(b, scaled, offset)
    f = m - b.k(1.0)
    square = f * f
    high, low = LN2[F32]
    y = b.fma(square * f, b.horner(t.LOG_DIRECT_F32, f), e * b.k(low))
    y = b.fma(square, -0.5, y)
    return _domain(b, x, b.fma(e, high, f + y))


def log2(b: Builder, x: Expr) -> Expr:
    """Logarithm to base 2; exact for powers of two."""
    if b.target is F32:
        scaled, offset = x, b.k(0.0)
    else:
        scaled, offset = lift_denormals(b, x)
    e, m = split(b, scaled, offset)
    f = m - b.k(1.0)
    s = f / (f + b.k(2.0))
    z = s * s
    r = z * b.horner(b.pick(t.LOG_F32, t.LOG_F64), z)
    half_square = f * (f * b.k(0.5))
    # log m in two parts, so that the product with log2(e) is good to the last place.
    minus = s * (half_square + r)
    high, low = b.fast_two_sum(f, minus - half_square)
    tail = b.fma(low, 1.4426950408889634, high * b.k(2.0355273740931033e-17))
    return _domain(b, x, b.fma(high, 1.4426950408889634, tail) + e)


def log1p_core(b: Builder, x: Expr) -> Expr:
    """log(1 + x) for finite x > -1, with the rounding error of 1 + x put back."""
    u, error = b.two_sum(b.k(1.0), x)
    return log_core(b, u, error / u)


def log1p(b: Builder, x: Expr) -> Expr:
    """log(1 + x), accurate next to 0."""
    inner = b.select(b.abs(x) < b.k(2.0**-54), x, log1p_core(b, x))
    finite = b.select(x < b.k(_INF), inner, x)
    edge = b.select(equal(x, b.k(-1.0)), -_INF, _NAN)
    return b.select(b.k(-1.0) < x, finite, edge)


def _log1p_or_log(b: Builder, small: Expr, a: Expr) -> Expr:
    """log1p(small) below 2^60, log(2 a) above, where the two agree; a inf or NaN stays."""
    big = b.k(2.0**60) < a
    y = log1p_core(b, b.select(big, a, small)) + b.select(big, _LN2_F64, 0.0)
    return b.select(a < b.k(_INF), y, a)


def asinh(b: Builder, x: Expr) -> Expr:
    """log(|x| + sqrt(x^2 + 1)) with the sign of x, as log1p(|x| + x^2 / (1 + sqrt(x^2 + 1)))."""
    a = b.abs(x)
    square = a * a
    root = Unary("sqrt", square + b.k(1.0))
    y = _log1p_or_log(b, a + square / (root + b.k(1.0)), a)
    y = b.select(a < b.k(2.0**-28), a, y)
    return b.with_sign(y, b.sign_of(x))


def acosh(b: Builder, x: Expr) -> Expr:
    """log(x + sqrt(x^2 - 1)) as log1p(t + sqrt(2 t + t^2)), t = x - 1; NaN below 1."""
    d = x - b.k(1.0)
    y = _log1p_or_log(b, d + Unary("sqrt", d * (x + b.k(1.0))), x)
    return b.select(x < b.k(1.0), _NAN, y)


def atanh(b: Builder, x: Expr) -> Expr:
    """log1p(2 |x| / (1 - |x|)) / 2 with the sign of x; inf at 1, NaN beyond."""
    a = b.abs(x)
    y = log1p_core(b, (a + a) / (b.k(1.0) - a)) * b.k(0.5)
    y = b.select(a < b.k(2.0**-28), a, y)
    edge = b.select(equal(a, b.k(1.0)), _INF, _NAN)
    return b.with_sign(b.select(a < b.k(1.0), y, edge), b.sign_of(x))
