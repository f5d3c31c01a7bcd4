"""Real numbers as 8-bit integers and back: what products of integers are made of.

Weights are symmetric, i8 = round(w / scale) with one scale for each output channel. Activations
are taken row by row as they come: u8 = round(x / (peak / 127)) + 128, peak being the greatest
magnitude of the row. These rows have no ATen operator: a graph pass puts them in.

    Σ x w  =  scale peak (Σ u8 i8 - 128 Σ i8)
"""

from __future__ import annotations

import numpy as np

from tc import te
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import F32, I8, I32, U8
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator

MOST = 127.0
ZERO = 128  # the u8 that stands for 0
_TINY = 1e-30  # rows and channels below are taken for zeros: the reciprocal would overflow


def _peak(x: np.ndarray, axis: int, keep: bool) -> np.ndarray:
    return np.asarray(np.abs(x).max(axis, keepdims=keep, initial=0.0))


def _steps(x: np.ndarray, peak: np.ndarray) -> np.ndarray:
    safe = np.where(peak > _TINY, peak, np.inf)
    return np.round(x * (MOST / safe))


def _rows_ref(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    peak = _peak(x, -1, True)
    return (_steps(x, peak) + ZERO).astype(np.uint8), peak


def _reciprocal(peak: Expr) -> Expr:
    return te.where(te.const(_TINY) < peak, te.const(MOST) / peak, 0.0)


@operator(
    "quantize_rows",
    aten=(),
    kind=Kind.ROWWISE,
    reference=_rows_ref,
    samples=(
        sample(array(2, 3, 8)), sample(array(1, 17)), sample(array(5)), sample(array(0, 4)),
    ),
)  # fmt: skip
def build_quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(u8 of the shape of x, f32[..., 1] the greatest magnitude of each row)."""
    k = te.reduce_axis(x.shape[-1])
    outer = x.rank - 1

    def greatest(*index: Expr) -> Expr:
        size = te.unary("abs", x[(*index[:outer], k)])
        return te.maximum(te.max(size, axis=k), 0.0)

    peak = te.compute((*x.shape[:-1], 1), greatest, te.fresh("peak"))
    zero = te.const(0, te.I64)

    def element(*index: Expr) -> Expr:
        step = te.unary("round", x[index] * _reciprocal(peak[(*index[:outer], zero)]))
        return cast(step + float(ZERO), U8)

    return te.compute(x.shape, element, te.fresh("quantized")), peak


def _scale_ref(w: np.ndarray, dim: int) -> np.ndarray:
    return _peak(w, dim, False) / MOST


@operator(
    "weight_scale",
    aten=(),
    kind=Kind.ROWWISE,
    reference=_scale_ref,
    samples=(sample(array(5, 8), 1), sample(array(8, 5), 0)),
)
def build_weight_scale(w: Tensor, dim: int) -> Tensor:
    """The f32 that each output channel of a matrix is counted in; `dim` is summed over."""
    k = te.reduce_axis(w.shape[dim])

    def element(n: Expr) -> Expr:
        size = te.unary("abs", w[(n, k) if dim == 1 else (k, n)])
        return te.maximum(te.max(size, axis=k), 0.0) * (1.0 / MOST)

    return te.compute((w.shape[1 - dim],), element, te.fresh("scale"))


def _int8_ref(w: np.ndarray, scale: np.ndarray, dim: int) -> np.ndarray:
    return _steps(w, np.expand_dims(scale, dim) * MOST).astype(np.int8)


@operator(
    "weight_int8",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_int8_ref,
    samples=(sample(array(5, 8, low=-1), array(5, low=1, high=2), 1),),
)
def build_weight_int8(w: Tensor, scale: Tensor, dim: int) -> Tensor:
    """A matrix in steps of the scale of its channels."""

    def element(*index: Expr) -> Expr:
        step = te.unary("round", w[index] * _reciprocal(scale[index[1 - dim]] * MOST))
        return cast(te.minimum(te.maximum(step, -MOST), MOST), I8)

    return te.compute(w.shape, element, te.fresh("int8"))


@operator(
    "weight_offset",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w, dim: ZERO * w.astype(np.int32).sum(dim, dtype=np.int32),
    samples=(sample(ints(5, 8, dtype="i8"), 1), sample(ints(8, 5, dtype="i8"), 0)),
)
def build_weight_offset(w: Tensor, dim: int) -> Tensor:
    """What the zero of the activations adds to the sums of each channel, i32."""
    k = te.reduce_axis(w.shape[dim])

    def element(n: Expr) -> Expr:
        return te.sum(cast(w[(n, k) if dim == 1 else (k, n)], I32), axis=k) * te.const(ZERO, I32)

    return te.compute((w.shape[1 - dim],), element, te.fresh("offset"))


def _real_ref(
    total: np.ndarray, offset: np.ndarray, peak: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    return np.asarray((total - offset) * (peak * (scale / MOST)))


@operator(
    "dequantize",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_real_ref,
    samples=(
        sample(ints(2, 3, 5, dtype="i32"), ints(5, dtype="i32"), array(2, 3, 1), array(5)),
        sample(ints(5, dtype="i32"), ints(5, dtype="i32"), array(1), array(5)),
    ),
)
def build_dequantize(total: Tensor, offset: Tensor, peak: Tensor, scale: Tensor) -> Tensor:
    """The real product of which `total` is the sum of u8 by i8."""
    zero = te.const(0, te.I64)

    def element(*index: Expr) -> Expr:
        n = index[-1]
        real = cast(total[index] - offset[n], F32)
        return real * (peak[(*index[:-1], zero)] * (scale[n] * (1.0 / MOST)))

    return te.compute(total.shape, element, te.fresh("real"))
