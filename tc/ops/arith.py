"""Arithmetic that pointwise operators are made of: what PyTorch means by it for each type."""

from __future__ import annotations

import math

from tc import te
from tc.ir.expr import Bitcast, Const, Expr, binary, cast, equal, select, unary
from tc.ir.types import BOOL, F32, F64, I32, I64, U8
from tc.ops.elementwise import Fn


def add(a: Expr, b: Expr) -> Expr:
    """a + b; of bools, a or b."""
    return a | b if a.dtype is BOOL else a + b


def multiply(a: Expr, b: Expr) -> Expr:
    """a * b; of bools, a and b."""
    return a & b if a.dtype is BOOL else a * b


def less(a: Expr, b: Expr) -> Expr:
    """a < b, with False < True."""
    return ~a & b if a.dtype is BOOL else a < b


def less_equal(a: Expr, b: Expr) -> Expr:
    """a <= b, with False < True."""
    return ~a | b if a.dtype is BOOL else a <= b


def greatest(a: Expr, b: Expr) -> Expr:
    """max(a, b), NaN where either is."""
    return a | b if a.dtype is BOOL else te.maximum(a, b)


def least(a: Expr, b: Expr) -> Expr:
    """min(a, b), NaN where either is."""
    return a & b if a.dtype is BOOL else te.minimum(a, b)


def floor_divide(a: Expr, b: Expr) -> Expr:
    """floor(a / b) as Python has it: of an infinite number NaN, unless it is divided by zero."""
    if not a.dtype.is_float:
        return a // b
    x, y = cast(a, F64), cast(b, F64)
    whole = unary("floor", x / y)
    # Where the quotient was rounded up to a whole number, or to zero, too much is taken away.
    rest = select(unary("isinf", y), x, te.Fma(-whole, y, x))
    whole = whole - cast(_opposite(rest, y), F64)
    whole = select(unary("isinf", x) & binary("ne", y, Const(0.0, F64)), x - x, whole)
    return cast(whole, a.dtype)


def _opposite(a: Expr, b: Expr) -> Expr:
    """Whether one is above zero and the other below."""
    return ((a < 0) & (b > 0)) | ((a > 0) & (b < 0))


def trunc_divide(a: Expr, b: Expr) -> Expr:
    """a / b of integers rounded towards zero."""
    down = a // b
    inexact = binary("ne", down * b, a)
    return down + cast(inexact & binary("xor", a < 0, b < 0), a.dtype)


def fmod(a: Expr, b: Expr) -> Expr:
    """The remainder with the sign of a."""
    if not a.dtype.is_float:
        return a - trunc_divide(a, b) * b
    return binary("fmod", a, b)


def remainder(a: Expr, b: Expr) -> Expr:
    """The remainder with the sign of b."""
    if not a.dtype.is_float:
        return a % b
    rest = fmod(a, b)
    # What is used twice is computed in two places of the text: `rest` is named no third time.
    side = select(b < 0, Const(-1, b.dtype), Const(1, b.dtype))
    other_side = rest * side < 0.0
    return rest + select(other_side, b, Const(-0.0, a.dtype))  # which keeps a zero's sign


def shift_left(a: Expr, b: Expr) -> Expr:
    """a * 2 ** b; 0 where all bits leave, and for shifts below zero."""
    return select(_is_shift(b), binary("shl", a, b), Const(0, a.dtype))


def shift_right(a: Expr, b: Expr) -> Expr:
    """a // 2 ** b, as far as there are bits; shifts below zero are as those by all bits."""
    sign = binary("shr", a, Const(a.dtype.bits - 1, a.dtype))
    beyond = Const(0, a.dtype) if a.dtype is U8 else sign
    return select(_is_shift(b), binary("shr", a, b), beyond)


def _is_shift(b: Expr) -> Expr:
    return (b >= 0) & (b < b.dtype.bits)


def with_sign(size: Expr, sign: Expr) -> Expr:
    """|size| with the sign bit of `sign`."""
    kind = I32 if size.dtype is F32 else I64
    top = Const(-(1 << (kind.bits - 1)), kind)
    rest = Const((1 << (kind.bits - 1)) - 1, kind)
    bits = (Bitcast(size, kind) & rest) | (Bitcast(sign, kind) & top)
    return Bitcast(bits, size.dtype)


def hypot(a: Expr, b: Expr) -> Expr:
    """sqrt(a² + b²) without overflow in between."""
    big = te.maximum(unary("abs", a), unary("abs", b))
    share = te.minimum(unary("abs", a), unary("abs", b)) / big
    plain = big * te.sqrt(1.0 + share * share)
    # Beside an infinity NaN does not count.
    infinite = unary("isinf", a) | unary("isinf", b)
    return select(infinite, Const(math.inf, a.dtype), select(equal(big, 0.0), big, plain))


def logaddexp(a: Expr, b: Expr) -> Expr:
    """log(exp(a) + exp(b))."""
    high = te.maximum(a, b)
    plain = high + unary("log1p", te.exp(-unary("abs", a - b)))
    return select(unary("isinf", a) & equal(a, b), a, plain)


def xlogy(a: Expr, b: Expr) -> Expr:
    """a log(b), 0 where a is 0."""
    return select(equal(a, 0.0) & ~unary("isnan", b), Const(0, a.dtype), a * te.log(b))


def or_other(pick: Fn) -> Fn:
    """`pick`, but NaN only where both operands are."""

    def fn(a: Expr, b: Expr) -> Expr:
        if not a.dtype.is_float:
            return pick(a, b)
        return select(unary("isnan", a), b, select(unary("isnan", b), a, pick(a, b)))

    return fn


def power(x: Expr, exponent: float, y: Expr) -> Expr:
    """x ** y, which is the number `exponent`: products and roots where they are what is meant."""
    if exponent == int(exponent) and 0 <= exponent <= 64:
        return _product(x, int(exponent))
    match exponent:
        case 0.5:
            return te.sqrt(x)
        case -0.5:
            return te.rsqrt(x)
        case -1 | -2:
            return 1 / _product(x, -int(exponent))
    return binary("pow", x, y)


def _product(x: Expr, n: int) -> Expr:
    """x multiplied n times, by squaring; beyond x**4 in floats, pow is nearer to the truth."""
    if n == 0:
        return Const(1, x.dtype)
    if x.dtype.is_float and n > 4:
        return binary("pow", x, Const(n, x.dtype))
    half = _product(x, n // 2) if n > 1 else None
    if half is None:
        return x
    return half * half * x if n % 2 else half * half
