"""Reading images at places that are data: `grid_sample`, and the grids of affine maps.

A grid holds (x, y) or (x, y, z) in [-1, 1]; place 0 is the middle of the first pixel where corners
are aligned, else -1/2 is its edge. Places beyond the image read zeros, the border, or what a
mirror there shows. The arithmetic follows PyTorch's in f32, so that both find the same pixels.
Cubic weights are those of `interpolate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, Let, Var, binary, cast, maximum, minimum, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import I64, DType
from tc.ops.dims import Dim, known, shape_of
from tc.ops.gather import gathering
from tc.ops.interpolate import cubic_weights
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, sample, special
from tc.ops.table import Sample

_LINEAR, _NEAREST, _CUBIC = 0, 1, 2
_ZEROS, _BORDER, _MIRROR = 0, 1, 2
# A place in one dim as a whole number in a float type, with its weight; None is one.
Taps = list[tuple[Expr, Expr | None]]


def _place(x: Expr, size: Expr, aligned: bool) -> Expr:
    """A grid's number as a place between pixels."""
    n = cast(size, x.dtype)
    return (x + 1.0) / 2.0 * (n - 1.0) if aligned else ((x + 1.0) * n - 1.0) / 2.0


def _held(place: Expr, size: Expr, padding: int, aligned: bool) -> Expr:
    """A place brought into the image, where padding is not by zeros."""
    if padding == _ZEROS:
        return place
    last = cast(size - 1, place.dtype)
    if padding == _MIRROR:
        place = _mirrored(place, size, aligned)
    return minimum(last, maximum(place, Const(0, place.dtype)))


def _mirrored(place: Expr, size: Expr, aligned: bool) -> Expr:
    """A place reflected at the middles of the outer pixels, or at their edges."""
    n = cast(size, place.dtype)
    low = 0.0 if aligned else -0.5
    span = n - 1.0 if aligned else n
    away = unary("abs", place - low)
    least = maximum(span, Const(1, place.dtype))  # one pixel shows itself
    flips = unary("floor", away / least)
    rest = away - flips * least
    even = binary("eq", flips - unary("floor", flips / 2.0) * 2.0, Const(0, place.dtype))
    back = select(even, rest + low, least - rest + low)
    return select(span > 0.0, back, Const(0, place.dtype))


def _taps(mode: int, place: Expr, hold: Callable[[Expr], Expr]) -> Taps:
    """The pixels around a place; `hold` brings one into the image."""
    if mode == _NEAREST:
        return [(unary("round", hold(place)), None)]
    if mode == _LINEAR:
        held = hold(place)
        first = unary("floor", held)
        share = held - first
        return [(first, 1.0 - share), (first + 1.0, share)]
    first = unary("floor", place)
    weights = cubic_weights(place - first)
    return [(hold(first + float(n - 1)), w) for n, w in enumerate(weights)]


def _sampled(
    x: Tensor, grid: Tensor, mode: int = 0, padding: int = 0, aligned: bool = False
) -> Tensor:
    dims = x.rank - 2
    if grid.rank != x.rank or known(grid.shape[-1]) not in (None, dims):
        raise CompileError(f"grid_sample: a grid of {grid.rank} dims for {dims} of an image")
    inner = compute_type(x.dtype)
    sizes = x.shape[2:]

    def element(*index: Expr) -> Expr:
        outer, spot = index[:2], index[2:]
        around: list[Taps] = []
        for n, size in enumerate(sizes):
            at = cast(grid[(index[0], *spot, te.wrap(dims - 1 - n))], inner)
            around.append(_around(at, size, mode, padding, aligned))
        if padding != _MIRROR:
            return cast(_weighted(x, outer, sizes, around, inner), x.dtype)
        # Each pixel around has these long expressions, so they are worked out once.
        bound: list[tuple[Var, Expr]] = []
        named = [
            [(_named(p, bound), None if w is None else _named(w, bound)) for p, w in taps]
            for taps in around
        ]
        found = cast(_weighted(x, outer, sizes, named, inner), x.dtype)
        for var, value in reversed(bound):
            found = Let(var, value, found)
        return found

    shape = (*x.shape[:2], *grid.shape[1:-1])
    return te.compute(shape, element, te.fresh("grid_sample"))


def _named(x: Expr, bound: list[tuple[Var, Expr]]) -> Expr:
    """A variable that is to be bound to `x`."""
    var = Var(te.fresh("tap"), x.dtype)
    bound.append((var, x))
    return var


def _within(place: Expr, size: Expr) -> Expr:
    """The pixel of a place; one outside, which counts for nothing, is the nearest.

    That it lies in the image is plain to see, so that nothing checks it while running.
    """
    return maximum(minimum(cast(place, I64), size - 1), Const(0))


def _around(at: Expr, size: Expr, mode: int, padding: int, aligned: bool) -> Taps:
    def hold(place: Expr) -> Expr:
        return _held(place, size, padding, aligned)

    return _taps(mode, _place(at, size, aligned), hold)


def _weighted(
    x: Tensor, outer: Sequence[Expr], sizes: Sequence[Expr], around: Sequence[Taps], inner: DType
) -> Expr:
    """The sum over all combinations of taps; one outside of the image counts as zero."""
    total: Expr | None = None
    for taps in product(*around):
        inside: Expr | None = None
        weight: Expr | None = None
        for (place, share), size in zip(taps, sizes, strict=True):
            last = cast(size - 1, place.dtype)
            ok = binary("and", place >= Const(0, place.dtype), place <= last)
            inside = ok if inside is None else binary("and", inside, ok)
            if share is not None:
                weight = share if weight is None else weight * share
        assert inside is not None
        spot = tuple(_within(place, n) for (place, _), n in zip(taps, sizes, strict=True))
        value = select(inside, cast(x[(*outer, *spot)], inner), Const(0, inner))
        part = value if weight is None else value * weight
        total = part if total is None else total + part
    assert total is not None
    return total


# --- reference


def _ref_hold(place: Any, n: int, padding: int, aligned: bool) -> Any:
    if padding == _MIRROR:
        low, span = (0.0, n - 1) if aligned else (-0.5, n)
        if span == 0:
            return np.zeros_like(place)
        away = np.abs(place - low)
        rest, flips = np.fmod(away, span), np.floor(away / span)
        place = np.where(flips % 2 == 0, rest + low, span - rest + low)
    return place if padding == _ZEROS else np.clip(place, 0, n - 1)


def _ref_taps(mode: int, place: Any, n: int, padding: int, aligned: bool) -> list[tuple[Any, Any]]:
    if mode == _NEAREST:
        return [(np.round(_ref_hold(place, n, padding, aligned)), 1.0)]
    if mode == _LINEAR:
        place = _ref_hold(place, n, padding, aligned)
        first = np.floor(place)
        return [(first, 1 - place + first), (first + 1, place - first)]
    first = np.floor(place)
    weights = cubic_weights(place - first)
    return [
        (_ref_hold(first + k - 1, n, padding, aligned), w) for k, w in enumerate(weights)
    ]  # fmt: skip


def _ref(x: Any, grid: Any, mode: int = 0, padding: int = 0, aligned: bool = False) -> Any:
    sizes = x.shape[2:]
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    around = []
    for k, n in enumerate(sizes):
        at = grid[..., len(sizes) - 1 - k]
        place = (at + 1) / 2 * (n - 1) if aligned else ((at + 1) * n - 1) / 2
        around.append(_ref_taps(mode, place, n, padding, aligned))
    for taps in product(*around):
        inside, weight = np.ones(grid.shape[:-1], bool), np.ones(grid.shape[:-1])
        spots = []
        for (place, share), n in zip(taps, sizes, strict=True):
            inside = inside & (place >= 0) & (place <= n - 1)
            weight = weight * share
            spots.append(np.clip(place, 0, n - 1).astype(int))
        for b in range(x.shape[0]):
            read = x[b][(slice(None), *(s[b] for s in spots))]
            out[b] += np.where(inside[b], read, 0) * weight[b]
    return out


# --- rows


def _samples() -> tuple[Sample, ...]:
    made = [
        sample(array(2, 2, 5, 7), array(2, 2, 3, 2, low=-1.6, high=1.6), mode, padding, aligned)
        for mode, padding, aligned in product((0, 1, 2), (0, 1, 2), (False, True))
    ]
    volume = array(1, 2, 3, 5, 4), array(1, 2, 3, 7, 3, low=-1.6, high=1.6)
    made += [sample(*volume, mode, padding, True) for mode, padding in product((0, 1), (0, 1, 2))]
    one = array(1, 1, 1, 1), array(1, 17, 1, 2, low=-3, high=3)
    made += [sample(*one, 0, padding, True) for padding in (0, 1, 2)]
    made.append(sample(special(1, 1, 4, 5), array(1, 3, 3, 2, low=-1, high=1), 1, 0, False))
    made.append(sample(array(2, 3, 4, 4), array(2, 0, 3, 2), 0, 0, False))
    return tuple(made)


@gathering("grid_sampler", _ref, *_samples(),
           aten=("aten.grid_sampler.default", "aten.grid_sampler_2d.default",
                 "aten.grid_sampler_3d.default"))  # fmt: skip
def build_grid_sampler(
    x: Tensor, grid: Tensor, mode: int = 0, padding: int = 0, aligned: bool = False
) -> Tensor:
    """The image at the places of a grid."""
    return _sampled(x, grid, mode, padding, aligned)


def _affine_ref(theta: Any, size: Sequence[int], aligned: bool) -> Any:
    axes = []
    for n in size[2:]:
        whole = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
        axes.append(whole if aligned else whole * (n - 1) / max(n, 1))
    places = np.meshgrid(*axes, indexing="ij")[::-1]
    base = np.stack([*places, np.ones_like(places[0])], -1)
    return np.einsum("...k,bik->b...i", base, theta)


@rowwise("affine_grid_generator", _affine_ref,
         sample(array(2, 2, 3), (2, 3, 5, 7), False), sample(array(2, 2, 3), (2, 1, 5, 7), True),
         sample(array(1, 3, 4), (1, 2, 3, 5, 4), False),
         sample(array(1, 2, 3), (1, 1, 1, 17), True),
         sample(array(1, 2, 3), (1, 1, 0, 2), False))  # fmt: skip
def build_affine_grid(theta: Tensor, size: Sequence[Dim], aligned: bool) -> Tensor:
    """theta · (x, y, 1) for the places (x, y) of all pixels of an image of that size."""
    spatial = shape_of(size[2:])
    dims, inner = len(spatial), compute_type(theta.dtype)

    def along(i: Expr, n: Expr) -> Expr:
        whole = cast(n, inner)
        if aligned:
            steps = maximum(whole - 1.0, Const(1, inner))
            place = cast(i, inner) * 2.0 / steps - 1.0
        else:
            place = (cast(i, inner) * 2.0 + 1.0) / whole - 1.0
        return select(n > 1, place, Const(0, inner))

    def element(*index: Expr) -> Expr:
        batch, *spot, row = index
        total: Expr = cast(theta[(batch, row, te.wrap(dims))], inner)
        for n in range(dims):
            factor = cast(theta[(batch, row, te.wrap(dims - 1 - n))], inner)
            total = total + factor * along(spot[n], spatial[n])
        return cast(total, theta.dtype)

    return te.compute((theta.shape[0], *spatial, dims), element, te.fresh("affine_grid"))
