"""Pointwise operators of one tensor without parameters: a table of name, rule, expression,
reference and the range of its samples.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from tc import te
from tc.frozen import frozen
from tc.ir.expr import Bitcast, Const, Expr, cast, equal, unary
from tc.ir.types import BOOL, F32, I32, I64, U8
from tc.ops import references as ref
from tc.ops.elementwise import Fn, Reference, Rule, enter
from tc.ops.samples import SHAPES, array, ints, sample, special
from tc.ops.table import Sample


@frozen
class Row:
    """One operator `aten.<name>.default` and what else it is called."""

    name: str
    rule: Rule
    fn: Fn
    reference: Reference
    low: float = -3.0
    high: float = 3.0
    also: tuple[str, ...] = ()


def _op(name: str) -> Fn:
    return lambda x: unary(name, x)


def _sign(x: Expr) -> Expr:
    if x.dtype in (BOOL, U8):
        return cast(cast(x, BOOL), x.dtype)
    return cast(x > 0, x.dtype) - cast(x < 0, x.dtype)


def _signbit(x: Expr) -> Expr:
    if x.dtype in (BOOL, U8):
        return Const(False, BOOL)
    if not x.dtype.is_float:
        return x < 0
    return Bitcast(x, I32 if x.dtype is F32 else I64) < 0


def _absolute(x: Expr) -> Expr:
    return x if x.dtype in (BOOL, U8) else unary("abs", x)


def _whole(name: str) -> Fn:
    """Rounding, which leaves integers alone."""
    return lambda x: unary(name, x) if x.dtype.is_float else x


def _negated(x: Expr) -> Expr:
    return unary("neg", x)


def _log_sigmoid(x: Expr) -> Expr:
    return te.minimum(x, 0.0) - unary("log1p", te.exp(-unary("abs", x)))


def _infinite(sign: int) -> Fn:
    return lambda x: equal(x, Const(sign * math.inf, x.dtype))


S, FL, FT = Rule.SAME, Rule.FLOAT, Rule.FLOAT_TEST
ROWS: Final = (
    Row("abs", S, _absolute, np.abs, also=("aten.absolute.default",)),
    Row("neg", S, _negated, np.negative, also=("aten.negative.default",)),
    Row("positive", S, lambda x: x, lambda x: x),
    Row("sign", S, _sign, ref.sign, also=("aten.sgn.default",)),
    Row("relu", S, lambda x: te.maximum(x, 0), lambda x: np.maximum(x, 0)),
    Row("relu6", S, lambda x: te.minimum(te.maximum(x, 0), 6), lambda x: np.clip(x, 0, 6), -3, 9),
    Row("ceil", S, _whole("ceil"), np.ceil),
    Row("floor", S, _whole("floor"), np.floor),
    Row("trunc", S, _whole("trunc"), np.trunc, also=("aten.fix.default",)),
    Row("round", S, _whole("round"), np.round),
    Row("frac", S, lambda x: x - unary("trunc", x), lambda x: x - np.trunc(x)),
    Row("reciprocal", FL, lambda x: 1 / x, lambda x: 1 / x),
    Row("sqrt", FL, te.sqrt, np.sqrt, 0, 9),
    Row("rsqrt", FL, te.rsqrt, lambda x: 1 / np.sqrt(x), 0.1, 9),
    Row("exp", FL, te.exp, np.exp),
    Row("exp2", FL, _op("exp2"), np.exp2),
    Row("expm1", FL, _op("expm1"), np.expm1),
    Row("log", FL, te.log, np.log, 0, 9),
    Row("log2", FL, _op("log2"), np.log2, 0, 9),
    Row("log10", FL, lambda x: te.log(x) * (1 / math.log(10)), np.log10, 0, 9),
    Row("log1p", FL, _op("log1p"), np.log1p, -1, 9, ("aten.special_log1p.default",)),
    Row("sin", FL, _op("sin"), np.sin, -9, 9),
    Row("cos", FL, _op("cos"), np.cos, -9, 9),
    Row("tan", FL, _op("tan"), np.tan, -1.5, 1.5),
    Row("asin", FL, _op("asin"), np.arcsin, -1, 1, ("aten.arcsin.default",)),
    Row("acos", FL, _op("acos"), np.arccos, -1, 1, ("aten.arccos.default",)),
    Row("atan", FL, _op("atan"), np.arctan),
    Row("sinh", FL, _op("sinh"), np.sinh),
    Row("cosh", FL, _op("cosh"), np.cosh),
    Row("tanh", FL, te.tanh, np.tanh),
    Row("asinh", FL, _op("asinh"), np.arcsinh),
    Row("acosh", FL, _op("acosh"), np.arccosh, 1, 9),
    Row("atanh", FL, _op("atanh"), np.arctanh, -1, 1),
    Row("erf", FL, te.erf, ref.erf, also=("aten.special_erf.default",)),
    Row("erfc", FL, _op("erfc"), ref.erfc, also=("aten.special_erfc.default",)),
    Row("sigmoid", FL, te.sigmoid, ref.sigmoid, -9, 9, ("aten.special_expit.default",)),
    Row("silu", FL, lambda x: x * te.sigmoid(x), lambda x: x * ref.sigmoid(x), -9, 9),
    Row("mish", FL, lambda x: x * te.tanh(unary("log1p", te.exp(x))), ref.mish),
    Row("log_sigmoid", FL, _log_sigmoid, ref.log_sigmoid, -9, 9),
    Row("deg2rad", FL, lambda x: x * (math.pi / 180), np.deg2rad, -180, 180),
    Row("rad2deg", FL, lambda x: x * (180 / math.pi), np.rad2deg),
    Row("isnan", FT, _op("isnan"), np.isnan),
    Row("isinf", FT, _op("isinf"), np.isinf),
    Row("isfinite", FT, lambda x: ~(unary("isnan", x) | unary("isinf", x)), np.isfinite),
    Row("isposinf", FT, _infinite(1), np.isposinf),
    Row("isneginf", FT, _infinite(-1), np.isneginf),
    Row("signbit", Rule.TEST, _signbit, np.signbit),
    Row("logical_not", Rule.LOGICAL, _op("not"), np.logical_not),
    Row("bitwise_not", Rule.BITS, _op("not"), np.invert),
)

# PyTorch gives no reciprocal and the like of these for integers.
_FLOAT_ONLY: Final = frozenset(["frac", "silu", "mish", "log_sigmoid", "relu6"])


def _samples(row: Row) -> tuple[Sample, ...]:
    if row.rule is Rule.BITS:
        return (
            sample(ints(3, 5, low=-9, high=9)),
            sample(ints(17, low=-9, high=9, dtype="i32")),
            sample(ints(7, high=2, dtype="bool")),
        )
    floats = tuple(sample(array(*s, low=row.low, high=row.high)) for s in SHAPES)
    out = (*floats, sample(special(19)), sample(array(5, low=row.low, high=row.high, dtype="f64")))
    if row.name in _FLOAT_ONLY:
        return out
    low, high = max(int(row.low), -3), min(int(row.high), 5)
    return (*out, sample(ints(11, low=low, high=high)))


for _row in ROWS:
    _aten = (f"aten.{_row.name}.default", *_row.also)
    enter(_row.name, _aten, _row.rule, _row.fn, _row.reference, _samples(_row))
