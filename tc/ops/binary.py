"""Pointwise operators of two operands, either of which may be a number."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tc.errors import UnsupportedError
from tc.frozen import frozen
from tc.ir.expr import Const, Expr, binary, cast, equal, unary
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL
from tc.ops import arith
from tc.ops import references as ref
from tc.ops.elementwise import Fn, Reference, Rule, by_rule, enter
from tc.ops.promotion import Operand, compute_type, result_type
from tc.ops.samples import array, ints, sample, special
from tc.ops.table import Kind, Sample, operator


@frozen
class Row:
    """One operator; its overloads are those of `aten.<name>`."""

    name: str
    rule: Rule
    fn: Fn
    reference: Reference
    overloads: tuple[str, ...] = ("Tensor", "Scalar")
    also: tuple[str, ...] = ()
    low: float = -3.0  # of the second operand
    samples: tuple[Sample, ...] = ()
    exact: bool = False


def _b(op: str) -> Fn:
    return lambda a, b: binary(op, a, b)


S, T, L, B = Rule.SAME, Rule.TEST, Rule.LOGICAL, Rule.BITS
_ONE = ("default",)
_BITS = ("Tensor", "Scalar", "Scalar_Tensor")
ROWS: Final = (
    Row("mul", S, arith.multiply, np.multiply,
        also=("aten.multiply.Tensor", "aten.multiply.Scalar"), exact=True),
    Row("true_divide", Rule.FLOAT, lambda a, b: a / b, np.true_divide, (),
        ("aten.div.Tensor", "aten.div.Scalar", "aten.divide.Tensor", "aten.divide.Scalar",
         "aten.true_divide.Tensor", "aten.true_divide.Scalar"), exact=True),
    Row("floor_divide", S, arith.floor_divide, np.floor_divide, ("default", "Scalar"), low=1,
        exact=True),
    Row("remainder", S, arith.remainder, np.mod, _BITS, low=1),
    Row("fmod", S, arith.fmod, np.fmod, low=1),
    Row("maximum", S, arith.greatest, np.maximum, _ONE, ("aten.max.other",)),
    Row("minimum", S, arith.least, np.minimum, _ONE, ("aten.min.other",)),
    Row("fmax", S, arith.or_other(arith.greatest), np.fmax, _ONE),
    Row("fmin", S, arith.or_other(arith.least), np.fmin, _ONE),
    Row("atan2", Rule.FLOAT, _b("atan2"), np.arctan2, _ONE, ("aten.arctan2.default",)),
    Row("eq", T, equal, np.equal),
    Row("ne", T, _b("ne"), np.not_equal, also=("aten.not_equal.Tensor", "aten.not_equal.Scalar")),
    Row("lt", T, arith.less, np.less, also=("aten.less.Tensor", "aten.less.Scalar")),
    Row("le", T, arith.less_equal, np.less_equal,
        also=("aten.less_equal.Tensor", "aten.less_equal.Scalar")),
    Row("gt", T, lambda a, b: arith.less(b, a), np.greater,
        also=("aten.greater.Tensor", "aten.greater.Scalar")),
    Row("ge", T, lambda a, b: arith.less_equal(b, a), np.greater_equal,
        also=("aten.greater_equal.Tensor", "aten.greater_equal.Scalar")),
    Row("logical_and", L, _b("and"), ref.logical(np.logical_and), _ONE),
    Row("logical_or", L, _b("or"), ref.logical(np.logical_or), _ONE),
    Row("logical_xor", L, _b("xor"), ref.logical(np.logical_xor), _ONE),
    Row("bitwise_and", B, _b("and"), np.bitwise_and, _BITS,
        ("aten.__and__.Tensor", "aten.__and__.Scalar")),
    Row("bitwise_or", B, _b("or"), np.bitwise_or, _BITS,
        ("aten.__or__.Tensor", "aten.__or__.Scalar")),
    Row("bitwise_xor", B, _b("xor"), np.bitwise_xor, _BITS,
        ("aten.__xor__.Tensor", "aten.__xor__.Scalar")),
    Row("bitwise_left_shift", B, arith.shift_left, np.left_shift, ("Tensor", "Tensor_Scalar"),
        ("aten.__lshift__.Tensor", "aten.__lshift__.Scalar"), low=0),
    Row("bitwise_right_shift", B, arith.shift_right, np.right_shift, ("Tensor", "Tensor_Scalar"),
        ("aten.__rshift__.Tensor", "aten.__rshift__.Scalar"), low=0),
    Row("copysign", Rule.FLOAT, arith.with_sign, np.copysign),
    Row("hypot", Rule.FLOAT, arith.hypot, np.hypot, _ONE,
        samples=(sample(array(3, 5), array(5)), sample(special(19), special(19)))),
    Row("logaddexp", Rule.FLOAT, arith.logaddexp, np.logaddexp, _ONE,
        samples=(sample(array(3, 5), array(5)), sample(special(19), special(19)))),
    Row("xlogy", Rule.FLOAT, arith.xlogy, lambda a, b: np.where(a == 0, 0.0, a * np.log(b)),
        ("Tensor", "Scalar_Other", "Scalar_Self"), ("aten.special_xlogy.default",), low=0.1),
)  # fmt: skip


def _samples(row: Row) -> tuple[Sample, ...]:
    if row.samples:
        return row.samples
    low, whole = row.low, int(row.low)
    both = sample(ints(3, 5, low=-9, high=9), ints(5, low=whole, high=4))
    if row.rule is Rule.BITS:
        if "shift" in row.name:
            return (both, sample(ints(17, low=-9, high=9), 3))
        masks = sample(ints(4, 1, high=2, dtype="bool"), ints(3, high=2, dtype="bool"))
        return (both, masks, sample(ints(17, low=-9, high=9, dtype="i32"), 3))
    floats: tuple[Sample, ...] = (
        sample(array(3, 5), array(3, 5, low=low)),
        sample(array(2, 1, 7), array(4, 1, low=low)),
        sample(array(0, 3), array(1, low=low)),
        sample(array(17), array(low=low), note="a scalar tensor"),
        sample(array(4, dtype="f64"), array(4, low=low)),
    )
    if row.overloads != _ONE and row.name != "xlogy":
        floats += (sample(array(16), 2.5), sample(ints(7, low=-9, high=9), 2))
    if row.name in ("remainder", "fmod", "floor_divide"):
        return (*floats, both)
    if row.rule in (Rule.LOGICAL, Rule.TEST, Rule.SAME) and row.name != "mul":
        floats += (sample(ints(6, high=2, dtype="bool"), ints(6, high=2, dtype="bool")),)
    return (*floats, both, sample(special(19), array(19)), sample(special(19), special(19)))


for _row in ROWS:
    _aten = tuple(f"aten.{_row.name}.{o}" for o in _row.overloads) + _row.also
    enter(_row.name, _aten, _row.rule, _row.fn, _row.reference, _samples(_row), _row.exact)


_SCALED = (
    sample(array(3, 5), array(5), 1),
    sample(array(2, 1, 7), array(4, 1), -0.5),
    sample(array(17), 2, 3),
    sample(ints(3, 5), ints(3, 1), 2),
    sample(ints(3, 5), 1.5, 1),
    sample(array(4), ints(4), 1),
    sample(array(0, 3), array(3), 1),
    sample(special(19), special(19), 1),
)


def _scaled(x: Expr, alpha: float) -> Expr:
    if alpha == 1:
        return x
    return x if x.dtype is BOOL else x * Const(alpha, x.dtype)


def _add_ref(a: Any, b: Any, alpha: float = 1) -> Any:
    total = a + alpha * np.asarray(b)
    return total != 0 if np.asarray(a).dtype == np.bool_ == np.asarray(b).dtype else total


@operator(
    "add",
    aten=("aten.add.Tensor", "aten.add.Scalar"),
    kind=Kind.POINTWISE,
    reference=_add_ref,
    samples=(*_SCALED, sample(ints(6, high=2, dtype="bool"), ints(6, high=2, dtype="bool"), 1)),
)
def build_add(a: Operand, b: Operand, alpha: float = 1) -> Tensor:
    """a + alpha * b."""
    return by_rule("add", Rule.SAME, (a, b), lambda x, y: arith.add(x, _scaled(y, alpha)))


@operator(
    "sub",
    aten=("aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor", "aten.subtract.Scalar"),
    kind=Kind.POINTWISE,
    reference=lambda a, b, alpha=1: a - alpha * np.asarray(b),
    samples=_SCALED,
)
def build_sub(a: Operand, b: Operand, alpha: float = 1) -> Tensor:
    """a - alpha * b."""
    return by_rule("sub", Rule.SAME, (a, b), lambda x, y: x - _scaled(y, alpha))


@operator(
    "rsub",
    aten=("aten.rsub.Tensor", "aten.rsub.Scalar"),
    kind=Kind.POINTWISE,
    reference=lambda a, b, alpha=1: np.asarray(b) - alpha * a,
    samples=_SCALED,
)
def build_rsub(a: Operand, b: Operand, alpha: float = 1) -> Tensor:
    """b - alpha * a."""
    return by_rule("rsub", Rule.SAME, (a, b), lambda x, y: y - _scaled(x, alpha))


def _div_mode(a: Any, b: Any, mode: str | None) -> Any:
    if mode is None:
        return np.true_divide(a, b)
    return np.floor_divide(a, b) if mode == "floor" else ref.trunc_div(a, b)


@operator(
    "div_mode",
    aten=(
        "aten.div.Tensor_mode",
        "aten.div.Scalar_mode",
        "aten.divide.Tensor_mode",
        "aten.divide.Scalar_mode",
    ),
    kind=Kind.POINTWISE,
    reference=_div_mode,
    samples=tuple(
        sample(a, b, mode)
        for mode in (None, "floor", "trunc")
        for a, b in (
            (array(3, 5), array(5, low=0.5)),
            (ints(17, low=-9, high=9), ints(17, low=-4, high=0)),
            (ints(16, low=-9, high=9), 4),
        )
    ),
)
def build_div_mode(a: Operand, b: Operand, rounding_mode: str | None = None) -> Tensor:
    """a / b, rounded towards minus infinity ("floor") or zero ("trunc") if asked to."""
    match rounding_mode:
        case None:
            return by_rule("div", Rule.FLOAT, (a, b), lambda x, y: x / y, exact=True)
        case "floor":
            return by_rule("div", Rule.SAME, (a, b), arith.floor_divide, exact=True)
        case "trunc":
            return _truncated(a, b)
    raise UnsupportedError(f"div: rounding_mode {rounding_mode!r}; known are 'floor' and 'trunc'")


def _truncated(a: Operand, b: Operand) -> Tensor:
    """a / b rounded towards zero.

    The quotient of two half-precision tensors is rounded to their type first, as in ATen; that by
    a number is not.
    """
    kind = result_type((a, b))
    if not kind.is_float:
        return by_rule("div", Rule.SAME, (a, b), arith.trunc_divide)
    if not isinstance(b, Tensor) or b.rank == 0:
        kind = compute_type(kind)

    def fn(x: Expr, y: Expr) -> Expr:
        return unary("trunc", cast(cast(x / y, kind), x.dtype))

    return by_rule("div", Rule.SAME, (a, b), fn, exact=True)


@operator(
    "pow",
    aten=("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar"),
    kind=Kind.POINTWISE,
    reference=lambda a, b: np.power(a, np.asarray(b)),
    samples=(
        *(sample(array(3, 5, low=0.1), p) for p in (0, 1, 2, 3, 4, 7, 0.5, -0.5, -1, -2, 1.5, 3.0)),
        sample(array(17), 3),
        sample(ints(17, low=-3, high=4), 5),
        sample(ints(5, high=4), 1.5),
        sample(array(3, 5, low=0.1), array(5)),
        sample(2.0, array(16)),
        sample(special(19), 2),
    ),
)
def build_pow(a: Operand, b: Operand) -> Tensor:
    """a ** b."""
    if isinstance(b, Tensor | Expr):
        kind = result_type((a, b))
        if not isinstance(a, Tensor) and a == 2 and kind.is_float:
            return by_rule("pow", Rule.FLOAT, (b,), lambda y: unary("exp2", y))
        if not kind.is_float:
            raise UnsupportedError(f"pow: of {kind} with an exponent that is data; cast to float")
        return by_rule("pow", Rule.SAME, (a, b), lambda x, y: binary("pow", x, y))
    kind = result_type((a, b))
    if not kind.is_float and not 0 <= b <= 64:
        raise UnsupportedError(f"pow: of {kind} with exponent {b}; cast to float")
    return by_rule("pow", Rule.SAME, (a, b), lambda x, y: arith.power(x, float(b), y))


@operator(
    "square",
    aten=("aten.square.default",),
    kind=Kind.POINTWISE,
    reference=lambda x: x * (x.astype(np.int64) if x.dtype == np.bool_ else x),
    samples=(
        sample(array(3, 5)),
        sample(special(19)),
        sample(array(4, dtype="bf16")),
        sample(ints(17, low=-9, high=9)),
        sample(ints(5, high=2, dtype="bool")),
    ),
)
def build_square(x: Tensor) -> Tensor:
    """x²."""
    return build_pow(x, 2)
