"""Normalisation over trailing dims, layer and RMS norm, and what all normalisations share.

Statistics take two passes (the mean, then the mean of squared deviations) in f32 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ops import references as ref
from tc.ops.casts import cast_tensor
from tc.ops.dims import Dim, known, product, size_as
from tc.ops.promotion import compute_type, epsilon
from tc.ops.reductions import along, averaged, folded, rowwise
from tc.ops.samples import array, sample

Parameter = Tensor | None


def statistics(x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor]:
    """The mean and 1 / sqrt(variance + eps) over `axes`, which stay as dims of 1."""
    inner = compute_type(x.dtype)
    mean = averaged(x, tuple(axes), True, inner)
    count = size_as(product([x.shape[n] for n in axes]), inner)

    def deviation(*index: Expr) -> Expr:
        return cast(x[index], inner) - along(mean, index, axes)

    centred = te.compute(x.shape, deviation, te.fresh("centred"))

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        return te.rsqrt(te.sum(value * value, ks) / count + float(eps))

    return mean, folded("rstd", centred, tuple(axes), True, fn)


def affine(value: Expr, weight: Expr | None, bias: Expr | None) -> Expr:
    """value * weight + bias, where they are given."""
    if weight is not None:
        value = value * cast(weight, value.dtype)
    return value if bias is None else value + cast(bias, value.dtype)


def at(t: Parameter, index: Sequence[Expr]) -> Expr | None:
    """An element of a parameter that may be absent."""
    return None if t is None else t[tuple(index)]


def normalised(
    x: Tensor,
    axes: Sequence[int],
    eps: float,
    weight: Parameter,
    bias: Parameter,
    place: Callable[[Sequence[Expr]], Sequence[Expr]],
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) rstd weight + bias, the mean and rstd; `place` gives the index in parameters."""
    mean, rstd = statistics(x, axes, eps)
    inner = compute_type(x.dtype)

    def element(*index: Expr) -> Expr:
        value = (cast(x[index], inner) - along(mean, index, axes)) * along(rstd, index, axes)
        spot = place(index)
        return cast(affine(value, at(weight, spot), at(bias, spot)), x.dtype)

    return te.compute(x.shape, element, te.fresh("norm")), mean, rstd


# --- over trailing dims


def _trailing(x: Tensor, shape: Sequence[Dim], op: str) -> tuple[int, ...]:
    count = len(shape)
    for size, given in zip(x.shape[x.rank - count :], shape, strict=True):
        if known(size) is not None and known(given) is not None and known(size) != known(given):
            raise CompileError(f"{op}: over {known(given)} elements, the tensor has {known(size)}")
    return tuple(range(x.rank - count, x.rank))


def _layer_ref(x: Any, shape: Any, w: Any = None, b: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    y = ref.normalised(x, range(x.ndim - len(shape), x.ndim), eps)
    y = y if w is None else y * w
    return y if b is None else y + b


_LAYER = (
    sample(array(2, 3, 32), (32,), array(32), array(32), 1e-12, False),
    sample(array(3, 17, low=100, high=101), (17,), array(17), None, 1e-5, True),
    sample(array(2, 3, 5), (3, 5), array(3, 5), array(3, 5), 1e-5, False),
    sample(array(4, 15), (15,), None, None, 1e-5, False),
    sample(array(0, 8), (8,), array(8), array(8), 1e-5, False),
    sample(array(3, 8, dtype="bf16"), (8,), array(8, dtype="bf16"), None, 1e-5, False),
)


@rowwise("layer_norm", _layer_ref, *_LAYER)
def build_layer_norm(
    x: Tensor,
    shape: Sequence[Dim],
    weight: Parameter = None,
    bias: Parameter = None,
    eps: float = 1e-5,
    _cudnn_enable: bool = True,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the trailing dims."""
    axes = _trailing(x, shape, "layer_norm")
    return normalised(x, axes, eps, weight, bias, lambda i: i[axes[0] :])[0]


def _native_layer_ref(x: Any, shape: Any, w: Any, b: Any, eps: float) -> Any:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    rstd = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
    return (_layer_ref(x, shape, w, b, eps), x.mean(axes, keepdims=True), rstd)


@rowwise("native_layer_norm", _native_layer_ref,
         sample(array(3, 17), (17,), array(17), array(17), 1e-5))  # fmt: skip
def build_native_layer_norm(
    x: Tensor, shape: Sequence[Dim], weight: Parameter, bias: Parameter, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm, the mean, and 1 / sqrt(var + eps)."""
    axes = _trailing(x, shape, "layer_norm")
    out, mean, rstd = normalised(x, axes, eps, weight, bias, lambda i: i[axes[0] :])
    return out, cast_tensor(mean, x.dtype), cast_tensor(rstd, x.dtype)


def _rms_ref(x: Any, shape: Any, w: Any = None, eps: float | None = None) -> Any:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    eps = 2.0**-23 if eps is None else eps
    y = x / np.sqrt(np.mean(x * x, axes, keepdims=True) + eps)
    return y if w is None else y * w


@rowwise(
    "rms_norm",
    _rms_ref,
    sample(array(2, 3, 32), (32,), array(32), 1e-6),
    sample(array(3, 17), (17,), None, None),
    sample(array(2, 3, 5), (3, 5), array(3, 5), 1e-5),
)
def build_rms_norm(
    x: Tensor, shape: Sequence[Dim], weight: Parameter = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight; Zhang and Sennrich, 2019."""
    axes = _trailing(x, shape, "rms_norm")
    inner = compute_type(x.dtype)
    count = size_as(product([x.shape[n] for n in axes]), inner)
    small = epsilon(x.dtype) if eps is None else float(eps)

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        value = cast(value, inner)
        return te.rsqrt(te.sum(value * value, ks) / count + small)

    scale = folded("rms", x, axes, True, fn)

    def element(*index: Expr) -> Expr:
        value = cast(x[index], inner) * along(scale, index, axes)
        return cast(affine(value, at(weight, index[axes[0] :]), None), x.dtype)

    return te.compute(x.shape, element, te.fresh("rms_norm"))
