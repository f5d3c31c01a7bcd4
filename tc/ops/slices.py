"""Views of a part of a tensor, and operators that put one part in place of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError, UnsupportedError
from tc.ir.expr import Expr, binary, cast, equal, select
from tc.ir.tensor import Tensor
from tc.ops.dims import ONE, Dim, axis_of, ceil_div, clamp_place, fixed, known, larger, tidy
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator
from tc.ops.views import Index, mapped, view

END = (1 << 63) - 1


def slice_bounds(
    size: Expr, start: Dim | None, end: Dim | None, step: int, op: str
) -> tuple[Expr, Expr]:
    """First place and number of the elements that start:end:step takes of `size`."""
    if step < 1:
        raise CompileError(f"{op}: step {step}; give one above 0")
    first = clamp_place(0 if start is None else start, size)
    last = clamp_place(END if end is None else end, size)
    return first, larger(ceil_div(last - first, step), 0)


def sliced(
    x: Tensor, axis: int, start: Dim | None, end: Dim | None, step: int = 1, op: str = "slice"
) -> Tensor:
    """x[..., start:end:step, ...] along one dim."""
    first, count = slice_bounds(x.shape[axis], start, end, step, op)
    return taken(x, axis, first, count, step, op)


def taken(x: Tensor, axis: int, first: Dim, count: Dim, step: int = 1, op: str = "slice") -> Tensor:
    """`count` elements from `first` on along one dim."""
    shape = [count if n == axis else s for n, s in enumerate(x.shape)]

    def place(index: Index) -> list[Expr]:
        return [i * step + first if n == axis else i for n, i in enumerate(index)]

    return mapped(op, x, shape, place)


def _slice_ref(
    x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


@view(
    "slice",
    _slice_ref,
    sample(array(5, 7), 0, 1, 4, 1),
    sample(array(5, 7), 1, -3, END, 1),
    sample(array(5, 7), -1, None, None, 2),
    sample(array(5, 7), 1, 5, 2, 1),
    sample(array(5, 7), 0, 1, -1, 3),
    sample(array(17), 0, -99, 99, 1),
    aten=("aten.slice.Tensor", "aten.slice_copy.Tensor"),
)
def build_slice(
    x: Tensor, dim: int = 0, start: Dim | None = None, end: Dim | None = None, step: int = 1
) -> Tensor:
    """x[..., start:end:step, ...]."""
    return sliced(x, axis_of(dim, x.rank, "slice"), start, end, fixed(step, "slice step"))


@view(
    "narrow",
    lambda x, dim, start, length: _slice_ref(x, dim, start, start + length),
    sample(array(5, 7), 1, 2, 3),
)
def build_narrow(x: Tensor, dim: int, start: Dim, length: Dim) -> Tensor:
    """`length` elements from `start` along one dim."""
    axis = axis_of(dim, x.rank, "narrow")
    return taken(x, axis, _from_front(start, x.shape[axis]), length, 1, "narrow")


def _from_front(index: Dim, size: Expr) -> Expr:
    """An index that may count from the end as one from 0."""
    value = known(index)
    if value is None:
        return tidy(index)
    return tidy(size + value) if value < 0 else tidy(value)


def _check_index(index: Dim, size: Expr, op: str) -> None:
    value, limit = known(index), known(size)
    if value is not None and limit is not None and not -limit <= value < limit:
        raise CompileError(f"{op}: index {value} of a dim of {limit}; give one within it")


@view(
    "select",
    lambda x, dim, index: np.take(x, index, dim),
    sample(array(5, 7), 0, 2),
    sample(array(5, 7, 2), 1, -1),
    sample(array(5), 0, 0),
    aten=("aten.select.int", "aten.select_copy.int"),
)
def build_select(x: Tensor, dim: int, index: Dim) -> Tensor:
    """x[..., index, ...], without that dim."""
    axis = axis_of(dim, x.rank, "select")
    _check_index(index, x.shape[axis], "select")
    at = _from_front(index, x.shape[axis])
    shape = [s for n, s in enumerate(x.shape) if n != axis]
    return mapped("select", x, shape, lambda i: (*i[:axis], at, *i[axis:]))


@view(
    "diagonal",
    np.diagonal,
    sample(array(4, 4), 0, 0, 1),
    sample(array(2, 3, 5), 1, 1, 2),
    sample(array(2, 3, 5), -1, 0, -1),
    aten=("aten.diagonal.default", "aten.diagonal_copy.default"),
)
def build_diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements with dim2 = dim1 + offset, as a last dim."""
    a, b = axis_of(dim1, x.rank, "diagonal"), axis_of(dim2, x.rank, "diagonal")
    down, right = max(-offset, 0), max(offset, 0)
    from_a, from_b = x.shape[a] - down, x.shape[b] - right
    count = larger(te.minimum(tidy(from_a), tidy(from_b)), 0)
    kept = [n for n in range(x.rank) if n not in (a, b)]

    def place(index: Index) -> list[Expr]:
        at = dict(zip(kept, index, strict=False))
        at |= {a: index[-1] + down, b: index[-1] + right}
        return [at[n] for n in range(x.rank)]

    return mapped("diagonal", x, [*(x.shape[n] for n in kept), count], place)


@view(
    "unfold",
    lambda x, dim, size, step: np.lib.stride_tricks.sliding_window_view(x, size, dim)[
        (slice(None),) * (dim % x.ndim) + (slice(None, None, step),)
    ],
    sample(array(3, 9), 1, 3, 2),
    sample(array(7), 0, 7, 1),
)
def build_unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements each `step` along one dim, as a last dim."""
    if x.rank == 0:
        raise UnsupportedError("unfold: of a tensor without dims")
    axis = axis_of(dimension, x.rank, "unfold")
    count = (x.shape[axis] - size) // step + 1
    shape: list[Dim] = [*(tidy(count) if n == axis else s for n, s in enumerate(x.shape)), size]

    def place(index: Index) -> list[Expr]:
        at = list(index[:-1])
        at[axis] = at[axis] * step + index[-1]
        return at

    return mapped("unfold", x, shape, place)


# --- one part in place of another


def _slice_scatter_ref(x: Any, src: Any, dim: int = 0, *bounds: Any) -> Any:
    out = x.copy()
    _slice_ref(out, dim, *bounds)[...] = src
    return out


@operator(
    "slice_scatter",
    aten=("aten.slice_scatter.default",),
    kind=Kind.POINTWISE,
    reference=_slice_scatter_ref,
    samples=(
        sample(array(5, 7), array(5, 3), 1, 1, 4, 1),
        sample(ints(3, 5), ints(3, 4), 1, 1, END, 1),
        sample(array(5, 7), array(2, 7), 0, 1, -1, 2),
        sample(array(5), array(5), 0, None, None, 1),
    ),
)
def build_slice_scatter(
    x: Tensor,
    src: Tensor,
    dim: int = 0,
    start: Dim | None = None,
    end: Dim | None = None,
    step: int = 1,
) -> Tensor:
    """x with x[..., start:end:step, ...] = src."""
    axis = axis_of(dim, x.rank, "slice_scatter")
    first, count = slice_bounds(x.shape[axis], start, end, step, "slice_scatter")

    def element(*index: Expr) -> Expr:
        offset = index[axis] - first
        inside = (first <= index[axis]) & (offset < count * step)
        if step > 1:
            inside = inside & equal(offset % step, 0)
        at = tuple(
            (offset if step == 1 else offset // step) if n == axis and src.shape[n] != ONE else i
            for n, i in enumerate(index)
        )
        return select(inside, cast(src[_kept(src, at)], x.dtype), x[index])

    return te.compute(x.shape, element, te.fresh("slice_scatter"))


def _kept(t: Tensor, index: Sequence[Expr]) -> tuple[Expr, ...]:
    """`index`, at 0 along the dims of `t` that are 1 and stretch."""
    return tuple(te.wrap(0) if s == ONE else i for s, i in zip(t.shape, index, strict=True))


def _slice_write_ref(x: Any, src: Any, dim: int, start: int) -> Any:
    return _slice_scatter_ref(x, src, dim, start, start + src.shape[dim])


@operator(
    "slice_write",
    aten=(),
    kind=Kind.SCATTER,
    reference=_slice_write_ref,
    samples=(
        sample(array(5, 7), array(5, 3), 1, 1),
        sample(array(3, 9, 2), array(3, 1, 2), -2, 8),
        sample(ints(5), ints(5), 0, 0),
    ),
)
def build_slice_write(x: Tensor, src: Tensor, dim: int, start: Dim) -> Tensor:
    """x with the part that begins at `start` along a dim replaced by src.

    As `slice_scatter`, but made for writing in place: only what src covers is touched.
    """
    axis = axis_of(dim, x.rank, "slice_write")

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        at = tuple(i + start if n == axis else i for n, i in enumerate(index))
        return at, cast(src[index], x.dtype)

    # What is written lies within x in every other dim, whatever src says.
    extents = [src.shape[n] if n == axis else size for n, size in enumerate(x.shape)]
    return te.scatter(x, extents, point, name=te.fresh("slice_write"))


def _select_scatter_ref(x: Any, src: Any, dim: int, index: int) -> Any:
    out = x.copy()
    out[(slice(None),) * (dim % x.ndim) + (index,)] = src
    return out


@operator(
    "select_scatter",
    aten=("aten.select_scatter.default",),
    kind=Kind.POINTWISE,
    reference=_select_scatter_ref,
    samples=(
        sample(array(5, 7), array(5), 1, 0),
        sample(ints(3, 5), ints(5), 0, -1),
        sample(array(5), array(), 0, 2),
    ),
)
def build_select_scatter(x: Tensor, src: Tensor, dim: int, index: Dim) -> Tensor:
    """x with x[..., index, ...] = src."""
    axis = axis_of(dim, x.rank, "select_scatter")
    _check_index(index, x.shape[axis], "select_scatter")
    at = _from_front(index, x.shape[axis])

    def element(*place: Expr) -> Expr:
        inner = (*place[:axis], *place[axis + 1 :])
        return select(binary("eq", place[axis], at), cast(src[inner], x.dtype), x[place])

    return te.compute(x.shape, element, te.fresh("select_scatter"))
