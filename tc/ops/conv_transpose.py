"""Transposed convolutions, the gradient of a convolution to its input, as direct sums.

    y[n, o, i…] = bias[o] + Σ_{c, k…} x[n, c, (i + p - k d) / s …] weight[c, o, k…]

over the taps where the division is exact and the place lies within x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, cast, equal, select
from tc.ir.tensor import Tensor
from tc.ir.types import promote
from tc.ops.contraction import contraction
from tc.ops.conv import conv_ref, convolution, each, inside
from tc.ops.dims import fixed, tidy
from tc.ops.promotion import compute_type
from tc.ops.samples import array, sample


def transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    output_padding: int | Sequence[int],
    groups: int,
    dilation: int | Sequence[int],
) -> Tensor:
    """The gradient of a convolution to its input: x (N, C, …), weight (C, O / groups, …)."""
    rank = weight.rank - 2
    if x.rank == rank + 1:
        raise UnsupportedError("conv_transpose: of an input without a batch dim; unsqueeze it")
    strides, pads, extra, steps = (
        each(v, rank) for v in (stride, padding, output_padding, dilation)
    )
    kernel = weight.shape[2:]
    share = fixed(weight.shape[1], "conv_transpose: output channels")
    per_group = fixed(weight.shape[0], "conv_transpose: input channels") // groups
    dtype = promote(x.dtype, weight.dtype)
    inner = compute_type(dtype)
    spatial = [
        tidy((n - 1) * s - 2 * p + d * (k - 1) + e + 1)
        for n, k, s, p, d, e in zip(x.shape[2:], kernel, strides, pads, steps, extra, strict=True)
    ]

    def element(*index: Expr) -> Expr:
        n, o, *at = index
        c = te.reduce_axis(per_group, "c")
        ks = [te.reduce_axis(k, "k") for k in kernel]
        channel = c if groups == 1 else o // share * per_group + c
        scaled = [i + p - k * d for i, k, p, d in zip(at, ks, pads, steps, strict=True)]
        places = [i if s == 1 else i // s for i, s in zip(scaled, strides, strict=True)]
        ok = inside(places, x.shape[2:], [True] * rank)
        assert ok is not None
        for i, s in zip(scaled, strides, strict=True):
            ok = ok if s == 1 else ok & equal(i % s, 0)
        value = select(ok, cast(x[(n, channel, *places)], inner), Const(0, inner))
        total = te.sum(
            value * cast(weight[(channel, o if groups == 1 else o % share, *ks)], inner),
            (c, *ks),
        )
        if bias is not None:
            total = total + cast(bias[o], inner)
        return cast(total, dtype)

    return te.compute((x.shape[0], share * groups, *spatial), element, te.fresh("conv"))


def transpose_ref(x: Any, w: Any, b: Any, s: Any, p: Any, e: Any, g: int, d: Any) -> Any:
    """Each element of x spread over its window."""
    rank = w.ndim - 2
    s, p, e, d = (each(v, rank) for v in (s, p, e, d))
    full = [(n - 1) * t + f * (k - 1) + 1 + q
            for n, k, t, f, q in zip(x.shape[2:], w.shape[2:], s, d, e, strict=True)]  # fmt: skip
    out = np.zeros((x.shape[0], w.shape[1] * g, *full))
    for tap in np.ndindex(*w.shape[2:]):
        cut = tuple(slice(k * f, k * f + (n - 1) * t + 1, t)
                    for k, f, n, t in zip(tap, d, x.shape[2:], s, strict=True))  # fmt: skip
        parts = [np.einsum("nc...,co->no...", a, v[(slice(None), slice(None), *tap)])
                 for a, v in zip(np.split(x, g, 1), np.split(w, g, 0), strict=True)]  # fmt: skip
        out[(slice(None), slice(None), *cut)] += np.concatenate(parts, 1)
    inner = [slice(q, n - q) for q, n in zip(p, full, strict=True)]
    out = out[(slice(None), slice(None), *inner)]
    return out if b is None else out + b.reshape(-1, *[1] * rank)


@contraction(
    "conv_transpose",
    transpose_ref,
    sample(array(2, 4, 5), array(4, 3, 3), array(3), (2,), (1,), (1,), 1, (1,)),
    sample(array(2, 4, 5), array(4, 3, 3), None, (1,), (0,), (0,), 2, (2,)),
    aten=("aten.conv_transpose1d.default", "aten.conv_transpose2d.input",
          "aten.conv_transpose3d.input"),
)  # fmt: skip
def build_conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """A transposed convolution."""
    return transposed(x, weight, bias, stride, padding, output_padding, groups, dilation)


@contraction(
    "convolution",
    lambda x, w, b, s, p, d, t, e, g: (
        transpose_ref(x, w, b, s, p, e, g, d) if t else conv_ref(x, w, b, s, p, d, g)
    ),
    sample(
        array(2, 4, 9, 8), array(6, 2, 3, 2), array(6), (2, 1), (1, 0), (1, 1), False, (0, 0), 2
    ),
    sample(array(2, 4, 5), array(4, 3, 3), array(3), (2,), (1,), (1,), True, (1,), 1),
)
def build_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    is_transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """A convolution or a transposed one."""
    if is_transposed:
        return transposed(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return convolution(x, weight, bias, stride, padding, dilation, groups)
