"""sin, cos, tan.

Results in F32 reduce the argument in F64 for every finite x: 2/pi is held in pieces of 29 bits, so
that each product with x is exact, whole turns are dropped from each product exactly, and what is
left is summed (the idea of Payne and Hanek, SIGNUM Newsletter 18 (1983), with floats instead of
integers). Results in F64 subtract n pi/2 in three parts with exact products, which holds the
stated bound for |x| <= 2^27 and loses accuracy gradually above: the absolute error of the angle
is about |x| 2^-105. From |x| = 2^47 on, where n would not be exact, the angle counts as zero: the
1,100 bits of 2/pi, of which each lane would have to pick its own, cost more than all else here.
"""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Binary, Expr, Unary
from tc.ir.math import tables as t
from tc.ir.math.build import Builder
from tc.ir.types import F32

_HALF_PI: Final = t.HALF_PI[0]
_REDUCED_PIECES: Final = 5  # pieces whose product with the largest f32 reaches a whole turn
_LIMIT_F64: Final = 2.0**47


def _nearest(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """The integer next to x as a float, and as the low bits of an integer."""
    magic = b.k(1.5 * 2.0**52)
    shifted = x + magic
    return shifted - magic, b.bits(shifted)


def _reduce_f32(b: Builder, x: Expr) -> tuple[Expr, Expr, Expr]:
    """(r, 0, n) with x = n pi/2 + r, for x that came from an f32."""
    parts = []
    for index, piece in enumerate(t.TWO_OVER_PI):
        p = x * b.k(piece)
        if index < _REDUCED_PIECES:
            p = b.fma(Unary("round", p * b.k(0.25)), -4.0, p)
        parts.append(p)
    total = parts[0]
    for p in parts[1:]:
        total = total + p
    n, bits = _nearest(b, total)
    # From the largest down: n cancels exactly, and what follows adds what was below it.
    r = parts[0] - n
    for p in parts[1:]:
        r = r + p
    return r * b.k(_HALF_PI), b.k(0.0), bits


def _reduce_f64(b: Builder, x: Expr) -> tuple[Expr, Expr, Expr]:
    """(r, its tail, n) with x = n pi/2 + r + tail."""
    x = b.select(b.abs(x) < b.k(_LIMIT_F64), x, x * b.k(0.0))  # NaN of an infinity
    n, bits = _nearest(b, x * b.k(0.6366197723675814))
    first, first_error = b.two_prod(n, b.k(t.HALF_PI[0]))
    second, second_error = b.two_prod(n, b.k(t.HALF_PI[1]))
    high, low = b.two_sum(x - first, Unary("neg", first_error))
    high, low2 = b.two_sum(high, Unary("neg", second))
    tail = b.fma(n, -t.HALF_PI[2], low + low2 - second_error)
    r, tail = b.fast_two_sum(high, tail)
    return r, tail, bits


def _sin_cos(b: Builder, x: Expr) -> tuple[Expr, Expr, Expr]:
    """(sin r, cos r, n) of x = n pi/2 + r."""
    r, tail, n = (_reduce_f32 if b.target is F32 else _reduce_f64)(b, x)
    z = r * r
    half = z * b.k(0.5)
    sine = b.fma(r * z, b.horner(b.pick(t.SIN_F32, t.SIN_F64), z), r)
    quartic = z * z * b.horner(b.pick(t.COS_F32, t.COS_F64), z)
    near = b.k(1.0) - half
    if b.target is F32:
        return sine, near + quartic, n
    # The terms of the tail and of the rounding of 1 - z/2 (fdlibm, k_sin.c and k_cos.c).
    cubic = b.fma(r * z, b.horner(t.SIN_F64, z), tail * near)
    rest = b.k(1.0) - near - half + (quartic - r * tail)
    return r + cubic, near + rest, n


def _odd(b: Builder, n: Expr) -> Expr:
    return Binary("ne", n & b.i(1), b.i(0))


def _sign(b: Builder, n: Expr) -> Expr:
    """The sign bit where n mod 4 is 2 or 3."""
    return b.shl(n, b.int_type.bits - 2) & b.i(b.sign_bit)


def sin(b: Builder, x: Expr) -> Expr:
    """sin x."""
    sine, cosine, n = _sin_cos(b, x)
    y = b.with_sign(b.select(_odd(b, n), cosine, sine), _sign(b, n))
    # -0.0 would come out as 0.0, and the products lose denormals.
    return b.select(b.abs(x) < b.k(2.0**-28), x, y)


def cos(b: Builder, x: Expr) -> Expr:
    """cos x."""
    sine, cosine, n = _sin_cos(b, x)
    y = b.select(_odd(b, n), sine, cosine)
    return b.with_sign(y, _sign(b, n + b.i(1)))


def tan(b: Builder, x: Expr) -> Expr:
    """tan x."""
    sine, cosine, n = _sin_cos(b, x)
    odd = _odd(b, n)
    y = b.select(odd, cosine, sine) / b.select(odd, sine, cosine)
    y = b.with_sign(y, b.shl(n, b.int_type.bits - 1))
    return b.select(b.abs(x) < b.k(2.0**-28), x, y)
