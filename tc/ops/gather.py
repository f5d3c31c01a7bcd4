"""Operators that read at places which are data.

Lowering checks every such place against its range, so nothing is checked here; negative places
count from the end only where PyTorch has them do so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, I64, U8
from tc.ops.dims import axis_of, broadcast, stretched
from tc.ops.samples import array, bools, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator


def gathering(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A row of kind GATHER for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.GATHER,
        reference=reference,
        samples=samples,
    )


def from_end(place: Expr, size: Expr) -> Expr:
    """A place that may be negative, counted from the front."""
    return select(place < 0, place + size, place)


@gathering(
    "embedding",
    lambda w, ids, *_: w[ids],
    sample(array(11, 8), ints(2, 5, high=11), -1, False, False),
    sample(array(11, 17), ints(high=11), 0, False, False),
    sample(array(11, 8), ints(0, 5, high=11), -1, False, False),
    sample(array(11, 8), ints(7, high=11, dtype="i32"), 3, False, False),
)
def build_embedding(
    weight: Tensor,
    indices: Tensor,
    _padding_idx: int = -1,
    _scale_grad_by_freq: bool = False,
    _sparse: bool = False,
) -> Tensor:
    """weight[indices]: one row for each id."""
    outer = indices.rank

    def element(*index: Expr) -> Expr:
        return weight[(cast(indices[index[:outer]], I64), *index[outer:])]

    return te.compute((*indices.shape, *weight.shape[1:]), element, te.fresh("embedding"))


@gathering(
    "index_select",
    lambda x, dim, places: np.take(x, places, dim),
    sample(array(5, 7), 1, ints(4, high=7)),
    sample(array(5, 7), 0, ints(0, high=5)),
    sample(array(5), 0, ints(9, high=5, dtype="i32")),
)
def build_index_select(x: Tensor, dim: int, places: Tensor) -> Tensor:
    """The slices of x at `places` along a dim."""
    if x.rank == 0:
        raise UnsupportedError("index_select: of a tensor without dims")
    axis = axis_of(dim, x.rank, "index_select")
    count = places.shape[0] if places.rank else te.wrap(1)
    shape = [count if n == axis else s for n, s in enumerate(x.shape)]

    def element(*index: Expr) -> Expr:
        at = places[(index[axis],)] if places.rank else places[()]
        return x[(*index[:axis], cast(at, I64), *index[axis + 1 :])]

    return te.compute(shape, element, te.fresh("index_select"))


def _gather_ref(x: Any, dim: int, places: Any, *_: object) -> Any:
    inner = x[tuple(slice(s) if n != dim % x.ndim else slice(None)
                    for n, s in enumerate(places.shape))]  # fmt: skip
    return np.take_along_axis(inner, places, dim)


@gathering(
    "gather",
    _gather_ref,
    sample(array(3, 7), 1, ints(3, 5, high=7), False),
    sample(ints(5, 4), 0, ints(2, 3, high=5), False),
    sample(array(5), 0, ints(9, high=5), False),
)
def build_gather(x: Tensor, dim: int, places: Tensor, _sparse_grad: bool = False) -> Tensor:
    """x at the same point as in `places`, but for the dim at the place that stands there."""
    if x.rank == 0:
        return te.compute(places.shape, lambda *_: x[()], te.fresh("gather"))
    axis = axis_of(dim, x.rank, "gather")

    def element(*index: Expr) -> Expr:
        return x[(*index[:axis], cast(places[index], I64), *index[axis + 1 :])]

    return te.compute(places.shape, element, te.fresh("gather"))


# --- advanced indexing


def indexed_place(
    x: Tensor, indices: Sequence[Tensor | None], op: str
) -> tuple[tuple[Expr, ...], int, Callable[[Sequence[Expr]], tuple[Expr, ...]]]:
    """The shape of x[indices], where its index dims begin, and the map to places in x.

    The dims of the indices, broadcast, stand at the first index where all indices are side by
    side, else in front.
    """
    given = [(n, t) for n, t in enumerate(indices) if t is not None]
    for _, t in given:
        if t.dtype in (BOOL, U8):
            raise UnsupportedError(f"{op}: a mask as index, whose result has no size known before")
    numbers = [n for n, _ in given]
    block = broadcast(op, *(t.shape for _, t in given))
    side_by_side = numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True
    front = numbers[0] if numbers and side_by_side else 0
    rest = [n for n in range(x.rank) if n not in numbers]
    before = [n for n in rest if n < front] if side_by_side else []
    after = [n for n in rest if n not in before]
    shape = (*(x.shape[n] for n in before), *block, *(x.shape[n] for n in after))

    def place(index: Sequence[Expr]) -> tuple[Expr, ...]:
        inner = index[len(before) : len(before) + len(block)]
        outer = (*index[: len(before)], *index[len(before) + len(block) :])
        at = dict(zip((*before, *after), outer, strict=True))
        for n, t in given:
            at[n] = from_end(cast(stretched(t, block, inner), I64), x.shape[n])
        return tuple(at[n] for n in range(x.rank))

    return shape, len(before), place


def _index_ref(x: Any, indices: Any) -> Any:
    return x[tuple(slice(None) if i is None else i for i in indices)]


@gathering(
    "index",
    _index_ref,
    sample(bools(3, 7), (ints(3, 1, 1, 1, high=3), ints(1, 1, 1, 7, high=7))),
    sample(array(5, 7), (ints(4, high=5),)),
    sample(array(5, 7, 2), (None, ints(4, low=-7, high=7), None)),
    sample(array(5, 7, 3), (ints(4, high=5), None, ints(2, 1, high=3))),
    sample(array(5, 7, 3), (None, ints(4, high=7), ints(2, 1, low=-3, high=3))),
    sample(array(5, 7), (ints(high=5), ints(0, high=7))),
    aten=("aten.index.Tensor", "aten._unsafe_index.Tensor"),
)
def build_index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x[indices], where None is a full slice."""
    shape, _, place = indexed_place(x, indices, "index")
    return te.compute(shape, lambda *i: x[place(i)], te.fresh("index"))


@gathering("take", lambda x, places: np.take(x, places), sample(array(3, 5), ints(2, 4, high=15)))
def build_take(x: Tensor, places: Tensor) -> Tensor:
    """The elements of x at places in row-major order."""

    def element(*index: Expr) -> Expr:
        flat = cast(places[index], I64)
        total: Expr = te.wrap(1)
        for s in x.shape:
            total = total * s
        flat = from_end(flat, total)
        at: list[Expr] = []
        for s in x.shape[:0:-1]:
            at.append(flat % s)
            flat = flat // s
        # The first place is not reduced, so that one beyond the end is noticed.
        return x[(flat, *reversed(at))]

    return te.compute(places.shape, element, te.fresh("take"))
