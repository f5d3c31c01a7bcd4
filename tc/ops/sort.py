"""Sorting: elements along a dim in order, and where they were.

A row's place in order is the number of elements that come before it, which takes time as the
square of the row's length but is a sum like any other. Long rows are better put in order by one
bit of their keys after the other, from the lowest (the radix sort of Knuth, "The Art of Computer
Programming", volume 3, section 5.2.5); the rows of one such step are here, `tc.graph.sorting`
repeats them. All orders are stable: of equal elements the first stays first. NaN is greater than
all others and equal to itself, and -0.0 equals 0.0, as in ATen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tc import te
from tc.ir import monoid as monoids
from tc.ir.expr import Bitcast, Const, Expr, Var, binary, cast, equal, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from tc.ops.dims import Dim, axis_of, larger, smaller, tidy
from tc.ops.reductions import rowwise
from tc.ops.samples import array, ints, sample, special
from tc.ops.table import Kind, operator

_KEY: Final[dict[DType, DType]] = {
    BOOL: I32, U8: I32, I8: I32, I16: I32, I32: I32, F16: I32, BF16: I32, F32: I32,
    I64: I64, F64: I64,
}  # fmt: skip


def key_bits(dtype: DType) -> int:
    """The length of the keys by which elements of a type are put in order."""
    return _KEY[dtype].bits


# --- the whole operator


def _sort_ref(x: Any, dim: int = -1, descending: bool = False) -> Any:
    if x.ndim == 0:
        return x, np.zeros((), np.int64)
    keys = -x if descending and x.dtype.kind == "f" else ~x if descending else x
    keys = np.where(np.isnan(x), -np.inf, keys) if descending and x.dtype.kind == "f" else keys
    order = np.argsort(keys, dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


@rowwise("sort", _sort_ref,
         sample(array(3, 7), -1, False), sample(ints(2, 13, high=4), 1, True),
         sample(special(5, 4), 0, False), sample(special(3, 16), 1, True),
         sample(array(), 0, False), sample(array(0, 5), 1, False), sample(array(3, 1), 1, True),
         sample(ints(9, high=2, dtype="bool"), 0, False),
         sample(array(2, 3, 5, dtype="f64"), 1, True),
         sample(ints(2, 6, high=3, dtype="u8"), 1, True))  # fmt: skip
def build_sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """The elements along a dim in order, and where they were."""
    if x.rank == 0:
        first = te.compute((), lambda: Const(0), te.fresh("order"))
        return te.compute((), lambda: x[()], te.fresh("sorted")), first
    axis = axis_of(dim, x.rank, "sort")
    order = build_in_order(build_places_in_order(build_sort_keys(x, descending), axis), axis)

    def element(*index: Expr) -> Expr:
        return x[(*index[:axis], order[index], *index[axis + 1 :])]

    return te.compute(x.shape, element, te.fresh("sorted")), order


@rowwise("sort_stable",
         lambda x, _stable, dim=-1, descending=False: _sort_ref(x, dim, descending),
         sample(ints(3, 9, high=3), True, -1, True), sample(special(17), True, 0, False),
         aten=("aten.sort.stable",))  # fmt: skip
def build_sort_stable(
    x: Tensor, _stable: bool, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """As `sort`, which is always stable."""
    return build_sort(x, dim, descending)


@rowwise("argsort", lambda x, dim=-1, descending=False: _sort_ref(x, dim, descending)[1],
         sample(array(3, 7), -1, True), sample(special(5, 4), 0, False))  # fmt: skip
def build_argsort(x: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Where the elements along a dim were, once they are in order."""
    return build_sort(x, dim, descending)[1]


@rowwise("argsort_stable",
         lambda x, _stable, dim=-1, descending=False: _sort_ref(x, dim, descending)[1],
         sample(ints(3, 9, high=3), True, -1, True), aten=("aten.argsort.stable",))  # fmt: skip
def build_argsort_stable(
    x: Tensor, _stable: bool, dim: int = -1, descending: bool = False
) -> Tensor:
    """As `argsort`, which is always stable."""
    return build_argsort(x, dim, descending)


# --- its steps


def _key_of(x: Expr, descending: bool) -> Expr:
    """An integer that is smaller the earlier an element comes."""
    kind = _KEY[x.dtype]
    if x.dtype.is_float:
        wide = cast(x, F64 if kind is I64 else F32)
        zero = Const(0.0, wide.dtype)
        bits: Expr = Bitcast(select(equal(wide, zero), zero, wide), kind)
        # The bits of a negative number grow with its size.
        most = Const((1 << (kind.bits - 1)) - 1, kind)
        bits = select(bits < 0, bits ^ most, bits)
        key = select(unary("isnan", wide), most, bits)
    else:
        key = cast(x, kind)
    return key ^ Const(-1, kind) if descending else key


def _flipped_top(bits: int) -> int:
    """The bit that makes the order of signed numbers that of unsigned ones."""
    return -(1 << (bits - 1))


@operator("sort_keys", aten=(), kind=Kind.POINTWISE, samples=(sample(special(3, 5), True),),
          reference=lambda x, descending=False: _rank_ref(x, descending))  # fmt: skip
def build_sort_keys(x: Tensor, descending: bool = False) -> Tensor:
    """An integer for each element, which is smaller the earlier it comes."""
    return te.compute(x.shape, lambda *i: _key_of(x[i], descending), te.fresh("key"))


def _rank_ref(x: Any, descending: bool) -> Any:
    """The same order, in the smallest numbers that have it."""
    values = np.unique(np.where(x == 0, 0, x), return_inverse=True)[1].reshape(x.shape)
    return -values if descending else values


def _places_ref(keys: Any, dim: int, most: int | None = None) -> Any:
    size = keys.shape[dim]
    if most is not None and size > most:
        own = np.arange(size).reshape([-1 if n == dim % keys.ndim else 1 for n in range(keys.ndim)])
        return np.broadcast_to(own, keys.shape)
    return np.argsort(np.argsort(keys, dim, kind="stable"), dim, kind="stable")


@operator("places_in_order", aten=(), kind=Kind.ROWWISE, reference=_places_ref,
          samples=(sample(ints(3, 7, high=4), 1, None), sample(ints(3, 7), 1, 5)))  # fmt: skip
def build_places_in_order(keys: Tensor, dim: int, most: int | None = None) -> Tensor:
    """How many keys along a dim come before each; in rows longer than `most` its own place."""
    axis = axis_of(dim, keys.rank, "places_in_order")
    size = keys.shape[axis]
    over: Expr = Const(0) if most is None else smaller(larger(size - most, 0), 1)
    counted = size if most is None else tidy(size * (1 - over))

    def element(*index: Expr) -> Expr:
        k = te.reduce_axis(counted)
        own, other = keys[index], keys[(*index[:axis], k, *index[axis + 1 :])]
        # In the type of the keys, so that all comparisons have as many lanes.
        first = binary("lt", cast(Var(k.name), keys.dtype), cast(index[axis], keys.dtype))
        before = (binary("le", other, own) & first) | (other < own)
        count = cast(te.sum(cast(before, keys.dtype), k), I64)
        return count + index[axis] * over

    return te.compute(keys.shape, element, te.fresh("place"))


def _in_order_ref(places: Any, dim: int, order: Any = None) -> Any:
    found = np.argsort(places, dim, kind="stable")
    return found if order is None else np.take_along_axis(order, found, dim)


@operator("in_order", aten=(), kind=Kind.SCATTER, reference=_in_order_ref,
          samples=(sample(ints(3, 1, high=1), 1, None),))  # fmt: skip
def build_in_order(places: Tensor, dim: int, order: Tensor | None = None) -> Tensor:
    """Which element along a dim each place gets, where `places` says which place each one has.

    `order` tells what elements those are, if not the first, the second, and so on.
    """
    axis = axis_of(dim, places.rank, "in_order")

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        at = (*index[:axis], places[index], *index[axis + 1 :])
        return at, index[axis] if order is None else order[index]

    return te.scatter(places, places.shape, point, name=te.fresh("order"))


def _zeros_ref(keys: Any, order: Any, dim: int, bit: int) -> Any:
    flipped = np.take_along_axis(keys, order, dim) ^ _flipped_top(keys.dtype.itemsize * 8)
    return np.cumsum(1 - (flipped >> bit & 1), dim)


@operator("zeros_so_far", aten=(), kind=Kind.SCATTER, reference=_zeros_ref,
          samples=(sample(ints(3, 7, dtype="i32"), ints(3, 7, high=7), 1, 0),))  # fmt: skip
def build_zeros_so_far(keys: Tensor, order: Tensor, dim: int, bit: Dim) -> Tensor:
    """How many of the keys up to each, in this order, have a 0 at the bit; their sign is flipped.

    The sign counts as a 1 of positive numbers, so that bits order keys as their values do.
    """
    axis = axis_of(dim, keys.rank, "zeros_so_far")
    kind = keys.dtype

    def element(*index: Expr) -> Expr:
        key = keys[(*index[:axis], order[index], *index[axis + 1 :])]
        flipped = key ^ Const(_flipped_top(kind.bits), kind)
        one = binary("shr", flipped, cast(te.wrap(bit), kind)) & Const(1, kind)
        return cast(one ^ Const(1, kind), I64)

    return te.scan(order.shape, element, axis, monoids.sum_of(I64), te.fresh("zeros"))


def _places_by_bit_ref(zeros: Any, dim: int) -> Any:
    rows = np.moveaxis(zeros, dim, -1)
    ones = np.diff(rows, axis=-1, prepend=0) == 0
    places = np.argsort(np.argsort(ones, -1, kind="stable"), -1, kind="stable")
    return np.moveaxis(places, -1, dim)


@operator("places_by_bit", aten=(), kind=Kind.ROWWISE, reference=_places_by_bit_ref,
          samples=(sample(ints(3, 1, high=2), 1),))  # fmt: skip
def build_places_by_bit(zeros: Tensor, dim: int) -> Tensor:
    """The place of each element where those with a 0, which `zeros` counts so far, come first."""
    axis = axis_of(dim, zeros.rank, "places_by_bit")

    def element(*index: Expr) -> Expr:
        def of(place: Expr) -> Expr:
            return zeros[(*index[:axis], place, *index[axis + 1 :])]

        at = index[axis]
        before = select(at > 0, of(at - 1), 0)
        behind = of(zeros.shape[axis] - 1) + at - before
        return select(before < zeros[index], before, behind)

    return te.compute(zeros.shape, element, te.fresh("place"))
