"""Reductions with more than a sum in them: places of extremes, variance, log-sum-exp, norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, cast, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import F64
from tc.ops.dims import axes_of, product, size_as
from tc.ops.promotion import compute_type, floating
from tc.ops.reductions import Dims, along, averaged, build_amax, build_amin, folded, rowwise
from tc.ops.reshape import reshaped
from tc.ops.samples import array, ints, sample, special


def _arg(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is None:
        flat = reshaped(x, (product(x.shape),))
        out = _arg(name, flat, 0, False)
        shape = (1,) * x.rank if keepdim else ()
        return te.compute(shape, lambda *_: out[()], te.fresh(name)) if keepdim else out
    axes = axes_of(dim, x.rank, name)
    pick = te.argmax if name == "argmax" else te.argmin

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        value = cast(value, compute_type(value.dtype))
        return pick(value, ks[0]) if ks else Const(0)

    return folded(name, x, axes, keepdim, fn)


def _arg_ref(fn: Any) -> Any:
    return lambda x, dim=None, keepdim=False: fn(x, dim, keepdims=keepdim)


_ARGS = (
    sample(array(3, 5), 1, False),
    sample(array(3, 17), 0, True),
    sample(array(3, 5), None, False),
    sample(ints(4, 9, high=3), -1, False, note="ties"),
    sample(special(3, 19), 1, False),
)


@rowwise("argmax", _arg_ref(np.argmax), *_ARGS)
def build_argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the greatest element; NaN counts as greatest."""
    return _arg("argmax", x, dim, keepdim)


@rowwise("argmin", _arg_ref(np.argmin), *_ARGS)
def build_argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the least element; NaN counts as least."""
    return _arg("argmin", x, dim, keepdim)


def _with_place(x: Any, dim: int, keepdim: bool, value: Any, place: Any) -> Any:
    return (value(x, dim, keepdims=keepdim), place(x, dim, keepdims=keepdim))


@rowwise("max_dim", lambda x, dim, keepdim=False: _with_place(x, dim, keepdim, np.max, np.argmax),
         sample(array(3, 5), 1, False), sample(array(3, 17), 0, True),
         aten=("aten.max.dim",))  # fmt: skip
def build_max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The greatest elements over one dim, and their places."""
    return build_amax(x, dim, keepdim), _arg("argmax", x, dim, keepdim)


@rowwise("min_dim", lambda x, dim, keepdim=False: _with_place(x, dim, keepdim, np.min, np.argmin),
         sample(array(3, 5), 1, False), aten=("aten.min.dim",))  # fmt: skip
def build_min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The least elements over one dim, and their places."""
    return build_amin(x, dim, keepdim), _arg("argmin", x, dim, keepdim)


# --- variance


def variance(
    x: Tensor, dim: Dims, correction: float, keepdim: bool, root: bool = False
) -> tuple[Tensor, Tensor]:
    """Σ (x - mean)² / (n - correction) over dims, or its root, and the mean."""
    if not x.dtype.is_float:
        raise UnsupportedError(f"var: of {x.dtype}; cast to a float type first")
    axes = axes_of(dim, x.rank, "var")
    # As PyTorch does: in f32 the squares of values beyond 2^64 overflow, where their root does not,
    # and values that differ by little from a large mean lose half their digits.
    inner = F64
    mean = averaged(x, dim, True, inner)
    count = size_as(product([x.shape[n] for n in axes]), inner)
    divisor = te.maximum(count - float(correction), 0.0)

    def deviation(*index: Expr) -> Expr:
        return cast(x[index], inner) - along(mean, index, axes)

    centred = te.compute(x.shape, deviation, te.fresh("centred"))

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        square = value * value
        total = (te.sum(square, ks) if ks else square) / divisor
        return cast(te.sqrt(total) if root else total, x.dtype)

    out = folded("var", centred, axes, keepdim, fn)
    return out, averaged(x, dim, keepdim)


def _var_ref(x: Any, dim: Dims = None, correction: Any = 1, keepdim: bool = False) -> Any:
    axes = None if dim is None or dim == () else dim
    return np.var(x, axes, ddof=1 if correction is None else correction, keepdims=keepdim)


def _std_ref(*args: Any) -> Any:
    return np.sqrt(_var_ref(*args))


_CORRECTED = (
    sample(array(3, 5), (1,), None, False),
    sample(array(3, 17, low=100, high=101), (0, 1), 0, True),
    sample(array(4, 6), None, 2, False),
)
_UNBIASED = (sample(array(3, 5), (1,), True, False), sample(array(3, 5), (0,), False, True))


@rowwise("var", _var_ref, *_CORRECTED, aten=("aten.var.correction",))
def build_var(
    x: Tensor, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """The variance over dims; the correction is 1 unless given."""
    return variance(x, dim, 1 if correction is None else correction, keepdim)[0]


@rowwise("std", _std_ref, *_CORRECTED, aten=("aten.std.correction",))
def build_std(
    x: Tensor, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """The standard deviation over dims."""
    return variance(x, dim, 1 if correction is None else correction, keepdim, root=True)[0]


@rowwise("var_mean", lambda x, dim=None, c=None, keepdim=False: (
             _var_ref(x, dim, c, keepdim), x.mean(dim, keepdims=keepdim)),
         *_CORRECTED, aten=("aten.var_mean.correction",))  # fmt: skip
def build_var_mean(
    x: Tensor, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over dims."""
    return variance(x, dim, 1 if correction is None else correction, keepdim)


@rowwise("var_dim", _var_ref, *_UNBIASED, aten=("aten.var.dim",))
def build_var_dim(x: Tensor, dim: Dims, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The variance over dims."""
    return variance(x, dim, int(unbiased), keepdim)[0]


@rowwise("var_mean_dim", lambda x, dim, unbiased=True, keepdim=False: (
             _var_ref(x, dim, int(unbiased), keepdim), x.mean(dim, keepdims=keepdim)),
         *_UNBIASED, aten=("aten.var_mean.dim",))  # fmt: skip
def build_var_mean_dim(
    x: Tensor, dim: Dims, unbiased: bool = True, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over dims."""
    return variance(x, dim, int(unbiased), keepdim)


@rowwise("std_mean", lambda x, dim=None, c=None, keepdim=False: (
             _std_ref(x, dim, c, keepdim), x.mean(dim, keepdims=keepdim)),
         *_CORRECTED, aten=("aten.std_mean.correction",))  # fmt: skip
def build_std_mean(
    x: Tensor, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean over dims."""
    return variance(x, dim, 1 if correction is None else correction, keepdim, root=True)


@rowwise("std_mean_dim", lambda x, dim, unbiased=True, keepdim=False: (
             _std_ref(x, dim, int(unbiased), keepdim), x.mean(dim, keepdims=keepdim)),
         *_UNBIASED, aten=("aten.std_mean.dim",))  # fmt: skip
def build_std_mean_dim(
    x: Tensor, dim: Dims, unbiased: bool = True, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean over dims."""
    return variance(x, dim, int(unbiased), keepdim, root=True)


@rowwise("std_dim", _std_ref, *_UNBIASED, aten=("aten.std.dim",))
def build_std_dim(x: Tensor, dim: Dims, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The standard deviation over dims."""
    return variance(x, dim, int(unbiased), keepdim, root=True)[0]


@rowwise("var_all", lambda x, unbiased=True: _var_ref(x, None, int(unbiased)),
         sample(array(3, 5), True), aten=("aten.var.default",))  # fmt: skip
def build_var_all(x: Tensor, unbiased: bool = True) -> Tensor:
    """The variance of all elements."""
    return variance(x, None, int(unbiased), False)[0]


@rowwise("std_all", lambda x, unbiased=True: _std_ref(x, None, int(unbiased)),
         sample(array(3, 5), False), aten=("aten.std.default",))  # fmt: skip
def build_std_all(x: Tensor, unbiased: bool = True) -> Tensor:
    """The standard deviation of all elements."""
    return variance(x, None, int(unbiased), False, root=True)[0]


# --- exponentials and powers


def _logsumexp_ref(x: Any, dim: Any, keepdim: bool = False) -> Any:
    top = np.max(x, dim, keepdims=True)
    out = np.log(np.sum(np.exp(x - top), dim, keepdims=True)) + top
    return out if keepdim else np.squeeze(out, dim)


@rowwise("logsumexp", _logsumexp_ref, sample(array(3, 5), (1,), False),
         sample(array(3, 17, low=80, high=90), (0, 1), True))  # fmt: skip
def build_logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over dims, the maximum taken out."""
    axes = axes_of(dim, x.rank, "logsumexp")
    kind = floating(x.dtype)
    inner = compute_type(kind)
    top = build_amax(x, dim, True)

    def shift(*index: Expr) -> Expr:
        high = cast(along(top, index, axes), inner)
        return select(unary("isinf", high), Const(0, inner), high)

    low = te.compute(top.shape, shift, te.fresh("shift"))
    ks = tuple(range(x.rank))

    def exponential(*index: Expr) -> Expr:
        return te.exp(cast(x[index], inner) - along(low, index, axes))

    terms = te.compute(x.shape, exponential, te.fresh("exp"))
    total = folded("sum", terms, axes, True, lambda v, k: te.sum(v, k) if k else v)
    full = te.compute(
        top.shape, lambda *i: cast(te.log(total[i]) + low[i], kind), te.fresh("logsumexp")
    )
    if keepdim:
        return full
    kept = [n for n in ks if n not in axes]

    def drop(*index: Expr) -> Expr:
        at = dict(zip(kept, index, strict=True))
        return full[tuple(at.get(n, Const(0)) for n in ks)]

    return te.compute([x.shape[n] for n in kept], drop, te.fresh("logsumexp"))


def _norm_ref(x: Any, order: float = 2, dim: Any = None, keepdim: bool = False, *_: Any) -> Any:
    if order == math.inf:
        return np.max(np.abs(x), dim, keepdims=keepdim)
    return np.sum(np.abs(x) ** order, dim, keepdims=keepdim) ** (1 / order)


@rowwise("vector_norm", _norm_ref, sample(array(3, 5), 2, (1,), False, None),
         sample(array(3, 5), 1, None, False, None), sample(array(3, 17), 3, (0,), True, None),
         sample(array(3, 5), math.inf, (1,), True, None),
         aten=("aten.linalg_vector_norm.default",))  # fmt: skip
def build_vector_norm(
    x: Tensor, order: float = 2, dim: Dims = None, keepdim: bool = False, dtype: object = None
) -> Tensor:
    """(Σ |x|^order)^(1/order) over dims; the greatest |x| for infinity."""
    if order in (0, -math.inf) or dtype is not None:
        raise UnsupportedError(f"vector_norm: of order {order} as {dtype}; take order 1, 2 or inf")
    inner = compute_type(floating(x.dtype))

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        size = unary("abs", cast(value, inner))
        if order == math.inf:
            return cast(te.max(size, ks) if ks else size, x.dtype)
        power = size if order == 1 else size * size
        if order not in (1, 2):
            power = te.binary("pow", size, Const(float(order), inner))
        total = te.sum(power, ks) if ks else power
        if order == 2:
            total = te.sqrt(total)
        elif order != 1:
            total = te.binary("pow", total, Const(1 / order, inner))
        return cast(total, x.dtype)

    return folded("norm", x, axes_of(dim, x.rank, "norm"), keepdim, fn)
