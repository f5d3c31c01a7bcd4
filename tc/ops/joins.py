"""Operators that put tensors together or cut one into several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ops.dims import (
    ZERO,
    Dim,
    axis_of,
    broadcast,
    fixed,
    known,
    quotient,
    same,
    shape_of,
    tidy,
)
from tc.ops.promotion import result_type
from tc.ops.samples import array, ints, sample
from tc.ops.slices import build_select, taken
from tc.ops.views import Index, build_unsqueeze, expanded, mapped, view


def joined(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """The tensors one after the other along a dim, in their promoted type."""
    dtype = result_type(tensors)
    ends: list[Expr] = []
    total: Expr = ZERO
    for t in tensors:
        total = tidy(total + t.shape[axis])
        ends.append(total)
    shape = [total if n == axis else s for n, s in enumerate(tensors[0].shape)]

    def element(*index: Expr) -> Expr:
        starts = [ZERO, *ends[:-1]]

        def part(n: int) -> Expr:
            at = (*index[:axis], index[axis] - starts[n], *index[axis + 1 :])
            return cast(tensors[n][at], dtype)

        out = part(len(tensors) - 1)
        for n in reversed(range(len(tensors) - 1)):
            out = select(index[axis] < ends[n], part(n), out)
        return out

    return te.compute(shape_of(shape), element, te.fresh("cat"))


def _cat_ref(tensors: Any, dim: int = 0) -> Any:
    kept = [t for t in tensors if t.shape != (0,)]
    return np.concatenate(kept or tensors, dim)


@view(
    "cat",
    _cat_ref,
    sample((array(3, 5), array(3, 2)), -1),
    sample((array(2, 4, 3, 8), array(2, 4, 1, 8)), -2),
    sample((array(3), array(4), array(5)), 0),
    sample((array(0), array(4, 2)), 0),
    sample((array(0, 2), array(4, 2)), 0),
    sample((ints(3), array(4)), 0),
    sample((array(7),), 0),
    aten=("aten.cat.default", "aten.concat.default", "aten.concatenate.default"),
)
def build_cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; empty ones of one dim are left out."""
    dtype = result_type(tensors)
    kept = [t for t in tensors if t.rank != 1 or known(t.shape[0]) != 0] or list(tensors)
    if len({t.rank for t in kept}) != 1:
        raise CompileError(f"cat: ranks {[t.rank for t in kept]}; all need the same")
    out = joined(kept, axis_of(dim, kept[0].rank, "cat"))
    if out.dtype is dtype:
        return out
    return te.compute(out.shape, lambda *i: cast(out[i], dtype), te.fresh("cat"))


@view(
    "stack",
    lambda tensors, dim=0: np.stack(tensors, dim),
    sample((array(3, 5), array(3, 5)), 0),
    sample((array(3, 5), array(3, 5), array(3, 5)), -1),
    sample((array(), array()), 0),
)
def build_stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors side by side along a new dim."""
    at = axis_of(dim, tensors[0].rank + 1, "stack")
    return joined([build_unsqueeze(t, at) for t in tensors], at)


# --- cutting


def _pieces(x: Tensor, axis: int, sizes: Sequence[Dim], op: str) -> tuple[Tensor, ...]:
    out: list[Tensor] = []
    start: Expr = ZERO
    for size in sizes:
        out.append(taken(x, axis, start, size, 1, op))
        start = tidy(start + size)
    return tuple(out)


def _even(total: int, size: int) -> list[int]:
    """Sizes of pieces of `size`, the last one perhaps smaller."""
    if total == 0:
        return [0]
    return [min(size, total - at) for at in range(0, total, size)]


def _length(x: Tensor, axis: int, op: str) -> int:
    return fixed(x.shape[axis], f"{op}: the dim {axis} that is cut")


def _split_ref(x: Any, size: int, dim: int = 0) -> Any:
    return tuple(np.split(x, np.cumsum(_even(x.shape[dim], size))[:-1], dim))


@view(
    "split",
    _split_ref,
    sample(array(3, 9), 3, 1),
    sample(array(3, 8), 3, -1),
    sample(array(4), 4, 0),
    aten=("aten.split.Tensor",),
)
def build_split(x: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """x in pieces of `split_size` along a dim of known size."""
    axis = axis_of(dim, x.rank, "split")
    return _pieces(x, axis, _even(_length(x, axis, "split"), split_size), "split")


@view(
    "split_with_sizes",
    lambda x, sizes, dim=0: tuple(np.split(x, np.cumsum(sizes)[:-1], dim)),
    sample(array(3, 9), (2, 3, 4), 1),
    sample(array(4), (0, 4), 0),
    aten=("aten.split_with_sizes.default", "aten.split.sizes",
          "aten.split_with_sizes_copy.default"),
)  # fmt: skip
def build_split_with_sizes(x: Tensor, sizes: Sequence[Dim], dim: int = 0) -> tuple[Tensor, ...]:
    """x in pieces of the given sizes."""
    return _pieces(x, axis_of(dim, x.rank, "split"), sizes, "split")


def _chunks(total: int, chunks: int) -> list[int]:
    size = -(-total // chunks)
    return [0] * chunks if total == 0 else _even(total, size)


@view(
    "chunk",
    lambda x, n, dim=0: tuple(np.split(x, np.cumsum(_chunks(x.shape[dim], n))[:-1], dim)),
    sample(array(3, 8), 2, -1),
    sample(array(7, 2), 3, 0),
    sample(array(5), 4, 0),
)
def build_chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """x in at most `chunks` pieces of one size, the last perhaps smaller.

    A dim of free size must be a multiple of `chunks`, for else their number follows from it.
    """
    axis = axis_of(dim, x.rank, "chunk")
    length = x.shape[axis]
    size = quotient(length, chunks)
    if known(length) is None and same(size * chunks, length):
        return _pieces(x, axis, [size] * chunks, "chunk")
    return _pieces(x, axis, _chunks(_length(x, axis, "chunk"), chunks), "chunk")


@view(
    "tensor_split",
    lambda x, n, dim=0: tuple(np.array_split(x, n, dim)),
    sample(array(3, 8), 3, 1),
    aten=("aten.tensor_split.sections",),
)
def build_tensor_split(x: Tensor, sections: int, dim: int = 0) -> tuple[Tensor, ...]:
    """x in `sections` pieces whose sizes differ by at most one."""
    axis = axis_of(dim, x.rank, "tensor_split")
    size, more = divmod(_length(x, axis, "tensor_split"), sections)
    sizes = [size + (n < more) for n in range(sections)]
    return _pieces(x, axis, sizes, "tensor_split")


@view(
    "unbind",
    lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)),
    sample(array(3, 5), 0),
    sample(array(3, 4), -1),
    aten=("aten.unbind.int",),
)
def build_unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along a dim of known size."""
    axis = axis_of(dim, x.rank, "unbind")
    return tuple(build_select(x, axis, n) for n in range(_length(x, axis, "unbind")))


def _grid(tensors: Sequence[Tensor], indexing: str) -> tuple[Tensor, ...]:
    order = list(range(len(tensors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    shape: list[Expr] = [ZERO] * len(tensors)
    for n, t in enumerate(tensors):
        shape[order[n]] = t.shape[0] if t.rank else tidy(1)

    def one(n: int) -> Tensor:
        def place(index: Index) -> Index:
            return (index[order[n]],) if tensors[n].rank else ()

        return mapped("meshgrid", tensors[n], shape, place)

    return tuple(one(n) for n in range(len(tensors)))


@view(
    "meshgrid",
    lambda ts: tuple(np.meshgrid(*ts, indexing="ij")),
    sample((array(3), array(5))),
)
def build_meshgrid(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The coordinates of a grid, the first tensor along the first dim."""
    return _grid(tensors, "ij")


@view(
    "meshgrid_indexing",
    lambda ts, indexing: tuple(np.meshgrid(*ts, indexing=indexing)),
    sample((array(3), array(5)), "xy"),
    sample((array(3), array(5), array(2)), "ij"),
    aten=("aten.meshgrid.indexing",),
)
def build_meshgrid_indexing(tensors: Sequence[Tensor], indexing: str) -> tuple[Tensor, ...]:
    """The coordinates of a grid; "xy" exchanges the first two dims."""
    return _grid(tensors, indexing)


@view(
    "broadcast_tensors",
    lambda ts: tuple(np.broadcast_arrays(*ts)),
    sample((array(3, 1), array(5))),
    sample((array(), ints(2, 1, 3), array(4, 1))),
)
def build_broadcast_tensors(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each tensor stretched to the shape that all of them stretch to."""
    shape = broadcast("broadcast_tensors", *(t.shape for t in tensors))
    return tuple(expanded(t, shape) for t in tensors)
