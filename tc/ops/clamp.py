"""Pointwise operators that hold values within limits."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from tc.ir.expr import Expr, equal, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import BF16, F16, F32, F64
from tc.ops import arith
from tc.ops.elementwise import Rule, by_rule, entry
from tc.ops.promotion import Operand
from tc.ops.samples import array, ints, sample, special


def _clamp_ref(x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@entry(
    "clamp",
    _clamp_ref,
    sample(array(3, 5), -1, 1),
    sample(array(17), None, 0.5),
    sample(array(17), 0.5, None),
    sample(ints(17, low=-9, high=9), -3, 4),
    sample(ints(17, low=-9, high=9), -1.5, 2.5),
    sample(array(3, 5), array(5), array(3, 1)),
    sample(special(19), -1, 1),
    aten=("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default", "aten.clip.Tensor"),
)
def build_clamp(x: Tensor, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    """min(max(x, low), high); NaN stays NaN."""

    def fn(v: Expr, *limits: Expr) -> Expr:
        rest = list(limits)
        if low is not None:
            v = arith.greatest(v, rest.pop(0))
        return v if high is None else arith.least(v, rest.pop(0))

    given = tuple(b for b in (low, high) if b is not None)
    return by_rule("clamp", Rule.SAME, (x, *given), fn)


@entry(
    "clamp_min",
    np.maximum,
    sample(array(17), 0.5),
    sample(array(3, 5), array(5)),
    aten=("aten.clamp_min.default", "aten.clamp_min.Tensor"),
)
def build_clamp_min(x: Tensor, low: Operand) -> Tensor:
    """max(x, low)."""
    return build_clamp(x, low, None)


@entry(
    "clamp_max",
    np.minimum,
    sample(array(17), 0.5),
    sample(array(3, 5), array(5)),
    aten=("aten.clamp_max.default", "aten.clamp_max.Tensor"),
)
def build_clamp_max(x: Tensor, high: Operand) -> Tensor:
    """min(x, high)."""
    return build_clamp(x, None, high)


_GREATEST: Final = {F16: 65504.0, BF16: 3.3895313892515355e38, F32: 3.4028234663852886e38,
                    F64: 1.7976931348623157e308}  # fmt: skip


@entry(
    "nan_to_num",
    lambda x, nan=None, posinf=None, neginf=None: np.nan_to_num(
        x.astype(np.float32), nan=nan or 0.0, posinf=posinf, neginf=neginf
    ),
    sample(special(19), None, None, None),
    sample(special(19), 1.0, 2.0, -3.0),
)
def build_nan_to_num(
    x: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """NaN and the infinities replaced, by 0 and the greatest finite numbers if not given."""
    if not x.dtype.is_float:
        return by_rule("nan_to_num", Rule.SAME, (x,), lambda v: v)
    top = _GREATEST[x.dtype]
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf

    def fn(v: Expr) -> Expr:
        finite = select(equal(v, math.inf), float(high), select(equal(v, -math.inf), float(low), v))
        return select(unary("isnan", v), float(nan or 0.0), finite)

    return by_rule("nan_to_num", Rule.SAME, (x,), fn)


@entry(
    "hardtanh",
    lambda x, low=-1, high=1: np.clip(x, *np.array((low, high)).astype(x.dtype)),
    sample(array(17), -1, 1),
    sample(special(19), -0.5, 2.0),
    sample(ints(17, low=-9, high=9), -1.5, 2.5),
)
def build_hardtanh(x: Tensor, min_val: float = -1, max_val: float = 1) -> Tensor:
    """x held between two numbers, which are of its type."""
    if not x.dtype.is_float:
        min_val, max_val = int(min_val), int(max_val)
    return build_clamp(x, min_val, max_val)
