"""Losses that compare element with element: squares, absolute values, entropies, divergences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Expr, cast, select, unary
from tc.ir.tensor import Tensor
from tc.ops.arith import xlogy
from tc.ops.dims import product, size_as
from tc.ops.elementwise import Fn, Rule, by_rule
from tc.ops.loss import MEAN, NONE, SUM
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise, summed
from tc.ops.samples import array, sample, special
from tc.ops.table import Sample

_LEAST_LOG = -100.0  # what binary_cross_entropy takes for the logarithm of zero


def _reduced(terms: Tensor, reduction: int) -> Tensor:
    """The terms, or their mean or sum, summed in the type that sums of their type are kept in."""
    if reduction == NONE:
        return terms
    total = summed(terms, dtype=compute_type(terms.dtype))
    count = size_as(product(terms.shape), total.dtype)

    def element() -> Expr:
        value = total[()] if reduction == SUM else total[()] / count
        return cast(value, terms.dtype)

    return te.compute((), element, te.fresh("loss"))


def _terms(name: str, operands: Sequence[Tensor], fn: Fn) -> Tensor:
    if not all(t.dtype.is_float for t in operands):
        raise UnsupportedError(f"{name}: of integers; give float tensors")
    return by_rule(name, Rule.SAME, operands, fn)


def _reference(terms: Any, reduction: int) -> Any:
    if reduction == NONE:
        return terms
    with np.errstate(invalid="ignore", divide="ignore"):
        return terms.sum() if reduction == SUM else terms.sum() / np.float64(terms.size)


def _samples(*more: Any, low: float = -3.0, high: float = 3.0) -> tuple[Sample, ...]:
    a, b = array(3, 5, low=low, high=high), array(3, 5, low=low, high=high)
    return (
        *(sample(a, b, reduction, *more) for reduction in (NONE, MEAN, SUM)),
        sample(array(17, low=low, high=high), array(17, low=low, high=high), MEAN, *more),
        sample(array(low=low, high=high), array(low=low, high=high), MEAN, *more),
    )


def _row(
    name: str, terms: Callable[..., Any], *samples: Sample
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """A row whose third argument is the reduction; `terms` gives its reference before that."""

    def reference(x: Any, y: Any, reduction: int = MEAN, *more: Any) -> Any:
        return _reference(terms(x, y, *more), reduction)

    return rowwise(name, reference, *samples)


@_row("mse_loss", lambda x, y: (x - y) ** 2, *_samples(), sample(special(19), special(19), NONE),
      sample(array(4, 1), array(5), SUM), sample(array(0, 3), array(0, 3), MEAN))  # fmt: skip
def build_mse_loss(x: Tensor, y: Tensor, reduction: int = MEAN) -> Tensor:
    """(x - y)²."""

    def fn(a: Expr, b: Expr) -> Expr:
        return (a - b) * (a - b)

    return _reduced(_terms("mse_loss", (x, y), fn), reduction)


@_row("l1_loss", lambda x, y: abs(x - y), *_samples(), sample(special(19), special(19), NONE))
def build_l1_loss(x: Tensor, y: Tensor, reduction: int = MEAN) -> Tensor:
    """|x - y|."""
    return _reduced(_terms("l1_loss", (x, y), _distance), reduction)


def _distance(a: Expr, b: Expr) -> Expr:
    return unary("abs", a - b)


def _smooth_ref(x: Any, y: Any, beta: float = 1.0) -> Any:
    d = abs(x - y)
    return np.where(d < beta, 0.5 * d * d / (beta or 1.0), d - 0.5 * beta)


@_row("smooth_l1_loss", _smooth_ref, *_samples(1.0), sample(array(17), array(17), SUM, 0.25),
      sample(array(17), array(17), NONE, 0.0))  # fmt: skip
def build_smooth_l1_loss(x: Tensor, y: Tensor, reduction: int = MEAN, beta: float = 1.0) -> Tensor:
    """(x - y)² / 2 beta where they are nearer than beta, else |x - y| - beta / 2."""

    def fn(a: Expr, b: Expr) -> Expr:
        d = _distance(a, b)
        if not beta:
            return d
        return select(d < float(beta), d * d * 0.5 / float(beta), d - 0.5 * beta)

    return _reduced(_terms("smooth_l1_loss", (x, y), fn), reduction)


def _huber_ref(x: Any, y: Any, delta: float = 1.0) -> Any:
    d = abs(x - y)
    return np.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@_row("huber_loss", _huber_ref, *_samples(1.0), sample(array(17), array(17), SUM, 0.25))
def build_huber_loss(x: Tensor, y: Tensor, reduction: int = MEAN, delta: float = 1.0) -> Tensor:
    """(x - y)² / 2 where they are nearer than delta, else delta (|x - y| - delta / 2)."""

    def fn(a: Expr, b: Expr) -> Expr:
        d = _distance(a, b)
        return select(d < float(delta), d * d * 0.5, (d - 0.5 * delta) * float(delta))

    return _reduced(_terms("huber_loss", (x, y), fn), reduction)


def _logits_ref(x: Any, y: Any, weight: Any = None, positive: Any = None, mode: int = MEAN) -> Any:
    share = 1.0 if positive is None else (positive - 1) * y + 1
    terms = (1 - y) * x + share * (np.log1p(np.exp(-abs(x))) + np.maximum(-x, 0))
    return _reference(terms if weight is None else terms * weight, mode)


_LABELS = array(3, 5, low=0, high=1)


@rowwise(
    "binary_cross_entropy_with_logits",
    _logits_ref,
    sample(array(3, 5), _LABELS, None, None, MEAN),
    sample(array(3, 5), _LABELS, array(5, low=0.1), None, SUM),
    sample(array(3, 5, low=-90, high=90), _LABELS, None, array(5, low=0.1), NONE),
    sample(array(3, 5), _LABELS, array(3, 1), array(5, low=0.1), MEAN),
)
def build_binary_cross_entropy_with_logits(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = MEAN,
) -> Tensor:
    """-(pos_weight y log σ(x) + (1 - y) log(1 - σ(x))), by log1p(exp(-|x|))."""

    def fn(a: Expr, b: Expr, *more: Expr) -> Expr:
        given = list(more)
        below = unary("log1p", te.exp(-unary("abs", a))) + te.maximum(-a, 0.0)
        factor = given.pop(0) if weight is not None else None
        share = (given.pop(0) - 1.0) * b + 1.0 if pos_weight is not None else None
        term = (1.0 - b) * a + (below if share is None else share * below)
        return term if factor is None else term * factor

    operands = [t for t in (x, y, weight, pos_weight) if t is not None]
    name = "binary_cross_entropy_with_logits"
    return _reduced(_terms(name, operands, fn), reduction)


def _entropy_ref(x: Any, y: Any, weight: Any = None, mode: int = MEAN) -> Any:
    with np.errstate(divide="ignore"):
        off, on = (np.maximum(f, _LEAST_LOG) for f in (np.log1p(-x), np.log(x)))
    terms = (y - 1) * off - y * on
    return _reference(terms if weight is None else terms * weight, mode)


@rowwise(
    "binary_cross_entropy",
    _entropy_ref,
    sample(array(3, 5, low=0.01, high=0.99), _LABELS, None, MEAN),
    sample(array(3, 5, low=0.01, high=0.99), _LABELS, array(3, 5, low=0.1), SUM),
    sample(array(3, 5, low=0, high=0), _LABELS, None, NONE),
)
def build_binary_cross_entropy(
    x: Tensor, y: Tensor, weight: Tensor | None = None, reduction: int = MEAN
) -> Tensor:
    """-(y log x + (1 - y) log(1 - x)), no logarithm below -100."""

    def fn(a: Expr, b: Expr, *factor: Expr) -> Expr:
        off = te.maximum(unary("log1p", -a), _LEAST_LOG)
        on = te.maximum(te.log(a), _LEAST_LOG)
        term = (b - 1.0) * off - b * on
        return term * factor[0] if factor else term

    operands = [t for t in (x, y, weight) if t is not None]
    return _reduced(_terms("binary_cross_entropy", operands, fn), reduction)


def _kl_ref(x: Any, y: Any, log_target: bool = False) -> Any:
    if log_target:
        return np.exp(y) * (y - x)
    return np.where(y == 0, 0.0, y * np.log(np.where(y == 0, 1.0, y))) - y * x


@_row("kl_div", _kl_ref, *_samples(False, low=0.0), *_samples(True),
      sample(array(5), array(5, low=0, high=0), NONE, False))  # fmt: skip
def build_kl_div(x: Tensor, y: Tensor, reduction: int = MEAN, log_target: bool = False) -> Tensor:
    """y (log y - x), where `log_target` says that the target is log y."""

    def fn(a: Expr, b: Expr) -> Expr:
        if log_target:
            return te.exp(b) * (b - a)
        return xlogy(b, b) - b * a

    return _reduced(_terms("kl_div", (x, y), fn), reduction)
