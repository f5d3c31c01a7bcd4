"""Monoids with tuple state: what a reduction folds with.

Online softmax is the state (maximum, denominator, accumulator) of Milakov and Gimelshein, "Online
normalizer calculation for softmax" (arXiv 1805.02867, section 3); Welford's is (mean, M2, count)
in the pairwise form of Chan, Golub and LeVeque, "Updating formulae" (1979).
"""

from __future__ import annotations

import math

from tc.frozen import frozen
from tc.ir.arith import Binary, Const, Expr, Var, binary, unary
from tc.ir.nodes import Fma, equal, select
from tc.ir.types import BOOL, F32, I64, DType


@frozen
class Monoid:
    """An associative `combine` of two states with an `identity`.

    `combine[n]` is state n of the result, over the variables `left` and `right`. All but
    first-index ties of argmax and argmin commute as well.
    """

    name: str
    left: tuple[Var, ...]
    right: tuple[Var, ...]
    combine: tuple[Expr, ...]
    identity: tuple[Const, ...]

    @property
    def dtypes(self) -> tuple[DType, ...]:
        return tuple(v.type for v in self.left)

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(str(t) for t in self.dtypes)}]"


def _simple(name: str, op: str, dtype: DType, identity: float) -> Monoid:
    a, b = Var("a", dtype), Var("b", dtype)
    return Monoid(name, (a,), (b,), (Binary(op, a, b),), (Const(identity, dtype),))


def sum_of(dtype: DType = F32) -> Monoid:
    return _simple("sum", "add", dtype, 0)


def prod_of(dtype: DType = F32) -> Monoid:
    return _simple("prod", "mul", dtype, 1)


def max_of(dtype: DType = F32) -> Monoid:
    return _simple("max", "max", dtype, _extreme(dtype, -1))


def min_of(dtype: DType = F32) -> Monoid:
    return _simple("min", "min", dtype, _extreme(dtype, 1))


def any_of() -> Monoid:
    return _simple("any", "or", BOOL, 0)


def all_of() -> Monoid:
    return _simple("all", "and", BOOL, 1)


def _extreme(dtype: DType, sign: int) -> float:
    if dtype.is_float:
        return sign * math.inf
    if dtype is BOOL:
        return 1 if sign > 0 else 0
    bits, unsigned = dtype.bits, str(dtype).startswith("u")
    if sign > 0:
        return (1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1
    return 0 if unsigned else -(1 << (bits - 1))


def _arg_extreme(name: str, dtype: DType, sign: int) -> Monoid:
    """State (value, index): the better value; NaN is best; at a tie the smaller index."""
    va, vb = Var("va", dtype), Var("vb", dtype)
    ia, ib = Var("ia", I64), Var("ib", I64)
    better: Expr = Binary("lt", vb, va) if sign < 0 else Binary("lt", va, vb)
    tie: Expr = equal(va, vb)
    if dtype.is_float:
        a_nan, b_nan = unary("isnan", va), unary("isnan", vb)
        better = (b_nan & ~a_nan) | (better & ~a_nan)
        tie = tie | (a_nan & b_nan)
    take = better | (tie & (ib < ia))
    combine = (select(take, vb, va), select(take, ib, ia))
    identity = (Const(_extreme(dtype, -sign), dtype), Const((1 << 63) - 1, I64))
    return Monoid(name, (va, ia), (vb, ib), combine, identity)


def argmax_of(dtype: DType = F32) -> Monoid:
    return _arg_extreme("argmax", dtype, 1)


def argmin_of(dtype: DType = F32) -> Monoid:
    return _arg_extreme("argmin", dtype, -1)


def welford_of(dtype: DType = F32) -> Monoid:
    """State (mean, M2, count); a point x lifts to (x, 0, 1)."""
    ma, sa, na = (Var(n, dtype) for n in ("ma", "sa", "na"))
    mb, sb, nb = (Var(n, dtype) for n in ("mb", "sb", "nb"))
    one = Const(1, dtype)
    count = binary("add", na, nb)
    share = nb / binary("max", count, one)
    delta = mb - ma
    combine = (Fma(delta, share, ma), sa + sb + delta * delta * (na * share), count)
    zero = Const(0, dtype)
    return Monoid("welford", (ma, sa, na), (mb, sb, nb), combine, (zero, zero, zero))


def softmax_weight(score: Expr, top: Expr) -> Expr:
    """exp(score - top), with which what was summed under a maximum `score` counts under `top`."""
    return unary("exp_nonpos", score - softmax_base(top))


def softmax_base(top: Expr) -> Expr:
    """What is taken from scores under the maximum `top`.

    A state that has seen nothing has the maximum -inf and the weight 0; -inf - -inf would be NaN.
    """
    low, zero = Const(-math.inf, top.dtype), Const(0, top.dtype)
    return select(equal(top, low), zero, top)


def online_softmax_of(dtype: DType = F32) -> Monoid:
    """State (m, l, o) = (maximum, Σ exp(s - m), Σ exp(s - m)·v); (s, v) lifts to (s, 1, v)."""
    ma, la, oa = (Var(n, dtype) for n in ("ma", "la", "oa"))
    mb, lb, ob = (Var(n, dtype) for n in ("mb", "lb", "ob"))
    m = binary("max", ma, mb)
    wa, wb = softmax_weight(ma, m), softmax_weight(mb, m)
    combine = (m, Fma(la, wa, lb * wb), Fma(oa, wa, ob * wb))
    low, zero = Const(-math.inf, dtype), Const(0, dtype)
    return Monoid("online_softmax", (ma, la, oa), (mb, lb, ob), combine, (low, zero, zero))


FAMILIES = {
    "sum": sum_of, "prod": prod_of, "max": max_of, "min": min_of,
    "argmax": argmax_of, "argmin": argmin_of,
    "welford": welford_of, "online_softmax": online_softmax_of,
}  # fmt: skip


def monoid(name: str, dtype: DType) -> Monoid:
    """The monoid of that name over `dtype` (the parser's way back from the printed text)."""
    if name in ("any", "all"):
        return any_of() if name == "any" else all_of()
    return FAMILIES[name](dtype)
