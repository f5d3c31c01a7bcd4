"""Pointwise operators of three tensors: choice by a mask, interpolation, fused multiply-adds."""

from __future__ import annotations

from typing import Any

import numpy as np

from tc import te
from tc.ir.expr import Const, Expr, binary, cast, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL
from tc.ops.dims import broadcast, stretched
from tc.ops.elementwise import Rule, by_rule, entry, pointwise
from tc.ops.promotion import Number, Operand, number_as, result_type
from tc.ops.samples import array, bools, ints, sample, special


def choose(name: str, mask: Tensor, then: Operand, other: Operand) -> Tensor:
    """`then` where the mask is not zero, else `other`, in their promoted type."""
    shape = broadcast(name, *(x.shape for x in (mask, then, other) if isinstance(x, Tensor)))
    dtype = result_type((then, other))

    def element(*index: Expr) -> Expr:
        then_, other_ = (
            cast(stretched(x, shape, index), dtype)
            if isinstance(x, Tensor)
            else number_as(x, dtype)
            for x in (then, other)
        )
        return select(cast(stretched(mask, shape, index), BOOL), then_, other_)

    return te.compute(shape, element, te.fresh(name))


@entry(
    "where",
    np.where,
    sample(bools(3, 5), array(3, 5), array(5)),
    sample(bools(2, 1, 7), array(), -3.4028234663852886e38),
    sample(bools(17), 1.5, array(17)),
    sample(bools(4, 1), ints(4, 3), ints(3)),
    sample(bools(0, 3), array(3), array(1)),
    sample(bools(5), ints(5), array(5)),
    sample(bools(19), special(19), special(19)),
    aten=("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf",
          "aten.where.Scalar"),
)  # fmt: skip
def build_where(condition: Tensor, then: Operand, other: Operand) -> Tensor:
    """`then` where the condition holds, else `other`."""
    return choose("where", condition, then, other)


@entry(
    "masked_fill",
    lambda x, mask, value: np.where(mask, np.asarray(value).astype(x.dtype), x),
    sample(array(3, 5), bools(5), -1e9),
    sample(array(3, 5), bools(3, 1), float("-inf")),
    sample(ints(17), bools(17), -100),
    sample(array(17), bools(17), array()),
    sample(array(0, 3), bools(1, 3), 1.0),
    aten=("aten.masked_fill.Scalar", "aten.masked_fill.Tensor"),
)
def build_masked_fill(x: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """x with `value`, cast to the type of x, where the mask holds."""
    shape = broadcast("masked_fill", x.shape, mask.shape)

    def element(*index: Expr) -> Expr:
        if isinstance(value, Tensor):
            filled = cast(stretched(value, shape, index), x.dtype)
        else:
            filled = number_as(value, x.dtype)
        keep = stretched(x, shape, index)
        return select(cast(stretched(mask, shape, index), BOOL), filled, keep)

    return te.compute(shape, element, te.fresh("masked_fill"))


@entry(
    "fill",
    lambda x, value: np.full(x.shape, value).astype(x.dtype),
    sample(array(3, 5), 2.5),
    sample(ints(17), array()),
    aten=("aten.fill.Scalar", "aten.fill.Tensor"),
)
def build_fill(x: Tensor, value: Operand) -> Tensor:
    """`value` everywhere, in the shape and type of x."""

    def element(*_: Expr) -> Expr:
        return cast(value[()], x.dtype) if isinstance(value, Tensor) else number_as(value, x.dtype)

    return te.compute(x.shape, element, te.fresh("fill"))


def _lerp_ref(a: Any, b: Any, w: Any) -> Any:
    return a + w * (b - a)


@entry(
    "lerp",
    _lerp_ref,
    sample(array(3, 5), array(5), 0.25),
    sample(array(17), array(17), 0.75),
    sample(array(3, 5), array(3, 5), array(5)),
    aten=("aten.lerp.Scalar", "aten.lerp.Tensor"),
)
def build_lerp(start: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """start + weight (end - start), from the nearer end."""

    def fn(a: Expr, b: Expr, w: Expr) -> Expr:
        near = unary("abs", w) < 0.5
        return select(near, a + w * (b - a), b - (b - a) * (1.0 - w))

    is_number = not isinstance(weight, Tensor)
    return by_rule("lerp", Rule.SAME, (start, end, weight), fn, exact=is_number)


@entry(
    "addcmul",
    lambda x, a, b, value=1: x + value * a * b,
    sample(array(3, 5), array(5), array(3, 1), 1),
    sample(array(17), array(17), array(17), -0.5),
)
def build_addcmul(x: Tensor, a: Tensor, b: Tensor, value: Number = 1) -> Tensor:
    """x + value * a * b."""
    return by_rule(
        "addcmul",
        Rule.SAME,
        (x, a, b, value),
        lambda v, p, q, s: v + _times(value, s, p) * q,
        exact=True,
    )


@entry(
    "addcdiv",
    lambda x, a, b, value=1: x + value * a / b,
    sample(array(3, 5), array(5), array(3, 1, low=0.5), 1),
    sample(array(17), array(17), array(17, low=0.5), -0.5),
)
def build_addcdiv(x: Tensor, a: Tensor, b: Tensor, value: Number = 1) -> Tensor:
    """x + value * a / b."""
    return by_rule(
        "addcdiv",
        Rule.SAME,
        (x, a, b, value),
        lambda v, p, q, s: v + _times(value, s, p) / q,
        exact=True,
    )


def _times(value: Number, factor: Expr, x: Expr) -> Expr:
    return x if value == 1 else factor * x


@entry(
    "isclose",
    lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: np.isclose(a, b, rtol, atol, equal_nan),
    sample(array(3, 5), array(5), 0.5, 0.1, False),
    sample(special(19), special(19), 1e-5, 1e-8, True),
)
def build_isclose(
    a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|a - b| <= atol + rtol |b|, or equal, or both NaN where that is asked for."""

    def fn(x: Expr, y: Expr) -> Expr:
        if not x.dtype.is_float:
            x, y = cast(x, te.F64), cast(y, te.F64)
        limit = unary("abs", y) * float(rtol) + float(atol)
        finite = ~(unary("isinf", y) | unary("isnan", y))
        close = binary("eq", x, y) | (finite & (unary("abs", x - y) <= limit))
        nans = unary("isnan", x) & unary("isnan", y)
        return close | nans if equal_nan else close

    return pointwise("isclose", (a, b), result_type((a, b)), BOOL, fn)


@entry(
    "heaviside",
    lambda x, v: np.where(np.isnan(x), 0, np.heaviside(x, v)),
    sample(ints(17, low=-2, high=2, dtype="f32"), array(17)),
    sample(special(19), array(19)),
)
def build_heaviside(x: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, `values` at zero; NaN gives 0."""

    def fn(v: Expr, at_zero: Expr) -> Expr:
        zero, one = Const(0, v.dtype), Const(1, v.dtype)
        return select(binary("eq", v, zero), at_zero, select(v > zero, one, zero))

    return by_rule("heaviside", Rule.SAME, (x, values), fn)
