"""Losses of classification: cross entropy and negative log-likelihood."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, binary, cast, select
from tc.ir.tensor import Tensor
from tc.ir.types import I64
from tc.ops import references as ref
from tc.ops.dims import size_as
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise, summed
from tc.ops.samples import array, ints, sample
from tc.ops.softmax import log_softmax

NONE, MEAN, SUM = 0, 1, 2
_IGNORED: Final = -100


def nll_terms(
    logs: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore: int | Expr,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """-log p of each target times its weight, and the weight; both 0 where it is ignored.

    Args:
        logs: log-probabilities (N, C, …) or (C).
        target: class numbers (N, …) or none.
        ignore: the class number that counts for nothing; a size of the inputs may be it.
        smoothing: the share of the loss that all classes bear alike.
    """
    inner = compute_type(logs.dtype)
    zero = Const(0, inner)
    ignored = ignore if isinstance(ignore, Expr) else Const(ignore)
    axis = 0 if logs.rank == 1 else 1
    classes = logs.shape[axis]

    def kept(index: tuple[Expr, ...]) -> tuple[Expr, Expr]:
        label = cast(target[index], I64)
        return label, binary("ne", label, ignored)

    def log_of(index: tuple[Expr, ...], label: Expr) -> Expr:
        return cast(logs[(*index[:axis], label, *index[axis:])], inner)

    def share(*index: Expr) -> Expr:
        label, keep = kept(index)
        value = Const(1, inner) if weight is None else cast(weight[label], inner)
        return select(keep, value, zero)

    def term(*index: Expr) -> Expr:
        label, keep = kept(index)
        value = log_of(index, label)
        if weight is not None:
            value = value * cast(weight[label], inner)
        return select(keep, -value, zero)

    shares = te.compute(target.shape, share, te.fresh("nll_weight"))
    terms = te.compute(target.shape, term, te.fresh("nll"))
    if not smoothing:
        return terms, shares

    def smooth(*index: Expr) -> Expr:
        c = te.reduce_axis(classes, "c")
        value = log_of(index, c)
        if weight is not None:
            value = value * cast(weight[c], inner)
        even = te.sum(value, c) * smoothing / size_as(classes, inner)
        keep = kept(index)[1]
        return terms[index] * (1.0 - smoothing) - select(keep, even, zero)

    return te.compute(target.shape, smooth, te.fresh("nll_smooth")), shares


def _reduced(terms: Tensor, shares: Tensor, reduction: int, like: Tensor) -> Tensor:
    if reduction == NONE:
        return te.compute(terms.shape, lambda *i: cast(terms[i], like.dtype), te.fresh("loss"))
    total = summed(terms)
    if reduction == SUM:
        return te.compute((), lambda: cast(total[()], like.dtype), te.fresh("loss"))
    count = summed(shares)
    return te.compute((), lambda: cast(total[()] / count[()], like.dtype), te.fresh("loss"))


def _nll_ref(
    logs: Any, target: Any, weight: Any = None, reduction: int = MEAN, ignore: int = _IGNORED,
    smoothing: float = 0.0,
) -> Any:  # fmt: skip
    axis = 0 if logs.ndim == 1 else 1
    classes = logs.shape[axis]
    w = np.ones(classes) if weight is None else weight
    keep = target != ignore
    safe = np.where(keep, target, 0)
    picked = np.squeeze(np.take_along_axis(logs, np.expand_dims(safe, axis), axis), axis)
    shares = np.where(keep, w[safe], 0)
    terms = -picked * shares
    if smoothing:
        shape = [1] * logs.ndim
        shape[axis] = classes
        even = -(logs * w.reshape(shape)).sum(axis) / classes
        terms = (1 - smoothing) * terms + smoothing * np.where(keep, even, 0)
    if reduction == NONE:
        return terms
    return terms.sum() if reduction == SUM else terms.sum() / shares.sum()


def _cross_ref(x: Any, target: Any, weight: Any, reduction: int, ignore: int, s: float) -> Any:
    logs = ref.log_softmax(x, 0 if x.ndim == 1 else 1)
    return _nll_ref(logs, target, weight, reduction, ignore, s)


@rowwise(
    "cross_entropy_loss",
    _cross_ref,
    sample(array(4, 7), ints(4, high=7), None, MEAN, _IGNORED, 0.0),
    sample(array(6, 5), ints(6, high=5), array(5, low=0.1), MEAN, 2, 0.0),
    sample(array(4, 7), ints(4, high=7), None, NONE, _IGNORED, 0.1),
    sample(array(2, 5, 3), ints(2, 3, high=5), None, SUM, 1, 0.0),
    sample(array(2, 5, 3), ints(2, 3, high=5), array(5, low=0.1), MEAN, 1, 0.2),
    sample(array(7), ints(high=7), None, MEAN, _IGNORED, 0.0),
)
def build_cross_entropy_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = MEAN,
    ignore_index: int | Expr = _IGNORED,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x)[target], by class numbers or by class probabilities."""
    logs = log_softmax(x, 0 if x.rank == 1 else 1)
    if target.dtype.is_float:
        return _soft(logs, target, weight, reduction, label_smoothing)
    if target.rank != max(x.rank - 1, 0):
        raise CompileError(f"cross_entropy: {target.rank} dims of targets for {x.rank} of input")
    terms, shares = nll_terms(logs, target, weight, ignore_index, label_smoothing)
    return _reduced(terms, shares, reduction, x)


def _soft(
    logs: Tensor, target: Tensor, weight: Tensor | None, reduction: int, smoothing: float
) -> Tensor:
    """The loss for targets that are probabilities of classes."""
    axis = 0 if logs.rank == 1 else 1
    inner = compute_type(logs.dtype)
    classes = logs.shape[axis]

    def term(*index: Expr) -> Expr:
        c = te.reduce_axis(classes, "c")
        at = (*index[:axis], c, *index[axis:])
        wanted = cast(target[at], inner)
        if smoothing:
            wanted = wanted * (1.0 - smoothing) + Const(smoothing, inner) / size_as(classes, inner)
        value = cast(logs[at], inner) * wanted
        if weight is not None:
            value = value * cast(weight[c], inner)
        return -te.sum(value, c)

    shape = (*logs.shape[:axis], *logs.shape[axis + 1 :])
    terms = te.compute(shape, term, te.fresh("cross_entropy"))
    ones = te.compute(shape, lambda *_: Const(1, inner), te.fresh("count"))
    if reduction == MEAN and logs.rank > 1:
        # The mean is over the batch and the other dims, whatever the weights.
        return _reduced(terms, ones, MEAN, logs)
    return _reduced(terms, ones, reduction, logs)


_LOGS = array(4, 7, low=-5, high=0)
_NLL = (
    sample(_LOGS, ints(4, high=7), None, MEAN, _IGNORED),
    sample(_LOGS, ints(4, high=7), array(7, low=0.1), MEAN, 3),
    sample(_LOGS, ints(4, high=7), array(7, low=0.1), NONE, 3),
    sample(array(7, low=-5, high=0), ints(high=7), None, SUM, _IGNORED),
)


@rowwise(
    "nll_loss",
    _nll_ref,
    *_NLL,
    sample(array(2, 5, 3), ints(2, 3, high=5), None, SUM, 1),
    aten=("aten.nll_loss_nd.default", "aten.nll_loss.default", "aten.nll_loss2d.default"),
)
def build_nll_loss(
    logs: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = MEAN,
    ignore_index: int | Expr = _IGNORED,
) -> Tensor:
    """-logs[target]."""
    terms, shares = nll_terms(logs, target, weight, ignore_index)
    return _reduced(terms, shares, reduction, logs)


def _total_weight(logs: Any, target: Any, weight: Any, ignore: int) -> Any:
    w = np.ones(logs.shape[-1]) if weight is None else weight
    return np.where(target != ignore, w[np.where(target == ignore, 0, target)], 0).sum()


@rowwise(
    "nll_loss_forward",
    lambda x, t, w, r, i: (_nll_ref(x, t, w, r, i), _total_weight(x, t, w, i)),
    *_NLL[:2],
)
def build_nll_loss_forward(
    logs: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """-logs[target], and the sum of the weights."""
    terms, shares = nll_terms(logs, target, weight, ignore_index)
    return _reduced(terms, shares, reduction, logs), summed(shares, dtype=logs.dtype)
