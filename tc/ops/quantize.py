"""Real numbers as 8-bit integers and back: what products of integers are made of.

Weights are symmetric, i8 = round(w / balance / scale) with one scale for each output channel.
Activations are taken row by row as they come, from their least to their greatest value:
u8 = round(x balance / step) + zero. The balance of an input channel moves a part of the weights'
magnitude there to the activation, so that no channel takes the whole range of a row of weights
(the idea of Xiao et al., "SmoothQuant", arXiv 2211.10438, section 4, from the weights alone).

    Σ x w  =  scale step (Σ u8 i8 - zero Σ i8)

These rows have no ATen operator: a graph pass puts them in.
"""

from __future__ import annotations

import numpy as np

from tc import te
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import F32, I8, I32, I64, U8
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator

MOST, LEVELS = 127.0, 255.0
_TINY = 1e-30  # ranges below are taken for zero: the reciprocal would overflow
_ZERO = te.const(0, I64)


def _over(value: Expr, size: Expr) -> Expr:
    """value / size, or 0 where the size is nearly 0."""
    return te.where(te.const(_TINY) < size, value / size, 0.0)


def _rows_ref(x: np.ndarray, balance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = x * balance
    low, high = y.min(-1, keepdims=True, initial=0.0), y.max(-1, keepdims=True, initial=0.0)
    per = np.where(high - low > _TINY, LEVELS / np.maximum(high - low, _TINY), 0.0)
    zero = np.round(-low * per)
    found = np.clip(np.round(y * per) + zero, 0, 255)
    return (high - low) / LEVELS, zero.astype(np.int32), found.astype(np.uint8)


@operator(
    "quantize_rows",
    aten=(),
    kind=Kind.ROWWISE,
    reference=_rows_ref,
    samples=(
        sample(array(2, 3, 8), array(8, low=0.5)), sample(array(1, 17), array(17, low=0.5)),
        sample(array(5), array(5, low=0.5)), sample(array(0, 4), array(4, low=0.5)),
    ),
)  # fmt: skip
def build_quantize_rows(x: Tensor, balance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f32[..., 1], the step of each row; i32[..., 1], the u8 of 0; u8 of the shape of x."""
    k = te.reduce_axis(x.shape[-1])
    outer = x.rank - 1
    column: te.Shape = (*x.shape[:-1], te.const(1, I64))

    def value(row: tuple[Expr, ...], place: Expr) -> Expr:
        return x[(*row, place)] * balance[place]

    def lowest(*index: Expr) -> Expr:
        return te.minimum(te.min(value(index[:outer], k), axis=k), 0.0)

    def highest(*index: Expr) -> Expr:
        return te.maximum(te.max(value(index[:outer], k), axis=k), 0.0)

    low = te.compute(column, lowest, te.fresh("low"))
    high = te.compute(column, highest, te.fresh("high"))

    def per(row: tuple[Expr, ...]) -> Expr:
        return _over(te.const(LEVELS), high[(*row, _ZERO)] - low[(*row, _ZERO)])

    step = te.compute(column, lambda *i: (high[i] - low[i]) * (1.0 / LEVELS), te.fresh("step"))
    zero = te.compute(
        column,
        lambda *i: cast(te.unary("round", -low[i] * per(i[:outer])), I32),
        te.fresh("zero"),
    )

    def element(*index: Expr) -> Expr:
        row = index[:outer]
        level = te.unary("round", value(row, index[-1]) * per(row))
        level = level + cast(zero[(*row, _ZERO)], F32)
        return cast(te.minimum(te.maximum(level, 0.0), LEVELS), U8)

    return step, zero, te.compute(x.shape, element, te.fresh("quantized"))


@operator(
    "weight_balance",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w, dim: np.sqrt(np.sqrt((w * w).mean(1 - dim))),
    samples=(sample(array(5, 8), 1), sample(array(8, 5), 0)),
)
def build_weight_balance(w: Tensor, dim: int) -> Tensor:
    """What activations are multiplied with, for each place along `dim`, which is summed over."""
    n = te.reduce_axis(w.shape[1 - dim])

    def element(k: Expr) -> Expr:
        x = w[(n, k) if dim == 1 else (k, n)]
        mean = te.sum(x * x, axis=n) / cast(n.extent, F32)
        return te.sqrt(te.sqrt(mean))

    return te.compute((w.shape[dim],), element, te.fresh("balance"))


def _balanced(w: Tensor, balance: Tensor, index: tuple[Expr, ...], dim: int) -> Expr:
    return _over(w[index], balance[index[dim]])


def _balanced_ref(w: np.ndarray, balance: np.ndarray, dim: int) -> np.ndarray:
    return np.asarray(w / np.expand_dims(balance, 1 - dim))


@operator(
    "weight_scale",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w, b, dim: np.abs(_balanced_ref(w, b, dim)).max(dim) / MOST,
    samples=(
        sample(array(5, 8), array(8, low=0.5), 1), sample(array(8, 5), array(8, low=0.5), 0),
    ),
)  # fmt: skip
def build_weight_scale(w: Tensor, balance: Tensor, dim: int) -> Tensor:
    """The f32 that each output channel of a matrix is counted in; `dim` is summed over."""
    k = te.reduce_axis(w.shape[dim])

    def element(n: Expr) -> Expr:
        size = te.unary("abs", _balanced(w, balance, (n, k) if dim == 1 else (k, n), dim))
        return te.maximum(te.max(size, axis=k), 0.0) * (1.0 / MOST)

    return te.compute((w.shape[1 - dim],), element, te.fresh("scale"))


def _int8_ref(w: np.ndarray, balance: np.ndarray, scale: np.ndarray, dim: int) -> np.ndarray:
    steps = np.round(_balanced_ref(w, balance, dim) / np.expand_dims(scale, dim))
    return np.asarray(np.clip(steps, -MOST, MOST), np.int8)


@operator(
    "weight_int8",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_int8_ref,
    samples=(
        sample(array(5, 8), array(8, low=0.5), array(5, low=0.01, high=0.1), 1),
        sample(array(8, 5), array(8, low=0.5), array(5, low=0.01, high=0.1), 0),
    ),
)
def build_weight_int8(w: Tensor, balance: Tensor, scale: Tensor, dim: int) -> Tensor:
    """A balanced matrix in steps of the scale of its channels."""

    def element(*index: Expr) -> Expr:
        value = _over(_balanced(w, balance, index, dim), scale[index[1 - dim]])
        return cast(te.minimum(te.maximum(te.unary("round", value), -MOST), MOST), I8)

    return te.compute(w.shape, element, te.fresh("int8"))


@operator(
    "weight_sum",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w, dim: w.astype(np.int32).sum(dim, dtype=np.int32),
    samples=(sample(ints(5, 8, dtype="i8"), 1), sample(ints(8, 5, dtype="i8"), 0)),
)
def build_weight_sum(w: Tensor, dim: int) -> Tensor:
    """Σ i8 of each output channel, i32."""
    k = te.reduce_axis(w.shape[dim])

    def element(n: Expr) -> Expr:
        return te.sum(cast(w[(n, k) if dim == 1 else (k, n)], I32), axis=k)

    return te.compute((w.shape[1 - dim],), element, te.fresh("sum"))


def _real_ref(*given: np.ndarray) -> np.ndarray:
    total, step, zero, scale, sums = given
    return np.asarray((total - zero * sums) * (step * scale))


@operator(
    "dequantize",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_real_ref,
    samples=(
        sample(ints(2, 3, 5, dtype="i32"), array(2, 3, 1), ints(2, 3, 1, dtype="i32"),
               array(5), ints(5, dtype="i32")),
        sample(ints(5, dtype="i32"), array(1), ints(1, dtype="i32"), array(5),
               ints(5, dtype="i32")),
    ),
)  # fmt: skip
def build_dequantize(
    total: Tensor, step: Tensor, zero: Tensor, scale: Tensor, sums: Tensor
) -> Tensor:
    """The real product of which `total` is the sum of u8 by i8."""

    def element(*index: Expr) -> Expr:
        n, row = index[-1], (*index[:-1], _ZERO)
        return cast(total[index] - zero[row] * sums[n], F32) * (step[row] * scale[n])

    return te.compute(total.shape, element, te.fresh("real"))
