"""Convolutions of one, two or three spatial dims as direct sums.

    y[n, o, i…] = bias[o] + Σ_{c, k…} x[n, g c' + c, i s - p + k d …] weight[o, c, k…]

where g is the group of o. Places beyond the edge count as 0; without padding nothing is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ir.types import promote
from tc.ops.contraction import check_sizes, contraction
from tc.ops.dims import fixed, quotient, tidy
from tc.ops.padding import padded
from tc.ops.promotion import compute_type
from tc.ops.reshape import reshaped
from tc.ops.samples import array, sample
from tc.ops.table import Sample


def each(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One number for each spatial dim; a single one stands for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * rank if len(given) == 1 else given


def window_place(
    index: Sequence[Expr],
    taps: Sequence[Expr],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[Expr]:
    """Where in the input each tap of the window at `index` reads."""
    return [
        i * s + k * d - p
        for i, k, s, p, d in zip(index, taps, stride, padding, dilation, strict=True)
    ]


def inside(places: Sequence[Expr], sizes: Sequence[Expr], checked: Sequence[bool]) -> Expr | None:
    """Whether all places that need it are within their sizes; None where none needs it."""
    out: Expr | None = None
    for place, size, needed in zip(places, sizes, checked, strict=True):
        if needed:
            ok = (place >= 0) & (place < size)
            out = ok if out is None else out & ok
    return out


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
) -> Tensor:
    """x (N, C, …) or (C, …) with weight (O, C / groups, …)."""
    rank = weight.rank - 2
    if x.rank == rank + 1:
        batched = reshaped(x, (1, *x.shape))
        out = convolution(batched, weight, bias, stride, padding, dilation, groups)
        return reshaped(out, out.shape[1:])
    strides, pads, steps = (each(v, rank) for v in (stride, padding, dilation))
    kernel = weight.shape[2:]
    per_group = weight.shape[1]
    if groups == 1:
        check_sizes(x.shape[1], per_group, "convolution")
    outputs = fixed(weight.shape[0], "convolution: output channels")
    if outputs % groups:
        raise CompileError(f"convolution: {outputs} channels in {groups} groups; must divide")
    share = outputs // groups
    dtype = promote(x.dtype, weight.dtype)
    inner = compute_type(dtype)
    spatial = [
        tidy(quotient(n + 2 * p - d * (k - 1) - 1, s) + 1)
        for n, k, s, p, d in zip(x.shape[2:], kernel, strides, pads, steps, strict=True)
    ]

    def element(*index: Expr) -> Expr:
        n, o, *at = index
        c = te.reduce_axis(per_group, "c")
        ks = [te.reduce_axis(k, "k") for k in kernel]
        channel: Expr = c if groups == 1 else o // share * per_group + c
        places = window_place(at, ks, strides, pads, steps)
        value = cast(x[(n, channel, *places)], inner)
        ok = inside(places, x.shape[2:], [p > 0 for p in pads])
        if ok is not None:
            value = select(ok, value, Const(0, inner))
        total = te.sum(value * cast(weight[(o, c, *ks)], inner), (c, *ks))
        if bias is not None:
            total = total + cast(bias[o], inner)
        return cast(total, dtype)

    return te.compute((x.shape[0], outputs, *spatial), element, te.fresh("conv"))


def conv_ref(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """The sum, tap by tap."""
    rank = w.ndim - 2
    s, p, d = (each(v, rank) for v in (stride, padding, dilation))
    if x.ndim == rank + 1:
        return conv_ref(x[None], w, b, stride, padding, dilation, groups)[0]
    x = np.pad(x, [(0, 0), (0, 0), *((q, q) for q in p)])
    size = [(n - e * (k - 1) - 1) // t + 1
            for n, k, t, e in zip(x.shape[2:], w.shape[2:], s, d, strict=True)]  # fmt: skip
    out = np.zeros((x.shape[0], w.shape[0], *size))
    xg, wg = np.split(x, groups, 1), np.split(w, groups, 0)
    for tap in np.ndindex(*w.shape[2:]):
        cut: Any = tuple(slice(k * e, k * e + (n - 1) * t + 1, t)
                    for k, e, n, t in zip(tap, d, size, s, strict=True))  # fmt: skip
        cut = (slice(None), slice(None), *cut)
        parts = [np.einsum("nc...,oc->no...", a[cut], v[(slice(None), slice(None), *tap)])
                 for a, v in zip(xg, wg, strict=True)]  # fmt: skip
        out += np.concatenate(parts, 1)
    return out if b is None else out + b.reshape(-1, *[1] * rank)


def _conv_samples(rank: int) -> tuple[Sample, ...]:
    size, kernel = (9, 8, 7)[:rank], (3, 2, 3)[:rank]
    x, w = array(2, 4, *size), array(6, 4, *kernel)
    one = (1,) * rank
    return (
        sample(x, w, array(6), one, (0,) * rank, one, 1),
        sample(x, w, None, (2,), (1,), one, 1),
        sample(x, array(6, 2, *kernel), array(6), (2,) * rank, (2,) * rank, (2,), 2),
        sample(x, array(4, 1, *kernel), array(4), one, one, one, 4),
        sample(array(4, *size), w, array(6), one, (0,), one, 1),
        sample(array(1, 3, *((8,) * rank)), array(5, 3, *((4,) * rank)), array(5), (4,), (0,),
               one, 1),
    )  # fmt: skip


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    return convolution(x, weight, bias, stride, padding, dilation, groups)


for _rank in (1, 2, 3):
    contraction(f"conv{_rank}d", conv_ref, *_conv_samples(_rank))(_conv)


def _padding_of(word: str, weight: Any, dilation: Any) -> tuple[int, ...]:
    """The padding that "valid" or "same" stands for, at both sides; an odd element is left."""
    rank = len(weight.shape) - 2
    if word == "valid":
        return (0,) * rank
    totals = [d * (k - 1) for k, d in zip(_sizes(weight), each(dilation, rank), strict=True)]
    return tuple(t // 2 for t in totals)


def _odd_ends(word: str, weight: Any, dilation: int | Sequence[int]) -> list[int]:
    """Elements that "same" adds at the end of each spatial dim alone."""
    sizes = _sizes(weight)
    dilations = each(dilation, len(sizes))
    return [d * (k - 1) % 2 if word == "same" else 0 for k, d in zip(sizes, dilations, strict=True)]


def sides_of(padding: Any, weight: Any, dilation: Any) -> list[tuple[int, int]]:
    """What a padding, numbers or a word, adds before and after each spatial dim.

    Args:
        weight: what has the shape (O, C / groups, …).
    """
    if isinstance(padding, str):
        pads, ends = _padding_of(padding, weight, dilation), _odd_ends(padding, weight, dilation)
    else:
        pads = each(padding, len(weight.shape) - 2)
        ends = [0] * len(pads)
    return [(p, p + end) for p, end in zip(pads, ends, strict=True)]


def _same_ref(x: Any, w: Any, b: Any, s: Any, word: str, d: Any, g: int) -> Any:
    ends = [(0, n) for n in (*(0,) * (x.ndim + 2 - w.ndim), *_odd_ends(word, w, d))]
    return conv_ref(np.pad(x, ends), w, b, s, _padding_of(word, w, d), d, g)


def _sizes(weight: Any) -> list[int]:
    return [s if isinstance(s, int) else fixed(s, "kernel size") for s in weight.shape[2:]]


@contraction(
    "conv_same",
    _same_ref,
    sample(array(2, 4, 9), array(6, 4, 3), array(6), (1,), "same", (1,), 1),
    sample(array(2, 4, 9, 8), array(6, 4, 3, 2), None, (2,), "valid", (1,), 1),
    sample(array(2, 4, 9, 8), array(6, 4, 3, 4), array(6), (1,), "same", (1,), 1),
    sample(array(4, 6, 7), array(4, 1, 2, 2), None, (1, 1), "same", (2, 3), 4),
    aten=("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding"),
)
def build_conv_same(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution whose padding is a word."""
    pads = _padding_of(padding, weight, dilation)
    ends = _odd_ends(padding, weight, dilation)
    if any(ends):
        x = padded(x, [n for end in reversed(ends) for n in (0, end)])
    return convolution(x, weight, bias, stride, pads, dilation, groups)
