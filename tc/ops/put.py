"""Writing to places given by index tensors, the counterpart of advanced indexing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, I64
from tc.ops.dims import broadcast, stretched
from tc.ops.gather import from_end, indexed_place
from tc.ops.samples import array, ints, sample
from tc.ops.scatter import fold_named, scattering


def _put_ref(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    out = x.copy()
    at: Any = tuple(slice(None) if i is None else i for i in indices)
    if accumulate:
        np.add.at(out, at, values)
    else:
        out[at] = values
    return out


def _masked_put(x: Tensor, mask: Tensor, values: Tensor) -> Tensor:
    """x with `values`, one number or one for each trailing point, where a mask holds."""
    lead = mask.rank
    if values.rank > x.rank - lead:
        raise UnsupportedError("index_put: one value for each true element of a mask")

    def element(*index: Expr) -> Expr:
        new = cast(stretched(values, x.shape[lead:], index[lead:]), x.dtype)
        return select(cast(mask[index[:lead]], BOOL), new, x[index])

    return te.compute(x.shape, element, te.fresh("index_put"))


@scattering(
    "index_put",
    _put_ref,
    sample(array(5, 7), (ints(1, high=5),), array(7), False),
    sample(array(5, 7), (ints(4, high=5), ints(4, low=-7, high=7)), array(4), True),
    sample(array(5, 7, 2), (None, ints(4, high=7), None), array(), True),
    sample(ints(5, 7), (ints(2, 1, high=5), ints(3, high=7)), ints(1), False),
    sample(array(5, 7), (ints(5, high=2, dtype="bool"),), array(), False),
    sample(array(5, 7), (ints(5, 7, high=2, dtype="bool"),), array(), False),
    aten=("aten.index_put.default", "aten._unsafe_index_put.default"),
)
def build_index_put(
    x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """x with x[indices] = values, or added in."""
    first = indices[0] if indices else None
    if len(indices) == 1 and first is not None and first.dtype is BOOL and not accumulate:
        return _masked_put(x, first, values)
    shape, _, place = indexed_place(x, indices, "index_put")
    broadcast("index_put", shape, values.shape)

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        return place(index), cast(stretched(values, shape, index), x.dtype)

    fold = fold_named("add", x.dtype, "index_put") if accumulate else None
    return te.scatter(x, shape, point, fold, name=te.fresh("index_put"))


@scattering(
    "put",
    lambda x, places, source, _accumulate=False: _put_flat(x, places, source),
    sample(array(3, 5), ints(1, high=15), array(1), False),
)
def build_put(x: Tensor, places: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """x with elements at places in row-major order replaced, or added to."""
    total: Expr = Const(1)
    for s in x.shape:
        total = total * s

    def point(*index: Expr) -> tuple[Sequence[Expr], Expr]:
        flat = from_end(cast(places[index], I64), total)
        at: list[Expr] = []
        for s in x.shape[:0:-1]:
            at.append(flat % s)
            flat = flat // s
        return (flat, *reversed(at)), cast(source[index], x.dtype)

    fold = fold_named("add", x.dtype, "put") if accumulate else None
    return te.scatter(x, places.shape, point, fold, name=te.fresh("put"))


def _put_flat(x: Any, places: Any, source: Any) -> Any:
    out = x.copy()
    np.put(out, places, source)
    return out
