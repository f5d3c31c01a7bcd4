"""Products of rows with one of several matrices each, as mixtures of experts have them.

The rows of one matrix lie next to each other where that is to be fast; any order is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, binary, cast, maximum, minimum, select
from tc.ir.tensor import Tensor
from tc.ir.types import F32, F64, I64
from tc.ops.contraction import check_sizes, times
from tc.ops.dims import Dim, known
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator


def _number_ref(ends: Any, rows: int) -> Any:
    return np.searchsorted(ends, np.arange(rows), "right")


@operator("group_of_rows", aten=(), kind=Kind.ROWWISE, reference=_number_ref,
          samples=(sample(ints(3, high=5), 7),))  # fmt: skip
def build_group_of_rows(ends: Tensor, rows: Dim) -> Tensor:
    """In which group each row is, where `ends` tells before which row each group ends.

    Rows behind the last group have the number of groups.
    """

    def element(row: Expr) -> Expr:
        k = te.reduce_axis(ends.shape[0])
        return te.sum(cast(binary("le", cast(ends[k], I64), row), I64), k)

    return te.compute((te.wrap(rows),), element, te.fresh("group"))


def _matmul_ref(x: Any, weights: Any, groups: Any, ends: Any) -> Any:
    made = np.einsum("sk,skn->sn", x, weights[np.minimum(groups, len(weights) - 1)])
    return np.where(np.arange(len(x))[:, None] < ends[-1], made, 0)


@operator("grouped_matmul", aten=(), kind=Kind.CONTRACTION, reference=_matmul_ref,
          samples=(sample(array(5, 8), array(3, 8, 4), ints(5, high=3), ints(3)),))  # fmt: skip
def build_grouped_matmul(x: Tensor, weights: Tensor, groups: Tensor, ends: Tensor) -> Tensor:
    """x[s] @ weights[groups[s]] for each row s; zeros for those behind the last group's end."""
    count = known(weights.shape[0])
    if count is None or count < 1:
        raise UnsupportedError(f"grouped_matmul: of {weights.shape[0]} matrices")
    check_sizes(x.shape[1], weights.shape[1], "grouped_matmul")
    dtype, last = weights.dtype, count - 1

    def element(row: Expr, column: Expr) -> Expr:
        k = te.reduce_axis(x.shape[1])
        at = minimum(maximum(groups[row], 0), last)
        total = te.sum(times((x[row, k], weights[at, k, column]), compute_type(dtype)), k)
        inside = row < cast(ends[last], I64)
        return cast(select(inside, total, Const(0, total.dtype)), dtype)

    return te.compute((x.shape[0], weights.shape[2]), element, te.fresh("grouped_matmul"))


def _histc_ref(x: Any, bins: int = 100, low: float = 0, high: float = 0) -> Any:
    return np.histogram(x[np.isfinite(x)], bins, (low, high))[0].astype(x.dtype)


@rowwise("histc", _histc_ref,
         sample(array(5, 7), 4, -2, 2), sample(array(17, low=0, high=8), 8, 0, 7),
         sample(array(0), 3, 0, 2), sample(array(9, dtype="f64"), 2, -1.5, 1))  # fmt: skip
def build_histc(x: Tensor, bins: int = 100, low: float = 0, high: float = 0) -> Tensor:
    """How many elements lie in each of `bins` equal parts from `low` to `high`, both included."""
    if x.dtype not in (F32, F64) or not low < high:
        raise UnsupportedError(f"histc: of {x.dtype} between {low} and {high}")
    first, last = Const(float(low), x.dtype), Const(float(high), x.dtype)

    def element(part: Expr) -> Expr:
        axes = tuple(te.reduce_axis(s) for s in x.shape)
        value = x[axes]
        # As ATen works it out, which decides on what lies at a limit.
        place = (value - first) * Const(float(bins), x.dtype) / (last - first)
        own = minimum(place, Const(float(bins - 1), x.dtype))
        inside = (first <= value) & (value <= last) & te.equal(cast(own, I64), part)
        return te.sum(cast(inside, x.dtype), axes)

    return te.compute((bins,), element, te.fresh("histc"))
