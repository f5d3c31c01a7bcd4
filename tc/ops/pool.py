"""Pooling: the greatest or the mean of the elements in a window, over one to three dims."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from tc import te
from tc.errors import UnsupportedError
from tc.ir import monoid as monoids
from tc.ir.expr import Const, Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ops import pool_reference
from tc.ops.arith import trunc_divide
from tc.ops.conv import each, inside, window_place
from tc.ops.dims import known
from tc.ops.pool_reference import outputs
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.reshape import reshaped
from tc.ops.samples import array, sample
from tc.ops.table import Sample

Sizes = int | Sequence[int]


def batched(x: Tensor, rank: int, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """`fn` on x with a batch dim, which is dropped again where x had none."""
    if x.rank == rank + 2:
        return fn(x)
    out = fn(reshaped(x, (1, *x.shape)))
    return reshaped(out, out.shape[1:])


def _windows(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool,
    rank: int,
) -> tuple[tuple[tuple[int, ...], ...], list[Expr], list[bool]]:  # fmt: skip
    """Kernel, stride, padding and dilation for each dim; the output; which dims need checks."""
    k = each(kernel, rank)
    s = each(stride, rank) if stride not in ((), []) else k
    p, d = each(padding, rank), each(dilation, rank)
    sizes = [
        outputs(n, a, b, c, e, ceil_mode)
        for n, a, b, c, e in zip(x.shape[2:], k, s, p, d, strict=True)
    ]
    checks = [q > 0 or ceil_mode for q in p]
    return (k, s, p, d), sizes, checks


def _taps(x: Tensor, k: Sequence[int], p: Sequence[int], d: Sequence[int]) -> list[te.ReduceAxis]:
    """An axis for each dim of a window, no longer than what of it can lie inside the input."""
    found = []
    for size, taps, padding, step in zip(x.shape[2:], k, p, d, strict=True):
        room = known(size)
        reach = taps if room is None else min(taps, max(room - 1 + padding, 0) // step + 1)
        found.append(te.reduce_axis(reach, "k"))
    return found


def max_pool(
    x: Tensor, rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
    ceil_mode: bool,
) -> Tensor:  # fmt: skip
    """The greatest element of each window; padding never wins."""
    (k, s, p, d), sizes, checks = _windows(x, kernel, stride, padding, dilation, ceil_mode, rank)
    lowest = monoids.max_of(x.dtype).identity[0]

    def element(*index: Expr) -> Expr:
        ks = _taps(x, k, p, d)
        places = window_place(index[2:], ks, s, p, d)
        value = x[(*index[:2], *places)]
        ok = inside(places, x.shape[2:], checks)
        return te.max(value if ok is None else select(ok, value, lowest), ks)

    return te.compute((*x.shape[:2], *sizes), element, te.fresh("max_pool"))


def max_places(
    x: Tensor, rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
    ceil_mode: bool,
) -> Tensor:  # fmt: skip
    """Where each window's greatest element stands, counted through the spatial dims."""
    (k, s, p, d), sizes, checks = _windows(x, kernel, stride, padding, dilation, ceil_mode, rank)
    fold = monoids.argmax_of(x.dtype)

    def element(*index: Expr) -> Expr:
        ks = _taps(x, k, p, d)
        places = window_place(index[2:], ks, s, p, d)
        value, flat = x[(*index[:2], *places)], Const(0)
        at: Expr = flat
        for place, size in zip(places, x.shape[2:], strict=True):
            at = at * size + place
        ok = inside(places, x.shape[2:], checks)
        if ok is not None:
            value = select(ok, value, fold.identity[0])
            at = select(ok, at, fold.identity[1])
        return te.reduce(fold, (value, at), ks, lambda _, place: place)

    return te.compute((*x.shape[:2], *sizes), element, te.fresh("max_pool_place"))


def avg_pool(
    x: Tensor, rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool,
    count_padding: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    """The mean of each window; padding counts as zeros where it counts at all."""
    (k, s, p, d), sizes, checks = _windows(x, kernel, stride, padding, 1, ceil_mode, rank)
    inner = compute_type(x.dtype)

    def covered(at: Expr, n: int) -> Expr:
        """Elements of the window along a dim that count."""
        if not checks[n]:
            return Const(k[n])
        start, size = at * s[n] - p[n], x.shape[2 + n]
        if count_padding:
            return te.minimum(start + k[n], size + p[n]) - start
        return te.minimum(start + k[n], size) - te.maximum(start, 0)

    def element(*index: Expr) -> Expr:
        ks = _taps(x, k, p, d)
        places = window_place(index[2:], ks, s, p, d)
        value = cast(x[(*index[:2], *places)], inner)
        ok = inside(places, x.shape[2:], checks)
        total = te.sum(value if ok is None else select(ok, value, Const(0, inner)), ks)
        count: Expr = Const(1 if divisor is None else divisor)
        for n in range(rank if divisor is None else 0):
            count = count * covered(index[2 + n], n)
        divide = operator.truediv if inner.is_float else trunc_divide
        return cast(divide(total, cast(count, inner)), x.dtype)

    return te.compute((*x.shape[:2], *sizes), element, te.fresh("avg_pool"))


# --- rows

_SHAPE = (9, 8, 7)


def _max_samples(rank: int) -> tuple[Sample, ...]:
    x, one = array(2, 3, *_SHAPE[:rank]), (1,) * rank
    size, edge = (20, 9) if rank < 3 else (12, 4)  # of a window that is larger than the input
    return (
        sample(x, (2,) * rank, (), (0,), one, False),
        sample(x, (3,) * rank, (2,) * rank, (1,) * rank, one, False),
        sample(x, (3,) * rank, (2,) * rank, (0,) * rank, one, True),
        sample(array(3, *_SHAPE[:rank]), (2,) * rank, (1,) * rank, (0,) * rank, (2,) * rank, False),
        sample(x, (size,) * rank, (5,) * rank, (edge,) * rank, one, False, note="beyond the input"),
    )


def _avg_samples(rank: int) -> tuple[Sample, ...]:
    x, k = array(2, 3, *_SHAPE[:rank]), (3,) * rank
    more: tuple[Any, ...] = () if rank == 1 else (None,)
    out: tuple[Sample, ...] = (
        sample(x, k, (), (0,) * rank, False, True, *more),
        sample(x, k, (2,) * rank, (1,) * rank, False, True, *more),
        sample(x, k, (2,) * rank, (1,) * rank, False, False, *more),
        sample(x, (2,) * rank, (2,) * rank, (0,) * rank, True, True, *more),
    )
    if rank < 3:  # beyond the input, which ATen refuses of three dims
        out = (
            *out,
            sample(x, (20,) * rank, (5,) * rank, (9,) * rank, False, True, *more),
            sample(x, (50,) * rank, (50,) * rank, (0,) * rank, True, True, *more),
        )
    return out if rank == 1 else (*out, sample(x, k, (2,) * rank, (1,) * rank, False, True, 5))


def _enter(rank: int) -> None:
    """The rows for one number of spatial dims."""

    def build_max(
        x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, d: Sizes = 1, ceil_mode: bool = False
    ) -> Tensor:
        return batched(x, rank, lambda t: max_pool(t, rank, k, s, p, d, ceil_mode))

    def build_avg(
        x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor: int | None = None,
    ) -> Tensor:  # fmt: skip
        def fn(t: Tensor) -> Tensor:
            return avg_pool(t, rank, k, s, p, ceil_mode, count_include_pad, divisor)

        return batched(x, rank, fn)

    rowwise(f"max_pool{rank}d", pool_reference.max_pool(rank), *_max_samples(rank))(build_max)
    rowwise(f"avg_pool{rank}d", pool_reference.avg_pool(rank), *_avg_samples(rank))(build_avg)


def _enter_places(rank: int) -> None:
    """The row of max pooling that tells the places too."""

    def build(
        x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, d: Sizes = 1, ceil_mode: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Max pooling, and where each window's greatest element stands."""
        if x.rank != rank + 2:
            raise UnsupportedError("max_pool with places: of an input without a batch dim")
        values = max_pool(x, rank, k, s, p, d, ceil_mode)
        return values, max_places(x, rank, k, s, p, d, ceil_mode)

    x, one, values = array(2, 3, *_SHAPE[:rank]), (1,) * rank, pool_reference.max_pool(rank)
    places = pool_reference.max_places(rank)
    rowwise(
        f"max_pool{rank}d_places",
        lambda *args: (values(*args), places(*args)),
        sample(x, (2,) * rank, (), (0,) * rank, one, False),
        sample(x, (3,) * rank, (2,) * rank, one, one, False),
        aten=(f"aten.max_pool{rank}d_with_indices.default",),
    )(build)


for _rank in (1, 2, 3):
    _enter(_rank)
    _enter_places(_rank)
