"""Operators that put elements in order: the greatest few along a dim, places in a sorted row.

The greatest few are found one after the other, each the best of those behind the one before, so a
row is read as often as there are to find; for many of them all are sorted. A place in a sorted row
is the number of elements before it, so it takes time as the row's length, not its logarithm.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir import monoid as monoids
from tc.ir.expr import Const, Expr, Reduce, Var, binary, cast, minimum, select, unary
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F64, I32, I64
from tc.ops.dims import Dim, axis_of, known
from tc.ops.promotion import compute_type, result_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, ints, sample, special
from tc.ops.slices import build_slice
from tc.ops.sort import build_sort

MOST_FOUND: Final = 32
_LONGEST_ROW: Final = 1024


def _topk_ref(x: Any, k: int, dim: int = -1, largest: bool = True, *_: bool) -> Any:
    if x.ndim == 0:
        return x, np.zeros((), np.int64)
    key = x if largest else -x
    order = np.argsort(np.where(np.isnan(key), -np.inf, -key), dim, kind="stable")
    order = np.take(order, np.arange(k), dim)
    return np.take_along_axis(x, order, dim), order


@rowwise("topk", _topk_ref,
         sample(array(3, 7), 2, -1, True, True), sample(array(5, 4, 3), 3, 1, True, True),
         sample(array(2, 17), 1, -1, True, False), sample(array(1, 1), 1, 0, True, True),
         sample(array(0, 5), 2, 1, True, True), sample(array(3, 8), 8, 1, True, True),
         sample(array(4, 9), 2, -1, False, True), sample(array(3, 5), 0, -1, True, True),
         sample(array(2, 5, dtype="f64"), 3, -1, True, True),
         sample(array(2, 40), 33, -1, False, True),
         sample(array(2, 5, dtype="f64"), 3, -1, False, True))  # fmt: skip
def build_topk(
    x: Tensor, k: Dim, dim: int = -1, largest: bool = True, _sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """The k greatest elements along a dim, the greatest first, and where they are."""
    if x.dtype is BOOL or x.rank == 0:
        raise UnsupportedError(f"topk: of {x.dtype} with {x.rank} dims")
    count, axis = known(k), axis_of(dim, x.rank, "topk")
    if count is None or count > MOST_FOUND or (x.dtype is F64 and not largest):
        values, order = build_sort(x, axis, largest)
        return build_slice(values, axis, 0, k, 1), build_slice(order, axis, 0, k, 1)
    found: list[Tensor] = []
    for _ in range(count):
        found.append(_best(x, axis, found[-1] if found else None, largest))
    shape = [te.wrap(count) if n == axis else s for n, s in enumerate(x.shape)]

    def place(*index: Expr) -> Expr:
        rest = (*index[:axis], *index[axis + 1 :])
        value: Expr = Const(0)
        for n, one in reversed(list(enumerate(found))):
            at = one[rest]
            value = at if n == count - 1 else select(index[axis] <= n, at, value)
        return value

    places = te.compute(shape, place, te.fresh("topk"))

    def element(*index: Expr) -> Expr:
        return x[(*index[:axis], places[index], *index[axis + 1 :])]

    return te.compute(shape, element, te.fresh("topk_values")), places


def _key(value: Expr, largest: bool) -> Expr:
    """What elements are compared by: NaN counts as greater than all."""
    if largest or not value.dtype.is_float:
        return cast(value, compute_type(value.dtype))
    # In f64 there is room above the numbers of the shorter types for infinity and NaN.
    top, beyond = Const(2.0**1000, F64), Const(2.0**1001, F64)
    return select(unary("isnan", value), beyond, minimum(cast(value, F64), top))


def _best(x: Tensor, axis: int, before: Tensor | None, largest: bool) -> Tensor:
    """Where the best element of each row is, of those that come after the one at `before`.

    NaN counts as greatest; of equal elements the first is first.
    """
    shape = [s for n, s in enumerate(x.shape) if n != axis]

    def element(*rest: Expr) -> Expr:
        k = te.reduce_axis(x.shape[axis])
        at = Var(k.name)
        value = _key(x[(*rest[:axis], k, *rest[axis:])], largest)
        if before is None:
            return te.argmax(value, k) if largest else te.argmin(value, k)
        last = before[rest]
        top = _key(x[(*rest[:axis], last, *rest[axis:])], largest)
        monoid = (monoids.argmax_of if largest else monoids.argmin_of)(value.dtype)
        open_ = _behind(value, at, top, last, largest)
        none, end = monoid.identity
        lifted = (select(open_, value, none), select(open_, at, end))
        return Reduce(monoid, (at,), (k.extent,), lifted, monoid.left[1])

    return te.compute(shape, element, te.fresh("best"))


def _behind(value: Expr, at: Expr, top: Expr, last: Expr, largest: bool) -> Expr:
    """Whether an element comes after the one found last, in the order of the result."""
    worse = value < top if largest else value > top
    equal = binary("eq", value, top)
    if largest and value.dtype.is_float:
        nan, top_nan = unary("isnan", value), unary("isnan", top)
        worse, equal = worse | (top_nan & ~nan), equal | (top_nan & nan)
    return worse | (equal & (at > last))


def _search_ref(row: Any, x: Any, right: bool = False) -> Any:
    side: Any = "right" if right else "left"
    if row.ndim == 1:
        return np.searchsorted(row, x, side)
    flat = row.reshape(-1, row.shape[-1])
    values = x.reshape(len(flat), -1)
    found = [np.searchsorted(r, v, side) for r, v in zip(flat, values, strict=True)]
    return np.asarray(found).reshape(x.shape)


def _place_in(row: Tensor, x: Tensor, narrow: bool, right: bool, op: str) -> Tensor:
    length = known(row.shape[-1])
    if length is None or length > _LONGEST_ROW:
        raise UnsupportedError(f"{op}: in {row.shape[-1]} elements; {_LONGEST_ROW} at most")
    kind = result_type((row, x))

    def element(*index: Expr) -> Expr:
        k = te.reduce_axis(row.shape[-1])
        outer = index[:-1] if row.rank > 1 else ()
        bound, value = cast(row[(*outer, k)], kind), cast(x[index], kind)
        # NaN stands behind all.
        after = binary("lt", value, bound) if right else binary("le", value, bound)
        count = te.sum(cast(~after, I64), k)
        return cast(count, I32) if narrow else count

    return te.compute(x.shape, element, te.fresh(op))


# The samples' rows hold one element, which is in order whatever it is; a constant row is tested
# beside the models.
@rowwise("bucketize", lambda x, row, narrow=False, right=False: _search_ref(row, x, right),
         sample(array(3, 5), array(1), False, False), sample(special(17), array(1), False, True),
         sample(array(0, 3), array(1), True, False), sample(ints(7, 2), ints(1), False, True),
         sample(array(), array(1), False, False), sample(array(5), array(0), False, False),
         aten=("aten.bucketize.Tensor",))  # fmt: skip
def build_bucketize(
    x: Tensor, boundaries: Tensor, narrow: bool = False, right: bool = False
) -> Tensor:
    """How many boundaries lie before each element (and, to the right, at it)."""
    return _place_in(boundaries, x, narrow, right, "bucketize")


@rowwise("searchsorted",
         lambda row, x, narrow=False, right=False, side=None, *_: _search_ref(
             row, x, right or side == "right"),
         sample(array(3, 1), array(3, 5), False, False, None, None),
         sample(array(1), array(2, 7), False, False, "right", None),
         sample(ints(1), ints(17), True, True, None, None),
         aten=("aten.searchsorted.Tensor",))  # fmt: skip
def build_searchsorted(
    row: Tensor,
    x: Tensor,
    narrow: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """As `bucketize`, in one row for all or in a row of its own for each row of x."""
    if sorter is not None:
        raise UnsupportedError("searchsorted: a row whose order another tensor tells")
    return _place_in(row, x, narrow, right or side == "right", "searchsorted")
