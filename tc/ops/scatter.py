"""Operators that write at places which are data.

Writes happen in row-major order of what is written, so the last of several to one place stays,
and sums always add up in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir import monoid as monoids
from tc.ir.expr import Expr, cast
from tc.ir.monoid import Monoid
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, I64, DType
from tc.ops.dims import axis_of
from tc.ops.gather import from_end
from tc.ops.promotion import Number, Operand, number_as
from tc.ops.samples import array, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator


def scattering(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A row of kind SCATTER for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.SCATTER,
        reference=reference,
        samples=samples,
    )


_FOLDS: Final[dict[str, Callable[[DType], Monoid]]] = {
    "add": monoids.sum_of,
    "sum": monoids.sum_of,
    "multiply": monoids.prod_of,
    "prod": monoids.prod_of,
    "amax": monoids.max_of,
    "amin": monoids.min_of,
}


def fold_named(name: str, dtype: DType, op: str) -> Monoid:
    """The monoid that PyTorch calls `name`."""
    if name not in _FOLDS or dtype is BOOL:
        raise UnsupportedError(f"{op}: reduce={name!r} of {dtype}; known are {', '.join(_FOLDS)}")
    return _FOLDS[name](dtype)


def _value(source: Operand, index: Sequence[Expr], dtype: DType) -> Expr:
    if isinstance(source, Tensor):
        return cast(source[tuple(index)] if source.rank else source[()], dtype)
    return number_as(source, dtype)


def _axis(name: str, x: Tensor, dim: int) -> int:
    if x.rank == 0:
        raise UnsupportedError(f"{name}: into a tensor without dims")
    return axis_of(dim, x.rank, name)


def _along(
    name: str, x: Tensor, dim: int, places: Tensor, source: Operand, fold: Monoid | None
) -> Tensor:
    """x with the source written at the points of `places`, whose dim is the place there."""
    axis = _axis(name, x, dim)

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        at = (*index[:axis], cast(places[index], I64), *index[axis + 1 :])
        return at, _value(source, index, x.dtype)

    return te.scatter(x, places.shape, point, fold, name=te.fresh(name))


_UFUNC: Final[dict[str, Any]] = {
    "add": np.add, "sum": np.add, "multiply": np.multiply, "prod": np.multiply,
    "amax": np.maximum, "amin": np.minimum,
}  # fmt: skip


def _along_ref(x: Any, dim: int, places: Any, source: Any, fold: str | None = None, *_: Any) -> Any:
    out = x.copy()
    for point in np.ndindex(*places.shape):
        at = list(point)
        at[dim] = places[point]
        value = source[point] if np.ndim(source) else source
        spot = tuple(at)
        out[spot] = value if fold is None else _UFUNC[fold](out[spot], value)
    return out


@scattering(
    "scatter",
    _along_ref,
    sample(array(3, 7), 1, ints(3, 1, high=7), array(3, 1)),
    sample(array(5, 4), 0, ints(1, 4, high=5), 1.5),
    sample(ints(5), -1, ints(1, high=5), 1),
    aten=("aten.scatter.src", "aten.scatter.value"),
)
def build_scatter(x: Tensor, dim: int, places: Tensor, source: Operand) -> Tensor:
    """x with x[place] = source along a dim."""
    return _along("scatter", x, dim, places, source, None)


@scattering(
    "scatter_fold",
    _along_ref,
    sample(array(3, 7), 1, ints(3, 5, high=7), array(3, 5), "add"),
    sample(array(5, 4), 0, ints(2, 4, high=5), 1.5, "multiply"),
    aten=("aten.scatter.reduce", "aten.scatter.value_reduce"),
)
def build_scatter_fold(x: Tensor, dim: int, places: Tensor, source: Operand, fold: str) -> Tensor:
    """x with the source added or multiplied in along a dim."""
    return _along("scatter", x, dim, places, source, fold_named(fold, x.dtype, "scatter"))


@scattering(
    "scatter_add",
    lambda x, dim, places, source: _along_ref(x, dim, places, source, "add"),
    sample(array(3, 7), 1, ints(3, 5, high=7), array(3, 5)),
    sample(ints(3), 0, ints(9, high=3), ints(9)),
)
def build_scatter_add(x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
    """x with the source added in along a dim."""
    return _along("scatter_add", x, dim, places, source, fold_named("add", x.dtype, "scatter_add"))


@scattering(
    "scatter_reduce",
    _along_ref,
    *(
        sample(array(3, 7), 1, ints(3, 5, high=7), array(3, 5), fold, True)
        for fold in ("sum", "prod", "amax", "amin")
    ),
    aten=("aten.scatter_reduce.two",),
)
def build_scatter_reduce(
    x: Tensor, dim: int, places: Tensor, source: Tensor, fold: str, include_self: bool = True
) -> Tensor:
    """x with the source folded in along a dim."""
    if not include_self:
        raise UnsupportedError("scatter_reduce: include_self=False")
    return _along("scatter", x, dim, places, source, fold_named(fold, x.dtype, "scatter_reduce"))


# --- whole slices


def _slices(
    name: str,
    x: Tensor,
    dim: int,
    places: Tensor,
    value: Callable[..., Expr],
    fold: Monoid | None,
    negative: bool = False,
) -> Tensor:
    """x with the slices at `places` along a dim written; value(index) is what is written.

    Args:
        negative: places below zero count from the end.
    """
    axis = _axis(name, x, dim)
    count = places.shape[0] if places.rank else te.wrap(1)
    extents = [count if n == axis else s for n, s in enumerate(x.shape)]

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        place = cast(places[(index[axis],)] if places.rank else places[()], I64)
        if negative:
            place = from_end(place, x.shape[axis])
        return (*index[:axis], place, *index[axis + 1 :]), value(*index)

    return te.scatter(x, extents, point, fold, name=te.fresh(name))


def _slices_ref(x: Any, dim: int, places: Any, source: Any, alpha: float | None = None) -> Any:
    out = np.moveaxis(x.copy(), dim, 0)
    parts = np.moveaxis(np.broadcast_to(source, _cut(x, dim, places)), dim, 0)
    for n, place in enumerate(places):
        out[place] = parts[n] if alpha is None else out[place] + alpha * parts[n]
    return np.moveaxis(out, 0, dim)


def _cut(x: Any, dim: int, places: Any) -> tuple[int, ...]:
    shape = list(x.shape)
    shape[dim] = len(places)
    return tuple(shape)


@scattering(
    "index_copy",
    _slices_ref,
    sample(array(5, 7), 1, ints(1, high=7), array(5, 1)),
    sample(ints(5, 3), 0, ints(0, high=5), ints(0, 3)),
)
def build_index_copy(x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
    """x with the slices at `places` along a dim replaced."""

    def value(*index: Expr) -> Expr:
        return _value(source, index, x.dtype)

    return _slices("index_copy", x, dim, places, value, None)


@scattering(
    "index_add",
    lambda x, dim, places, source, alpha=1: _slices_ref(x, dim, places, source, alpha),
    sample(array(5, 7), 1, ints(4, high=7), array(5, 4), 1),
    sample(array(5, 3), 0, ints(9, high=5), array(9, 3), -0.5),
)
def build_index_add(
    x: Tensor, dim: int, places: Tensor, source: Tensor, alpha: Number = 1
) -> Tensor:
    """x with alpha times the source added to the slices at `places` along a dim."""

    def value(*index: Expr) -> Expr:
        part = _value(source, index, x.dtype)
        return part if alpha == 1 else part * number_as(alpha, x.dtype)

    return _slices("index_add", x, dim, places, value, monoids.sum_of(x.dtype))


@scattering(
    "index_fill",
    _slices_ref,
    sample(array(5, 7), 1, ints(4, high=7), 2.5),
    sample(ints(5), 0, ints(2, low=-5, high=5), 1),
    aten=("aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor"),
)
def build_index_fill(x: Tensor, dim: int, places: Tensor, value: Operand) -> Tensor:
    """x with the slices at `places` along a dim filled."""

    def fill(*_: Expr) -> Expr:
        return _value(value, (), x.dtype)

    return _slices("index_fill", x, dim, places, fill, None, negative=True)
