"""Scaled dot-product attention as tensor expressions in one fixed structure.

    score[…, h, i, j] = Σ_d q[…, h, i, d] k[…, g, j, d]
    logit = score * scale + bias, or -inf where a mask is false
    (top, total, sum) = the online softmax over j of (logit, 1, v[…, g, j, e])
    out[…, h, i, e] = sum / total, 0 where no key is allowed

with g = h // (query heads / key heads) for grouped queries. How it is tiled, and which keys are
not looked at since their mask is false throughout, is the schedule's affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, cast, equal, select
from tc.ir.monoid import online_softmax_of
from tc.ir.tensor import Shape, Tensor
from tc.ir.types import BOOL, DType
from tc.ops.casts import inference_only
from tc.ops.contraction import check_sizes, sum_over
from tc.ops.dims import broadcast, fixed, known, size_as, sqrt_of, stretched
from tc.ops.promotion import compute_type
from tc.ops.references import softmax as softmax_reference
from tc.ops.samples import array, bools, sample
from tc.ops.table import Kind, operator


def _reference(
    q: Any, k: Any, v: Any, mask: Any = None, _p: float = 0, causal: bool = False,
    scale: float | None = None, gqa: bool = False,
) -> Any:  # fmt: skip
    if gqa:
        k, v = (np.repeat(t, q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    s = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1] or 1) if scale is None else scale)
    if causal:
        s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    top = s.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isinf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    return (p @ v) / np.where(total == 0, 1, total)


def _group(q: Tensor, k: Tensor, v: Tensor, enabled: bool) -> tuple[int, int]:
    """How many query heads share a head of k, and of v."""
    if not enabled or q.rank < 3:
        return 1, 1
    heads = [fixed(t.shape[-3], "attention: the number of heads") for t in (q, k, v)]
    if heads[0] % heads[1] or heads[0] % heads[2]:
        raise CompileError(f"attention: {heads[0]} query heads over {heads[1]} key heads; divide")
    return heads[0] // heads[1], heads[0] // heads[2]


def _head(t: Tensor, batch: Shape, index: tuple[Expr, ...], group: int) -> tuple[Expr, ...]:
    """The leading indices of k or v for those of a query."""
    at = []
    skip = len(batch) - (t.rank - 2)
    for n, size in enumerate(t.shape[:-2]):
        place = index[skip + n]
        if n == t.rank - 3 and group > 1:
            place = place // group
        elif known(size) == 1 and known(batch[skip + n]) != 1:
            place = Const(0)
        at.append(place)
    return tuple(at)


_Q, _KV = array(2, 3, 5, 8), array(2, 3, 7, 8)


@operator(
    "attention",
    aten=("aten.scaled_dot_product_attention.default",),
    kind=Kind.ATTENTION,
    reference=_reference,
    samples=(
        sample(_Q, _Q, _Q, None, 0.0, False, None, False),
        sample(_Q, _KV, _KV, bools(2, 1, 5, 7), 0.0, False, 0.25, False),
        sample(_Q, _KV, _KV, bools(5, 7), 0.0, False, None, False),
        sample(_Q, _KV, _KV, bools(2, 1, 5, 1), 0.0, False, None, False, note="rows without a key"),
        sample(_Q, _KV, _KV, array(2, 3, 5, 7), 0.0, False, 1.0, False),
        sample(_Q, _KV, _KV, array(1, 1, 1, 7), 0.0, False, None, False),
        sample(_Q, _KV, _KV, None, 0.0, True, None, False, note="causal from the top left"),
        sample(array(2, 6, 5, 8), array(2, 2, 5, 8), array(2, 2, 5, 8), None, 0.0, True, None,
               True),
        sample(array(3, 5, 8), array(3, 5, 8), array(3, 5, 17), None, 0.0, False, None, False),
        sample(array(5, 8), array(7, 8), array(7, 8), None, 0.0, False, None, False),
        sample(array(0, 3, 5, 8), array(0, 3, 5, 8), array(0, 3, 5, 8), None, 0.0, False, None,
               False),
        sample(array(2, 0, 8), array(2, 7, 8), array(2, 7, 8), None, 0.0, False, None, False),
        sample(array(2, 5, 8), array(2, 0, 8), array(2, 0, 3), None, 0.0, False, None, False),
        sample(array(2, 5, 0), array(2, 7, 0), array(2, 7, 3), None, 0.0, False, None, False),
    ),
)  # fmt: skip
def build_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q kᵀ scale + mask) v; q (…, L, E), k (…, S, E), v (…, S, Ev)."""
    inference_only("attention dropout", dropout_p > 0)
    check_sizes(q.shape[-1], k.shape[-1], "attention")
    check_sizes(k.shape[-2], v.shape[-2], "attention")
    group_k, group_v = _group(q, k, v, enable_gqa)
    batch = q.shape[:-2]
    if not enable_gqa:
        batch = broadcast("attention", batch, k.shape[:-2], v.shape[:-2])
    queries, keys = q.shape[-2], k.shape[-2]
    full = (*batch, queries, keys)
    inner = compute_type(q.dtype)
    if any(known(size) == 0 for size in (*full, v.shape[-1])):
        shape = (*full[:-1], v.shape[-1])
        return te.compute(shape, lambda *_: Const(0, q.dtype), te.fresh("attention"))

    def score(*index: Expr) -> Expr:
        at_q = _head(q, batch, index[:-2], 1)
        at_k = _head(k, batch, index[:-2], group_k)
        return sum_over(
            q.shape[-1], inner, lambda d: (q[(*at_q, index[-2], d)], k[(*at_k, index[-1], d)])
        )

    factor = _scale(q, scale)

    def logit(*index: Expr) -> Expr:
        value = score(*index) * factor
        if mask is not None:
            at = stretched(mask, full, index)
            none = Const(-math.inf, inner)
            value = select(at, value, none) if mask.dtype is BOOL else value + cast(at, inner)
        if is_causal:
            value = select(index[-1] <= index[-2], value, Const(-math.inf, inner))
        return value

    logits = te.compute(full, logit, te.fresh("attention_logit"))

    def value_at(*index: Expr) -> Expr:
        return v[(*_head(v, batch, index[:-2], group_v), *index[-2:])]

    return _weighted(logits, value_at, v.shape[-1], q.dtype, _share)


@operator(
    "softmax_matmul",
    aten=(),
    kind=Kind.ATTENTION,
    reference=lambda x, v: softmax_reference(x, -1) @ v,
    samples=(
        sample(array(2, 3, 5, 7), array(2, 3, 7, 8)),
        sample(array(3, 5, 33, low=-90, high=90), array(3, 33, 17)),
        sample(array(0, 5, 7), array(0, 7, 8)),
    ),
)
def build_softmax_matmul(x: Tensor, v: Tensor) -> Tensor:
    """softmax(x) v over stacks of matrices; a row of x that is -inf throughout gives NaN."""
    check_sizes(x.shape[-1], v.shape[-2], "softmax_matmul")
    return _weighted(x, lambda *i: v[i], v.shape[-1], x.dtype, lambda _, total, o: o / total)


def _scale(q: Tensor, scale: float | None) -> Expr:
    inner = compute_type(q.dtype)
    if scale is not None or known(q.shape[-1]) == 0:  # scores of nothing are 0, scaled or not
        return Const(1.0 if scale is None else float(scale), inner)
    root = sqrt_of(q.shape[-1])
    return te.rsqrt(size_as(q.shape[-1], inner)) if root is None else Const(1 / root, inner)


def _weighted(
    logits: Tensor,
    value_at: Callable[..., Expr],
    width: Expr,
    dtype: DType,
    result: Callable[..., Expr],
) -> Tensor:
    """The fold over the keys, the last axis of `logits`: a softmax, and values under its weights.

    `value_at` has the batch, a key and a column; `result` makes an element of the final states.
    """
    inner = compute_type(logits.dtype)

    def element(*index: Expr) -> Expr:
        j = te.reduce_axis(logits.shape[-1], "j")
        score = cast(logits[(*index[:-1], j)], inner)
        value = cast(value_at(*index[:-2], j, index[-1]), inner)
        states = (score, Const(1, inner), value)
        return cast(te.reduce(online_softmax_of(inner), states, j, result), dtype)

    return te.compute((*logits.shape[:-1], width), element, te.fresh("attention"))


def _share(_top: Expr, total: Expr, value: Expr) -> Expr:
    """What a row gets; 0 where it sees no key."""
    zero = Const(0, value.dtype)
    return select(equal(total, zero), zero, value * (Const(1, value.dtype) / total))
