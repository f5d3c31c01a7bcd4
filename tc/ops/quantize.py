"""Real numbers as 8-bit integers and back: what products of integers are made of.

What is summed over is cut into groups, the last dim of every operand here. Weights are symmetric,
i8 = round(w / scale), with a scale for each group of an output channel. Activations are taken as
they come, from the least to the greatest value of each group: u8 = round(x / step) + zero.

    Σ x w  =  Σ over groups of  scale step (Σ u8 i8 - zero Σ i8)

What belongs to a group is read as often as its elements, so it is short: a scale is a bf16, which
the elements are then counted in, so that its rounding costs nothing; a sum of at most `LONGEST`
elements is an i16. These rows have no ATen operator: a graph pass puts them in.
"""

from __future__ import annotations

import numpy as np

from tc import te
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Shape, Tensor
from tc.ir.types import BF16, F32, I8, I16, I32, I64, U8
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator

MOST = 127.0
LONGEST = 32767 // 127  # elements of a group of weights
_TINY = 1e-30  # ranges below are taken for zero: the reciprocal would overflow
_ZERO = te.const(0, I64)


def _over(value: Expr, size: Expr) -> Expr:
    """value / size, or 0 where the size is nearly 0."""
    return te.where(te.const(_TINY) < size, value / size, 0.0)


def _rows_ref(x: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    levels = 2.0**bits - 1
    low, high = x.min(-1, keepdims=True, initial=0.0), x.max(-1, keepdims=True, initial=0.0)
    per = np.where(high - low > _TINY, levels / np.maximum(high - low, _TINY), 0.0)
    zero = np.round(-low * per)
    found = np.clip(np.round(x * per) + zero, 0, levels)
    return (high - low) / levels, zero.astype(np.int32), found.astype(np.uint8)


@operator(
    "quantize_rows",
    aten=(),
    kind=Kind.ROWWISE,
    reference=_rows_ref,
    samples=(
        sample(array(2, 3, 8)), sample(array(1, 17)), sample(array(5)), sample(array(0, 4)),
        sample(array(3, 17), 7),
    ),
)  # fmt: skip
def build_quantize_rows(x: Tensor, bits: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """f32[..., 1], the step of each row; i32[..., 1], the u8 of 0; u8 of the shape of x.

    A number of `bits` bits is below 2**bits.
    """
    levels = 2.0**bits - 1
    k = te.reduce_axis(x.shape[-1])
    outer = x.rank - 1
    column: Shape = (*x.shape[:-1], te.const(1, I64))

    def lowest(*index: Expr) -> Expr:
        return te.minimum(te.min(x[(*index[:outer], k)], axis=k), 0.0)

    def highest(*index: Expr) -> Expr:
        return te.maximum(te.max(x[(*index[:outer], k)], axis=k), 0.0)

    low = te.compute(column, lowest, te.fresh("low"))
    high = te.compute(column, highest, te.fresh("high"))

    def per(row: tuple[Expr, ...]) -> Expr:
        return _over(te.const(levels), high[(*row, _ZERO)] - low[(*row, _ZERO)])

    step = te.compute(column, lambda *i: (high[i] - low[i]) * (1.0 / levels), te.fresh("step"))
    zero = te.compute(
        column,
        lambda *i: cast(te.unary("round", -low[i] * per(i[:outer])), I32),
        te.fresh("zero"),
    )

    def element(*index: Expr) -> Expr:
        row = index[:outer]
        level = te.unary("round", x[index] * per(row)) + cast(zero[(*row, _ZERO)], F32)
        return cast(te.minimum(te.maximum(level, 0.0), levels), U8)

    return step, zero, te.compute(x.shape, element, te.fresh("quantized"))


def _to_bf16(x: np.ndarray) -> np.ndarray:
    """Finite numbers rounded to the nearest bf16, ties to even, as f32."""
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


@operator(
    "weight_scale",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w: _to_bf16(np.abs(w).max(-1).T / MOST),
    samples=(sample(array(5, 2, 8)), sample(array(3, 1, 17))),
)
def build_weight_scale(w: Tensor) -> Tensor:
    """The bf16 [groups, channels] that groups of w [channels, groups, length] are counted in."""
    k = te.reduce_axis(w.shape[2])

    def element(g: Expr, n: Expr) -> Expr:
        most = te.maximum(te.max(te.unary("abs", w[n, g, k]), axis=k), 0.0)
        return cast(most * (1.0 / MOST), BF16)

    return te.compute((w.shape[1], w.shape[0]), element, te.fresh("scale"))


def _int8_ref(w: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.round(w / scale.T[..., None]), -MOST, MOST), np.int8)


@operator(
    "weight_int8",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_int8_ref,
    samples=(sample(array(5, 2, 8), array(2, 5, low=0.01, high=0.1, dtype="bf16")),),
)
def build_weight_int8(w: Tensor, scale: Tensor) -> Tensor:
    """A weight [channels, groups, length] in steps of its scale."""

    def element(n: Expr, g: Expr, k: Expr) -> Expr:
        value = te.unary("round", _over(w[n, g, k], cast(scale[g, n], F32)))
        return cast(te.minimum(te.maximum(value, -MOST), MOST), I8)

    return te.compute(w.shape, element, te.fresh("int8"))


@operator(
    "weight_sum",
    aten=(),
    kind=Kind.ROWWISE,
    reference=lambda w: w.sum(-1, dtype=np.int16).T,
    samples=(sample(ints(5, 2, 8, low=-9, dtype="i8")),),
)
def build_weight_sum(w: Tensor) -> Tensor:
    """Σ i8 of each group of at most `LONGEST` elements, i16 [groups, channels]."""
    k = te.reduce_axis(w.shape[2])

    def element(g: Expr, n: Expr) -> Expr:
        return cast(te.sum(cast(w[n, g, k], I32), axis=k), I16)

    return te.compute((w.shape[1], w.shape[0]), element, te.fresh("sum"))


def _grouped_ref(*given: np.ndarray) -> np.ndarray:
    step, zero, x, scale, sums, w = given[:6]
    sums = sums.astype(np.int64)
    total = np.einsum("...gk,ngk->...gn", x.astype(np.int64), w.astype(np.int64))
    return np.asarray(((total - zero * sums) * (step * scale)).sum(-2))


@operator(
    "grouped_linear",
    aten=(),
    kind=Kind.CONTRACTION,
    reference=_grouped_ref,
    samples=(
        sample(array(2, 3, 2, 1), ints(2, 3, 2, 1, high=255, dtype="i32"),
               ints(2, 3, 2, 8, high=255, dtype="u8"), array(2, 5, dtype="bf16"),
               ints(2, 5, dtype="i16"),
               ints(5, 2, 8, low=-127, high=127, dtype="i8")),
        sample(array(1, 1), ints(1, 1, dtype="i32"), ints(1, 4, high=255, dtype="u8"),
               array(1, 3, dtype="bf16"), ints(1, 3, dtype="i16"),
               ints(3, 1, 4, low=-9, dtype="i8")),
        sample(array(2, 2, 1), ints(2, 2, 1, high=127, dtype="i32"),
               ints(2, 2, 8, high=127, dtype="u8"), array(2, 5, dtype="bf16"),
               ints(2, 5, dtype="i16"), ints(5, 2, 8, low=-127, high=127, dtype="i8"), 7),
    ),
)  # fmt: skip
def build_grouped_linear(
    step: Tensor, zero: Tensor, x: Tensor, scale: Tensor, sums: Tensor, w: Tensor, bits: int = 8
) -> Tensor:
    """y[..., n] = Σ_g step[..., g] scale[g, n] (Σ_k x[..., g, k] w[n, g, k] - zero[..., g] sums).

    `x` is u8 [..., groups, length] with `step` and `zero` [..., groups, 1], as `quantize_rows`
    gives them; `w` is i8 [channels, groups, length], `scale` and `sums` [groups, channels].
    Where `x` has 7 bits the others are masked, so that sums of two products are known to fit i16.
    """
    g, k = te.reduce_axis(w.shape[1], "g"), te.reduce_axis(w.shape[2])
    outer = x.rank - 2

    def element(*index: Expr) -> Expr:
        row, n = index[:outer], index[outer]
        level = x[(*row, g, k)]
        if bits < 8:
            level = level & te.const(2**bits - 1, U8)
        total = te.sum(cast(level, I32) * cast(w[n, g, k], I32), axis=k)
        real = cast(total - zero[(*row, g, _ZERO)] * cast(sums[g, n], I32), F32)
        return te.sum(real * (step[(*row, g, _ZERO)] * cast(scale[g, n], F32)), axis=g)

    return te.compute((*x.shape[:-2], w.shape[0]), element, te.fresh("grouped"))


def _rows_of_ref(scale: np.ndarray, w: np.ndarray, ids: np.ndarray, depth: int) -> np.ndarray:
    rows = w[ids].astype(np.float32) * scale.T[ids][..., None]
    return np.asarray(rows.reshape(*ids.shape, -1)[..., :depth])


@operator(
    "grouped_embedding",
    aten=(),
    kind=Kind.GATHER,
    reference=_rows_of_ref,
    samples=(
        sample(array(2, 5, dtype="bf16"), ints(5, 2, 8, low=-127, high=127, dtype="i8"),
               ints(2, 3, high=5), 13),
        sample(array(1, 3, dtype="bf16"), ints(3, 1, 4, low=-9, dtype="i8"),
               ints(7, high=3, dtype="i32"), 4),
    ),
)  # fmt: skip
def build_grouped_embedding(scale: Tensor, w: Tensor, ids: Tensor, depth: int) -> Tensor:
    """f32[..., depth]: of w [channels, groups, length], times `scale`, the rows of these ids."""
    outer, length = ids.rank, w.shape[2]

    def element(*index: Expr) -> Expr:
        row, k = cast(ids[index[:outer]], I64), index[outer]
        level = cast(w[row, k // length, k % length], F32)
        return level * cast(scale[k // length, row], F32)

    return te.compute((*ids.shape, te.const(depth, I64)), element, te.fresh("rows"))
