"""Normalisation over channels: group, instance and batch norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError, UnsupportedError
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import DType
from tc.ops import references as ref
from tc.ops.casts import cast_tensor, inference_only
from tc.ops.dims import Dim, fixed
from tc.ops.norms import Parameter, affine, at, normalised
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.reshape import reshaped
from tc.ops.samples import array, sample


def _grouped(x: Tensor, groups: int) -> tuple[Tensor, int]:
    """x with its channels cut into groups, and the channels of one."""
    channels = fixed(x.shape[1], "group_norm channels")
    if channels % groups:
        raise CompileError(f"group_norm: {channels} channels in {groups} groups; must divide")
    per = channels // groups
    return reshaped(x, (x.shape[0], groups, per, *x.shape[2:])), per


def _group_norm(
    x: Tensor, groups: int, weight: Parameter, bias: Parameter, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    split, per = _grouped(x, groups)
    axes = tuple(range(2, split.rank))
    out, mean, rstd = normalised(split, axes, eps, weight, bias, lambda i: (i[1] * per + i[2],))
    return reshaped(out, x.shape), mean, rstd


def _group_ref(x: Any, groups: int, w: Any, b: Any, eps: float = 1e-5, *_: Any) -> Any:
    split = x.reshape(x.shape[0], groups, -1)
    y = ref.normalised(split, (2,), eps).reshape(x.shape)
    shape = (-1, *[1] * (x.ndim - 2))
    y = y if w is None else y * w.reshape(shape)
    return y if b is None else y + b.reshape(shape)


@rowwise(
    "group_norm",
    _group_ref,
    sample(array(2, 6, 5), 3, array(6), array(6), 1e-5, False),
    sample(array(2, 4, 3, 3), 1, None, None, 1e-5, False),
    sample(array(3, 4), 2, array(4), None, 1e-5, False),
)
def build_group_norm(
    x: Tensor,
    groups: int,
    weight: Parameter = None,
    bias: Parameter = None,
    eps: float = 1e-5,
    _cudnn_enabled: bool = True,
) -> Tensor:
    """Normalised over each group of channels; Wu and He, 2018."""
    return _group_norm(x, groups, weight, bias, eps)[0]


@rowwise("native_group_norm", lambda x, w, b, n, c, hw, g, eps: (
             _group_ref(x, g, w, b, eps), x.reshape(n, g, -1).mean(2),
             1 / np.sqrt(x.reshape(n, g, -1).var(2) + eps)),
         sample(array(2, 6, 5), array(6), array(6), 2, 6, 5, 3, 1e-5))  # fmt: skip
def build_native_group_norm(
    x: Tensor, weight: Parameter, bias: Parameter, n: Dim, _c: Dim, _hw: Dim, g: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Group norm, the means, and 1 / sqrt(var + eps)."""
    out, mean, rstd = _group_norm(x, g, weight, bias, eps)
    means, rstds = (cast_tensor(reshaped(t, (n, g)), x.dtype) for t in (mean, rstd))
    return out, means, rstds


def _instance_ref(x: Any, w: Any, b: Any, *rest: Any) -> Any:
    return _group_ref(x, x.shape[1], w, b, rest[4])


@rowwise(
    "instance_norm",
    _instance_ref,
    sample(array(2, 3, 5), array(3), array(3), None, None, True, 0.1, 1e-5, False),
)
def build_instance_norm(
    x: Tensor,
    weight: Parameter,
    bias: Parameter,
    mean: Parameter,
    var: Parameter,
    use_input_stats: bool,
    _momentum: float,
    eps: float,
    _cudnn_enabled: bool,
) -> Tensor:
    """Normalised over each channel of each sample."""
    if not use_input_stats:
        return batch_norm(x, weight, bias, mean, var, eps)
    axes = tuple(range(2, x.rank))
    return normalised(x, axes, eps, weight, bias, lambda i: (i[1],))[0]


def batch_norm(
    x: Tensor, weight: Parameter, bias: Parameter, mean: Parameter, var: Parameter, eps: float
) -> Tensor:
    """(x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]."""
    if mean is None or var is None:
        raise UnsupportedError("batch_norm: without running statistics; call model.eval()")
    inner: DType = compute_type(x.dtype)
    spread = var

    def rstd(c: Expr) -> Expr:
        return te.rsqrt(cast(spread[c], inner) + float(eps))

    scale = te.compute(spread.shape, rstd, te.fresh("rstd"))
    centre = mean

    def element(*index: Expr) -> Expr:
        c = index[1]
        value = (cast(x[index], inner) - cast(centre[c], inner)) * scale[c]
        return cast(affine(value, at(weight, (c,)), at(bias, (c,))), x.dtype)

    return te.compute(x.shape, element, te.fresh("batch_norm"))


def _batch_ref(x: Any, w: Any, b: Any, mean: Any, var: Any, *rest: Any) -> Any:
    eps = rest[2] if len(rest) == 4 else rest[1]
    shape = (-1, *[1] * (x.ndim - 2))
    if mean is None:
        axes = (0, *range(2, x.ndim))
        mean, var = x.mean(axes), x.var(axes)
    y = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    y = y if w is None else y * w.reshape(shape)
    return y if b is None else y + b.reshape(shape)


@rowwise(
    "batch_norm",
    _batch_ref,
    sample(array(2, 3, 5), array(3), array(3), array(3), array(3, low=0.5), False, 0.1, 1e-5,
           False),
    sample(array(2, 3), None, None, array(3), array(3, low=0.5), False, 0.1, 1e-3, False),
    sample(array(3, 2, 5), array(2), array(2), None, None, True, 0.1, 1e-5, False),
    sample(array(4, 3), None, None, None, None, True, 0.1, 1e-3, False),
)  # fmt: skip
def build_batch_norm(
    x: Tensor,
    weight: Parameter,
    bias: Parameter,
    mean: Parameter,
    var: Parameter,
    training: bool,
    _momentum: float,
    eps: float,
    _cudnn_enabled: bool,
) -> Tensor:
    """Normalised by the running statistics of each channel, or the batch's where none are kept."""
    if training and mean is None and var is None:
        axes = (0, *range(2, x.rank))
        return normalised(x, axes, eps, weight, bias, lambda i: (i[1],))[0]
    inference_only("batch_norm", training)
    return batch_norm(x, weight, bias, mean, var, eps)


@rowwise(
    "batch_norm_inference",
    lambda *args: (_batch_ref(*args), np.zeros(0), np.zeros(0)),
    sample(array(2, 3, 5), array(3), array(3), array(3), array(3, low=0.5), 0.1, 1e-5),
    aten=("aten._native_batch_norm_legit_no_training.default",),
)
def build_batch_norm_inference(
    x: Tensor,
    weight: Parameter,
    bias: Parameter,
    mean: Parameter,
    var: Parameter,
    _momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm, and two tensors of nothing where training has its statistics."""
    nothing = [
        te.compute((0,), lambda _: te.const(0.0, x.dtype), te.fresh("nothing")) for _ in range(2)
    ]
    return batch_norm(x, weight, bias, mean, var, eps), nothing[0], nothing[1]
