"""Pointwise operators with parameters: activations, clamps, interpolation, choice."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from tc import te
from tc.ir.expr import Expr, select, unary
from tc.ir.tensor import Tensor
from tc.ops import references as ref
from tc.ops.elementwise import Rule, by_rule, entry
from tc.ops.promotion import Number
from tc.ops.samples import SHAPES, array, ints, sample, special


@entry(
    "gelu",
    ref.gelu,
    *(sample(array(*s), "none") for s in SHAPES),
    sample(array(17), "tanh"),
    sample(array(16, low=-20, high=20), "none"),
    sample(special(19), "tanh"),
)
def build_gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x) ("none") or its tanh approximation ("tanh"); Hendrycks and Gimpel, 2016."""
    if approximate == "tanh":
        return by_rule("gelu", Rule.FLOAT, (x,), _gelu_tanh)
    return by_rule("gelu", Rule.FLOAT, (x,), lambda v: v * 0.5 * (1.0 + te.erf(v * math.sqrt(0.5))))


def _gelu_tanh(x: Expr) -> Expr:
    inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
    return x * 0.5 * (1.0 + te.tanh(inner))


@entry(
    "softplus",
    lambda x, beta=1, threshold=20: np.where(
        x * beta > threshold, x, np.log1p(np.exp(np.minimum(x * beta, 80))) / beta
    ),
    sample(array(17, low=-9, high=30), 1, 20),
    sample(array(3, 5), 2.0, 1.5),
)
def build_softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself above the threshold."""

    def fn(v: Expr) -> Expr:
        scaled = v * float(beta)
        return select(scaled > float(threshold), v, unary("log1p", te.exp(scaled)) / float(beta))

    return by_rule("softplus", Rule.FLOAT, (x,), fn)


def _elu(x: Expr, alpha: float, scale: float, input_scale: float) -> Expr:
    negative = unary("expm1", te.minimum(x, 0.0) * input_scale) * (alpha * scale)
    return select(x <= 0.0, negative, x * scale)


def _elu_ref(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    return np.where(x <= 0, np.expm1(x * input_scale) * alpha * scale, x * scale)


@entry("elu", _elu_ref, sample(array(17), 1, 1, 1), sample(array(3, 5), 0.5, 2.0, 1.5))
def build_elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """scale * (x above 0, else alpha (exp(input_scale x) - 1))."""
    a, s, i = float(alpha), float(scale), float(input_scale)
    return by_rule("elu", Rule.FLOAT, (x,), lambda v: _elu(v, a, s, i))


@entry("celu", lambda x, alpha=1: _elu_ref(x, alpha, 1, 1 / alpha), sample(array(17), 1.5))
def build_celu(x: Tensor, alpha: float = 1) -> Tensor:
    """x above 0, else alpha (exp(x / alpha) - 1)."""
    return by_rule("celu", Rule.FLOAT, (x,), lambda v: _elu(v, float(alpha), 1.0, 1 / alpha))


# Klambauer et al., "Self-normalizing neural networks" (2017), equation 2.
_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805


@entry("selu", lambda x: _elu_ref(x, _SELU_ALPHA, _SELU_SCALE), sample(array(17)))
def build_selu(x: Tensor) -> Tensor:
    """ELU with the constants that keep mean and variance."""
    return by_rule("selu", Rule.FLOAT, (x,), lambda v: _elu(v, _SELU_ALPHA, _SELU_SCALE, 1.0))


@entry(
    "leaky_relu",
    lambda x, slope=0.01: np.where(x > 0, x, x * slope),
    sample(array(17), 0.01),
    sample(special(19), 0.2),
)
def build_leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x above 0, else x * negative_slope."""
    slope = float(negative_slope)
    return by_rule("leaky_relu", Rule.FLOAT, (x,), lambda v: select(v > 0.0, v, v * slope))


@entry(
    "prelu",
    lambda x, w: np.where(x > 0, x, x * (w.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else w)),
    sample(array(2, 3, 5), array(3)),
    sample(array(2, 3), array(1)),
    aten=("aten.prelu.default",),
)
def build_prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x above 0, else x times the weight of its channel (dim 1)."""
    slope = weight
    if weight.rank == 1 and x.rank > 2:
        ones = (1,) * (x.rank - 2)
        slope = te.compute((weight.shape[0], *ones), lambda c, *_: weight[c], te.fresh("slope"))
    elif weight.rank == 1 and x.rank == 0:
        slope = te.compute((), lambda: weight[0], te.fresh("slope"))
    return by_rule("prelu", Rule.FLOAT, (x, slope), lambda v, w: select(v > 0.0, v, v * w))


@entry("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, sample(array(17, low=-5, high=5)))
def build_hardsigmoid(x: Tensor) -> Tensor:
    """clamp(x + 3, 0, 6) / 6."""
    return by_rule("hardsigmoid", Rule.FLOAT, (x,), lambda v: _six(v + 3.0) / 6.0)


@entry("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, sample(array(17, low=-5, high=5)))
def build_hardswish(x: Tensor) -> Tensor:
    """x clamp(x + 3, 0, 6) / 6."""
    return by_rule("hardswish", Rule.FLOAT, (x,), lambda v: v * _six(v + 3.0) / 6.0)


def _six(x: Expr) -> Expr:
    return te.minimum(te.maximum(x, 0.0), 6.0)


@entry("hardshrink", lambda x, at=0.5: np.where(np.abs(x) > at, x, 0), sample(array(17), 0.5))
def build_hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return by_rule(
        "hardshrink",
        Rule.FLOAT,
        (x, float(lambd)),
        lambda v, at: select(unary("abs", v) <= at, 0.0, v),
    )


@entry(
    "softshrink",
    lambda x, at=0.5: np.sign(x) * np.maximum(np.abs(x) - at, 0),
    sample(array(17), 0.5),
)
def build_softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd."""
    at = float(lambd)
    return by_rule(
        "softshrink",
        Rule.FLOAT,
        (x,),
        lambda v: select(unary("abs", v) <= at, 0.0, select(v > 0.0, v - at, v + at)),
    )


@entry(
    "threshold",
    lambda x, t, v: np.where(x <= np.array(t).astype(x.dtype), np.array(v).astype(x.dtype), x),
    sample(array(17), 0.5, -2.0),
    sample(ints(17, low=-9, high=9), 0.5, -2.5),
)
def build_threshold(x: Tensor, threshold: Number, value: Number) -> Tensor:
    """`value` where x <= threshold, else x; both numbers are of x's type."""
    if not x.dtype.is_float and not isinstance(threshold, Expr) and not isinstance(value, Expr):
        threshold, value = int(threshold), int(value)
    return by_rule(
        "threshold",
        Rule.SAME,
        (x, threshold, value),
        lambda v, t, other: select(v <= t, other, v),
        exact=True,
    )


@entry(
    "glu",
    lambda x, dim=-1: np.split(x, 2, dim)[0] * ref.sigmoid(np.split(x, 2, dim)[1]),
    sample(array(3, 8), -1),
    sample(array(4, 5), 0),
)
def build_glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second; Dauphin et al., 2017."""
    at = dim % x.rank
    half = x.shape[at] // 2
    shape = tuple(half if n == at else s for n, s in enumerate(x.shape))

    def element(*index: Expr) -> Expr:
        gate = x[tuple(i + half if n == at else i for n, i in enumerate(index))]
        return x[index] * te.sigmoid(gate)

    return te.compute(shape, element, te.fresh("glu"))


def _logit_ref(x: Any, eps: float | None = None) -> Any:
    v = x if eps is None else np.clip(x, eps, 1 - eps)
    return np.log(v / (1 - v))


@entry("logit", _logit_ref, sample(array(17, low=0, high=1), None), sample(array(17), 1e-3))
def build_logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), x first held in [eps, 1 - eps]."""

    def fn(v: Expr) -> Expr:
        if eps is not None:
            v = te.minimum(te.maximum(v, float(eps)), 1.0 - float(eps))
        return te.log(v / (1.0 - v))

    return by_rule("logit", Rule.FLOAT, (x,), fn)
