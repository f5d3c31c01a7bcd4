"""Interpolation of images and the like: nearest, linear and cubic, in one to three dims.

Where an output lies in the input is worked out in f32, as PyTorch does, so that both round alike:
with corners aligned at i (n - 1) / (m - 1), else at (i + 1/2) s - 1/2, where s is one over the
factor that was given, or n / m. Cubic weights are those of Keys, "Cubic convolution interpolation
for digital image processing" (1981), with a = -0.75. Images in bytes and smoothing before an image
is made smaller are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.frozen import frozen
from tc.ir.expr import Const, Expr, cast, maximum, minimum, unary
from tc.ir.tensor import Tensor
from tc.ir.types import F32, F64, I64, DType
from tc.ops.dims import Dim, known, same, tidy
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, sample
from tc.ops.table import Kind, Sample, operator

Sizes = Sequence[Dim] | None
Factors = Sequence[float] | None
# Places along one dim with the weight of each; a weight of None is one.
Taps = list[tuple[Expr, Expr | None]]


@frozen
class Axis:
    """One dim: its size before and after, the factor that was given, and where numbers count."""

    size: Expr
    out: Expr
    factor: float | None
    aligned: bool
    type: DType

    @property
    def step(self) -> Expr:
        """How far apart two outputs are in the input."""
        if self.aligned:
            if same(self.out, 1):
                return Const(0, self.type)
            whole = cast(self.size - 1, self.type), cast(maximum(self.out - 1, 1), self.type)
            return whole[0] / whole[1]
        if self.factor is not None and self.factor > 0:
            return Const(float(_rounded(1.0 / self.factor, self.type)), self.type)
        return cast(self.size, self.type) / cast(self.out, self.type)

    def place(self, index: Expr) -> Expr:
        """Where an output lies in the input."""
        at = cast(index, self.type)
        if self.aligned:
            return self.step * at
        return self.step * (at + 0.5) - 0.5

    def within(self, place: Expr) -> Expr:
        """A place held within the dim."""
        return maximum(minimum(place, self.size - 1), 0)


def _rounded(value: float, dtype: DType) -> Any:
    return np.float32(value) if dtype is F32 else np.float64(value)


def _axes(x: Tensor, sizes: Sizes, factors: Factors, aligned: bool) -> list[Axis]:
    kind = F64 if x.dtype is F64 else F32
    spatial = x.shape[2:]
    given: Sequence[float | None] = [None] * len(spatial) if factors is None else list(factors)
    out = [_scaled(n, f) for n, f in zip(spatial, given, strict=True)] if sizes is None else sizes
    return [
        Axis(n, tidy(m), None if f is None else float(f), aligned, kind)
        for n, m, f in zip(spatial, out, given, strict=True)
    ]


def _scaled(size: Expr, factor: float | None) -> Dim:
    """The size that a factor makes of one, rounded down."""
    assert factor is not None
    number = known(size)
    if number is not None:
        return int(number * float(factor))
    if factor != int(factor):
        raise UnsupportedError(f"interpolate: by {factor} of a size that is not a number")
    return size * int(factor)


# --- kinds


def _nearest(axis: Axis, index: Expr) -> Taps:
    if same(axis.out, axis.size):
        return [(index, None)]
    if same(axis.out, axis.size * 2):
        return [(index // 2, None)]
    at = cast(unary("floor", cast(index, axis.type) * axis.step), I64)
    return [(axis.within(at), None)]


def _nearest_exact(axis: Axis, index: Expr) -> Taps:
    at = unary("floor", (cast(index, axis.type) + 0.5) * axis.step)
    return [(axis.within(cast(at, I64)), None)]


def _linear(axis: Axis, index: Expr) -> Taps:
    if same(axis.out, axis.size):
        return [(index, None)]
    at = maximum(axis.place(index), Const(0, axis.type))
    first = axis.within(cast(unary("floor", at), I64))
    share = minimum(at - cast(first, axis.type), Const(1, axis.type))
    return [(first, 1 - share), (axis.within(first + 1), share)]


def _cubic(axis: Axis, index: Expr) -> Taps:
    at = axis.place(index)
    low, high = Const(0, axis.type), Const(1, axis.type)
    first = minimum(cast(unary("floor", at), I64), axis.size - 1)
    t = minimum(maximum(at - cast(first, axis.type), low), high)
    weights = cubic_weights(t)
    return [(axis.within(first + (n - 1)), w) for n, w in enumerate(weights)]


_A = -0.75


def cubic_weights(t: Any) -> tuple[Any, Any, Any, Any]:
    """The weights of the four places around one that lies `t` behind the second of them."""
    return _far(t + 1), _near(t), _near(1 - t), _far(2 - t)


def _near(t: Any) -> Any:
    return ((_A + 2) * t - (_A + 3)) * t * t + 1


def _far(t: Any) -> Any:
    return ((_A * t - 5 * _A) * t + 8 * _A) * t - 4 * _A


def interpolated(x: Tensor, axes: Sequence[Axis], taps: Callable[[Axis, Expr], Taps]) -> Tensor:
    """The weighted sum of the elements of x around each place, dim by dim."""
    if not x.dtype.is_float:
        raise UnsupportedError(f"interpolate: of {x.dtype}; floats only")
    inner = compute_type(x.dtype)

    def element(*index: Expr) -> Expr:
        around = [taps(a, i) for a, i in zip(axes, index[2:], strict=True)]

        def summed(dims: int, places: tuple[Expr, ...]) -> Expr:
            if dims == len(axes):
                return cast(x[(*index[:2], *places)], inner)
            total: Expr | None = None
            for place, weight in around[dims]:
                part = summed(dims + 1, (*places, place))
                part = part if weight is None else cast(weight, inner) * part
                total = part if total is None else total + part
            assert total is not None
            return total

        return cast(summed(0, ()), x.dtype)

    shape = (*x.shape[:2], *(a.out for a in axes))
    return te.compute(shape, element, te.fresh("interpolate"))


# --- references


def _reference(kind: str) -> Callable[..., Any]:
    def fn(x: Any, sizes: Any, *rest: Any) -> Any:
        aligned, factors = rest if len(rest) == 2 else (False, *rest)
        for n, axis in enumerate(range(2, x.ndim)):
            f = None if factors is None else factors[n]
            x = _reference_axis(x, axis, sizes[n] if sizes else int(x.shape[axis] * f), f,
                                aligned, kind)  # fmt: skip
        return x

    return fn


def _reference_axis(x: Any, axis: int, out: int, factor: Any, aligned: bool, kind: str) -> Any:
    n, i = x.shape[axis], np.arange(out)
    step = (n - 1) / max(out - 1, 1) if aligned else 1 / factor if factor else n / out
    at = step * i if aligned else step * (i + 0.5) - 0.5
    if kind == "nearest":
        return np.take(x, np.minimum(np.floor(i * step), n - 1).astype(int), axis)
    if kind == "exact":
        return np.take(x, np.minimum(np.floor((i + 0.5) * step), n - 1).astype(int), axis)
    at = np.maximum(at, 0) if kind == "linear" else at
    first = np.floor(at).astype(int)
    t = at - first
    weights = (1 - t, t) if kind == "linear" else cubic_weights(t)
    total = 0.0
    for k, w in enumerate(weights):
        place = np.clip(first + k - (len(weights) // 2 - 1), 0, n - 1)
        total = total + np.take(x, place, axis) * w.reshape(-1, *[1] * (x.ndim - 1 - axis))
    return total


# --- rows

_SHAPE = (5, 7, 4)


def _samples(rank: int, corners: bool) -> tuple[Sample, ...]:
    x = array(2, 3, *_SHAPE[:rank])
    more: Sequence[tuple[bool, ...]] = ((False,), (True,)) if corners else ((),)
    found = [
        sample(x, sizes, *aligned, None)
        for sizes, aligned in product(((11, 3, 4)[:rank], (1, 7, 17)[:rank]), more)
    ]
    one = array(1, 1, *(1,) * rank)
    return (
        *found,
        sample(x, None, *more[-1], (2.0,) * rank),
        sample(one, None, *more[0], (3.0,) * rank),
    )


def _enter(name: str, rank: int, kind: str, taps: Callable[[Axis, Expr], Taps]) -> None:
    """The row of one kind with weights in so many dims."""

    def build(x: Tensor, sizes: Sizes, aligned: bool, factors: Factors) -> Tensor:
        return interpolated(x, _axes(x, sizes, factors, aligned), taps)

    aten = (f"aten.{name}.vec",)
    rowwise(name, _reference(kind), *_samples(rank, True), aten=aten)(build)


for _rank, _name in ((1, "linear1d"), (2, "bilinear2d"), (3, "trilinear3d")):
    _enter(f"upsample_{_name}", _rank, "linear", _linear)
_enter("upsample_bicubic2d", 2, "cubic", _cubic)


def _enter_nearest(
    name: str, aten: tuple[str, ...], kind: str, taps: Callable[[Axis, Expr], Taps]
) -> None:
    """The row of one kind without weights."""

    def build(x: Tensor, sizes: Sizes, factors: Factors) -> Tensor:
        return interpolated(x, _axes(x, sizes, factors, False), taps)

    samples = tuple(s for rank in (1, 2, 3) for s in _samples(rank, False))
    operator(name, aten=aten, kind=Kind.ROWWISE, reference=_reference(kind), samples=samples)(build)


_exact = tuple(f"aten._upsample_nearest_exact{rank}d.vec" for rank in (1, 2, 3))
_enter_nearest("interpolate_nearest_exact", _exact, "exact", _nearest_exact)
_enter_nearest("interpolate_nearest", (), "nearest", _nearest)
