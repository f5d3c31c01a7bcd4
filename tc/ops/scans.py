"""Running folds along a dim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tc import te
from tc.ir import monoid as monoids
from tc.ir.expr import cast
from tc.ir.tensor import Tensor
from tc.ops.dims import axis_of
from tc.ops.promotion import compute_type, sum_type
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
    inner = compute_type(kind)
    if x.rank == 0:
        return te.compute((), lambda: cast(x[()], kind), te.fresh("scan"))
    axis = axis_of(dim, x.rank, "cumsum")
    pick = monoids.sum_of if fold == "sum" else monoids.prod_of
    out = te.scan(x.shape, lambda *i: cast(x[i], inner), axis, pick(inner))
    if inner is kind:
        return out
    return te.compute(x.shape, lambda *i: cast(out[i], kind), te.fresh("scan"))
