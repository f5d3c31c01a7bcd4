"""Reductions along dims: sums, means, extremes, tests, variance, log-sum-exp.

Integers and bools are summed in i64, half-precision floats in f32. The variance takes two passes,
the mean first, because one pass loses digits where the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Shape, Tensor
from tc.ir.types import BOOL, U8, DType
from tc.ops.casts import NUMPY
from tc.ops.dims import ONE, ZERO, axes_of, product, size_as
from tc.ops.promotion import compute_type, sum_type
from tc.ops.samples import array, bools, ints, sample, special
from tc.ops.table import Builder, Kind, Sample, operator

Dims: TypeAlias = Sequence[int] | int | None
Fold: TypeAlias = Callable[[Expr, Sequence[te.ReduceAxis]], Expr]


def rowwise(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A row of kind ROWWISE for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.ROWWISE,
        reference=reference,
        samples=samples,
    )


def reduced_shape(x: Tensor, axes: Sequence[int], keepdim: bool) -> Shape:
    """The dims of a reduction's result."""
    if keepdim:
        return tuple(ONE if n in axes else s for n, s in enumerate(x.shape))
    return tuple(s for n, s in enumerate(x.shape) if n not in axes)


def folded(
    name: str, x: Tensor, axes: Sequence[int], keepdim: bool, fn: Callable[..., Expr]
) -> Tensor:
    """fn(read, reduce axes) at each point of the result; read() is the element of x."""

    def element(*index: Expr) -> Expr:
        ks = {n: te.reduce_axis(x.shape[n]) for n in axes}
        rest = iter([i for n, i in enumerate(index) if not (keepdim and n in axes)])
        at = tuple(ks[n] if n in ks else next(rest) for n in range(x.rank))
        return fn(x[at], tuple(ks.values()))

    return te.compute(reduced_shape(x, axes, keepdim), element, te.fresh(name))


def along(t: Tensor, index: Sequence[Expr], axes: Sequence[int]) -> Expr:
    """The element of a keepdim statistic `t` that belongs to `index`."""
    return t[tuple(ZERO if n in axes else i for n, i in enumerate(index))]


def _folded_as(name: str, x: Tensor, dim: Dims, keepdim: bool, kind: DType, fold: Fold) -> Tensor:
    axes = axes_of(dim, x.rank, name)
    inner = compute_type(kind)

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        value = cast(value, inner)
        return cast(fold(value, ks) if ks else value, kind)

    return folded(name, x, axes, keepdim, fn)


def summed(
    x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """Σ x over dims."""
    return _folded_as("sum", x, dim, keepdim, dtype or sum_type(x.dtype), te.sum)


def averaged(
    x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """Σ x / n over dims."""
    kind = dtype or x.dtype
    if not kind.is_float:
        raise UnsupportedError(f"mean: of {x.dtype}; give a float dtype")
    axes = axes_of(dim, x.rank, "mean")
    inner = compute_type(kind)
    count = size_as(product([x.shape[n] for n in axes]), inner)

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        value = cast(value, inner)
        return cast((te.sum(value, ks) if ks else value) / count, kind)

    return folded("mean", x, axes, keepdim, fn)


def _axis(dim: Dims) -> Any:
    return None if dim is None or dim == () else dim


def _sum_ref(x: Any, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None) -> Any:
    kind = None if dtype is None else NUMPY[dtype]
    return np.sum(x, _axis(dim), kind, keepdims=keepdim)


_DIMS = (
    (array(3, 5, 7), (-1,), False),
    (array(3, 5, 7), (0, 2), True),
    (array(2, 17), (1,), True),
    (array(0, 3), (1,), False),
    (array(4), (0,), False),
)


@rowwise("sum", lambda x, dtype=None: _sum_ref(x, dtype=dtype), sample(array(3, 5), None),
         sample(ints(17, dtype="i32"), None), sample(array(), None),
         sample(array(0, 3), None))  # fmt: skip
def build_sum(x: Tensor, dtype: DType | None = None) -> Tensor:
    """The sum of all elements."""
    return summed(x, dtype=dtype)


@rowwise(
    "sum_dim",
    _sum_ref,
    *(sample(*args, None) for args in _DIMS),
    sample(ints(3, 5, high=2, dtype="bool"), (1,), False, None),
    sample(array(3, 0), (1,), False, None),
    sample(array(3, 5), None, False, None),
    sample(array(3, 5), (), True, None),
    sample(special(3, 19), (0,), False, None),
    aten=("aten.sum.dim_IntList",),
)
def build_sum_dim(
    x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The sum over dims."""
    return summed(x, dim, keepdim, dtype)


@rowwise("mean", lambda x, dtype=None: np.mean(x), sample(array(3, 5), None), sample(array(), None))
def build_mean(x: Tensor, dtype: DType | None = None) -> Tensor:
    """The mean of all elements."""
    return averaged(x, dtype=dtype)


@rowwise(
    "mean_dim",
    lambda x, dim=None, keepdim=False, dtype=None: np.mean(x, _axis(dim), keepdims=keepdim),
    *(sample(*args, None) for args in _DIMS),
    aten=("aten.mean.dim",),
)
def build_mean_dim(
    x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The mean over dims."""
    return averaged(x, dim, keepdim, dtype)


@rowwise("prod", lambda x, dtype=None: np.prod(x), sample(array(7), None),
         sample(ints(5, low=1), None))  # fmt: skip
def build_prod(x: Tensor, dtype: DType | None = None) -> Tensor:
    """The product of all elements."""
    return _folded_as("prod", x, None, False, dtype or sum_type(x.dtype), te.prod)


@rowwise("prod_dim", lambda x, dim, keepdim=False, dtype=None: np.prod(x, dim, keepdims=keepdim),
         sample(array(3, 5), 1, False, None), sample(array(3, 0), -1, True, None),
         aten=("aten.prod.dim_int",))  # fmt: skip
def build_prod_dim(
    x: Tensor, dim: int, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The product over one dim."""
    return _folded_as("prod", x, dim, keepdim, dtype or sum_type(x.dtype), te.prod)


# --- extremes


@rowwise("amax", lambda x, dim=(), keepdim=False: np.max(x, _axis(dim), keepdims=keepdim),
         *(sample(*args) for args in _DIMS), sample(array(3, 5), (), False),
         sample(ints(3, 5, low=-9), (1,), False), sample(special(3, 19), (0,), False))  # fmt: skip
def build_amax(x: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The greatest element over dims; NaN where there is one."""
    return _folded_as("amax", x, dim, keepdim, x.dtype, te.max)


@rowwise("amin", lambda x, dim=(), keepdim=False: np.min(x, _axis(dim), keepdims=keepdim),
         *(sample(*args) for args in _DIMS), sample(ints(3, 5, low=-9), (1,), False))  # fmt: skip
def build_amin(x: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The least element over dims; NaN where there is one."""
    return _folded_as("amin", x, dim, keepdim, x.dtype, te.min)


@rowwise("max", np.max, sample(array(3, 5)), sample(ints(17, low=-9)))
def build_max(x: Tensor) -> Tensor:
    """The greatest of all elements."""
    return _folded_as("max", x, None, False, x.dtype, te.max)


@rowwise("min", np.min, sample(array(3, 5)), sample(ints(17, low=-9)))
def build_min(x: Tensor) -> Tensor:
    """The least of all elements."""
    return _folded_as("min", x, None, False, x.dtype, te.min)


# --- tests


def _tested(name: str, x: Tensor, dim: Dims, keepdim: bool, fold: Fold) -> Tensor:
    """A fold of what is not zero. The empty list of dims means none here, and bytes give bytes."""
    axes = () if dim == () else axes_of(dim, x.rank, name)
    kind = U8 if x.dtype is U8 else BOOL

    def fn(value: Expr, ks: Sequence[te.ReduceAxis]) -> Expr:
        value = cast(value, BOOL)
        return cast(fold(value, ks) if ks else value, kind)

    return folded(name, x, axes, keepdim, fn)


_TESTED = (
    sample(ints(3, 5, high=2), -1, False), sample(array(3, 0), 1, True),
    sample(ints(3, 5, high=2), (), True), sample(ints(3, 5, high=2, dtype="u8"), (0, 1), False),
)  # fmt: skip


@rowwise("any", np.any, sample(bools(3, 5)), sample(ints(3, 5, high=2)), sample(array(0)),
         sample(ints(17, high=2, dtype="bool")), sample(ints(7, high=2, dtype="u8")),
         aten=("aten.any.default", "aten._is_any_true.default"))  # fmt: skip
def build_any(x: Tensor) -> Tensor:
    """Whether any element is not zero."""
    return _tested("any", x, None, False, te.any)


@rowwise("any_dim", lambda x, dim, keepdim=False: np.any(x, dim, keepdims=keepdim),
         *_TESTED, aten=("aten.any.dim", "aten.any.dims"))  # fmt: skip
def build_any_dim(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over dims is not zero."""
    return _tested("any", x, dim, keepdim, te.any)


@rowwise("all", np.all, sample(bools(3, 5)), sample(ints(3, 5, high=2)), sample(array(0)),
         sample(ints(4, low=1)),
         aten=("aten.all.default", "aten._is_all_true.default"))  # fmt: skip
def build_all(x: Tensor) -> Tensor:
    """Whether no element is zero."""
    return _tested("all", x, None, False, te.all)


@rowwise("all_dim", lambda x, dim, keepdim=False: np.all(x, dim, keepdims=keepdim),
         *_TESTED, aten=("aten.all.dim", "aten.all.dims"))  # fmt: skip
def build_all_dim(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether no element over dims is zero."""
    return _tested("all", x, dim, keepdim, te.all)
