"""Operators that move the elements of images: pixels into channels and back, larger copies.

The last two dims are height and width, the one before holds the channels. Everything here is an
index map; what interpolates between pixels is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc.errors import CompileError, UnsupportedError
from tc.ir.expr import Expr
from tc.ir.tensor import Tensor
from tc.ops.dims import Dim, quotient, same, tidy
from tc.ops.samples import array, sample
from tc.ops.views import Index, mapped, view

# One over each of these is rounded such that PyTorch's float arithmetic finds the exact place.
_LARGEST_SCALE = 8


def _image(x: Tensor, op: str) -> None:
    if x.rank < 3:
        raise CompileError(f"{op}: {x.rank} dims; give channels, height and width")


def _shuffle_ref(x: Any, r: int) -> Any:
    *outer, c, h, w = x.shape
    parts = x.reshape(*outer, c // (r * r), r, r, h, w)
    return np.moveaxis(parts, (-4, -3), (-3, -1)).reshape(*outer, c // (r * r), h * r, w * r)


@view("pixel_shuffle", _shuffle_ref, sample(array(2, 8, 3, 5), 2), sample(array(9, 1, 2), 3))
def build_pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Each r² channels spread over r x r pixels."""
    _image(x, "pixel_shuffle")
    r = upscale_factor
    *outer, c, h, w = x.shape

    def place(index: Index) -> list[Expr]:
        *first, k, i, j = index
        return [*first, k * (r * r) + (i % r) * r + j % r, i // r, j // r]

    return mapped("pixel_shuffle", x, (*outer, quotient(c, r * r), h * r, w * r), place)


def _unshuffle_ref(x: Any, r: int) -> Any:
    *outer, c, h, w = x.shape
    parts = x.reshape(*outer, c, h // r, r, w // r, r)
    return np.moveaxis(parts, (-3, -1), (-4, -3)).reshape(*outer, c * r * r, h // r, w // r)


@view("pixel_unshuffle", _unshuffle_ref, sample(array(2, 3, 4, 6), 2), sample(array(1, 3, 6), 3))
def build_pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """Each r x r pixels as r² channels."""
    _image(x, "pixel_unshuffle")
    r = downscale_factor
    *outer, c, h, w = x.shape

    def place(index: Index) -> list[Expr]:
        *first, k, i, j = index
        return [*first, k // (r * r), i * r + k // r % r, j * r + k % r]

    return mapped(
        "pixel_unshuffle", x, (*outer, c * (r * r), quotient(h, r), quotient(w, r)), place
    )


def _channels_ref(x: Any, groups: int) -> Any:
    n, c, *rest = x.shape
    return np.swapaxes(x.reshape(n, groups, c // groups, *rest), 1, 2).reshape(x.shape)


@view("channel_shuffle", _channels_ref, sample(array(2, 6, 3, 5), 2), sample(array(1, 6, 4), 3))
def build_channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel k of group g at k * groups + g."""
    _image(x, "channel_shuffle")
    each = quotient(x.shape[1], groups)

    def place(index: Index) -> list[Expr]:
        n, k, *rest = index
        return [n, (k % groups) * each + k // groups, *rest]

    return mapped("channel_shuffle", x, x.shape, place)


def _nearest_ref(x: Any, size: Any = None, scales: Any = None) -> Any:
    spatial = x.shape[2:]
    times = scales or [out / n for out, n in zip(size, spatial, strict=True)]
    for axis, factor in enumerate(times, 2):
        x = np.repeat(x, int(factor), axis)
    return x


@view(
    "upsample_nearest",
    _nearest_ref,
    sample(array(2, 3, 4, 5), None, (2.0, 3.0)),
    sample(array(1, 2, 3, 1), (6, 1), None),
    sample(array(1, 2, 7), None, (4.0,)),
    sample(array(1, 1, 2, 3, 2), None, (2.0, 1.0, 7.0)),
    aten=("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec",
          "aten.upsample_nearest3d.vec"),
    otherwise="interpolate_nearest",
)  # fmt: skip
def build_upsample_nearest(
    x: Tensor, output_size: Sequence[Dim] | None, scale_factors: Sequence[float] | None
) -> Tensor:
    """Every pixel repeated a whole number of times along each dim; see `interpolate` for others."""
    spatial = x.shape[2:]
    if scale_factors is not None:
        times = [_whole(float(factor)) for factor in scale_factors]
    else:
        assert output_size is not None
        times = [_ratio(out, n) for out, n in zip(output_size, spatial, strict=True)]
    shape = [*x.shape[:2], *(tidy(n * k) for n, k in zip(spatial, times, strict=True))]

    def place(index: Index) -> list[Expr]:
        near = (i // k for i, k in zip(index[2:], times, strict=True))
        return [*index[:2], *near]

    return mapped("upsample_nearest", x, shape, place)


def _whole(factor: float) -> int:
    if factor not in range(1, _LARGEST_SCALE + 1):
        raise UnsupportedError(
            f"upsample_nearest: by {factor}; whole factors up to {_LARGEST_SCALE} only"
        )
    return int(factor)


def _ratio(out: Dim, size: Expr) -> int:
    for factor in range(1, _LARGEST_SCALE + 1):
        if same(out, size * factor):
            return factor
    raise UnsupportedError(
        f"upsample_nearest: from {size} to {out}; whole factors up to {_LARGEST_SCALE} only"
    )
