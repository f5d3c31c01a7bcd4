"""Running folds along a dim, and the differences of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tc import te
from tc.ir import monoid as monoids
from tc.ir.expr import Expr, binary, cast
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F32, F64
from tc.ops.dims import axis_of, larger
from tc.ops.joins import joined
from tc.ops.promotion import compute_type, sum_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator


def running(
    name: str, reference: Callable[..., Any], *samples: Sample
) -> Callable[[Builder], Builder]:
    """A row of kind SCATTER: a running fold writes each place after the one before."""
    return operator(
        name,
        aten=(f"aten.{name}.default",),
        kind=Kind.SCATTER,
        reference=reference,
        samples=samples,
    )


@running("cumsum", lambda x, dim, dtype=None: np.cumsum(x, dim) if x.ndim else x,
         sample(array(3, 5), 1, None), sample(ints(4, 17, high=2, dtype="i32"), -1, None),
         sample(ints(3, high=2, dtype="bool"), 0, None), sample(array(0, 3), 0, None),
         sample(array(3, 5), 0, te.F64), sample(array(), 0, None))  # fmt: skip
def build_cumsum(x: Tensor, dim: int, dtype: te.DType | None = None) -> Tensor:
    """The running sum along a dim."""
    return _running(x, dim, dtype, "sum")


@running("cumprod", lambda x, dim, dtype=None: np.cumprod(x, dim), sample(array(3, 5), 1, None),
         sample(ints(4, 7, low=1, high=3), 0, None))  # fmt: skip
def build_cumprod(x: Tensor, dim: int, dtype: te.DType | None = None) -> Tensor:
    """The running product along a dim."""
    return _running(x, dim, dtype, "prod")


def _running(x: Tensor, dim: int, dtype: te.DType | None, fold: str) -> Tensor:
    kind = dtype or sum_type(x.dtype)
    # One after the other: rounding in f32 would add up, and eager's does not.
    inner = F64 if kind is F32 else compute_type(kind)
    if x.rank == 0:
        return te.compute((), lambda: cast(x[()], kind), te.fresh("scan"))
    axis = axis_of(dim, x.rank, "cumsum")
    pick = monoids.sum_of if fold == "sum" else monoids.prod_of
    out = te.scan(x.shape, lambda *i: cast(x[i], inner), axis, pick(inner))
    if inner is kind:
        return out
    return te.compute(x.shape, lambda *i: cast(out[i], kind), te.fresh("scan"))


def _diff_ref(x: Any, n: int = 1, dim: int = -1, before: Any = None, after: Any = None) -> Any:
    parts = [part for part in (before, x, after) if part is not None]
    return np.diff(np.concatenate(parts, dim), n, dim)


@rowwise("diff", _diff_ref, sample(array(3, 5), 1, -1, None, None),
         sample(array(7, 2), 3, 0, None, None), sample(ints(3, 5), 0, 1, None, None),
         sample(ints(3, 5), 1, -1, ints(3, 1), None), sample(array(2, 4), 2, 1, None, array(2, 3)),
         sample(ints(2, 9, high=2, dtype="bool"), 1, 1, None, None),
         sample(array(1), 1, 0, None, None))  # fmt: skip
def build_diff(
    x: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Each element less the one before it along a dim, `n` times."""
    axis = axis_of(dim, x.rank, "diff")
    parts = [part for part in (prepend, x, append) if part is not None]
    if n == 0:
        return te.compute(x.shape, lambda *i: x[i], te.fresh("diff"))
    out = joined(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        out = _less_the_one_before(out, axis)
    return out


def _less_the_one_before(x: Tensor, axis: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = larger(shape[axis] - 1, 0)
    op = "ne" if x.dtype is BOOL else "sub"

    def element(*index: Expr) -> Expr:
        after = (*index[:axis], index[axis] + 1, *index[axis + 1 :])
        return binary(op, x[after], x[index])

    return te.compute(tuple(shape), element, te.fresh("diff"))
