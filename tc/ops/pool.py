"""Pooling: the greatest or the mean of the elements in a window, over one to three dims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tc import te
from tc.errors import UnsupportedError
from tc.ir import monoid as monoids
from tc.ir.expr import Const, Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ops import pool_reference
from tc.ops.conv import each, inside, window_place
from tc.ops.dims import fixed, known
from tc.ops.pool_reference import outputs
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.reshape import reshaped
from tc.ops.samples import array, sample
from tc.ops.table import Sample

Sizes = int | Sequence[int]


def _batched(x: Tensor, rank: int, fn: Callable[[Tensor], Tensor]) -> Tensor:
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


def max_pool(
    x: Tensor, rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
    ceil_mode: bool,
) -> Tensor:  # fmt: skip
    """The greatest element of each window; padding never wins."""
    (k, s, p, d), sizes, checks = _windows(x, kernel, stride, padding, dilation, ceil_mode, rank)
    lowest = monoids.max_of(x.dtype).identity[0]

    def element(*index: Expr) -> Expr:
        ks = [te.reduce_axis(n, "k") for n in k]
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
        ks = [te.reduce_axis(n, "k") for n in k]
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
        ks = [te.reduce_axis(n, "k") for n in k]
        places = window_place(index[2:], ks, s, p, d)
        value = cast(x[(*index[:2], *places)], inner)
        ok = inside(places, x.shape[2:], checks)
        total = te.sum(value if ok is None else select(ok, value, Const(0, inner)), ks)
        count: Expr = Const(1 if divisor is None else divisor)
        for n in range(rank if divisor is None else 0):
            count = count * covered(index[2 + n], n)
        return cast(total / cast(count, inner), x.dtype)

    return te.compute((*x.shape[:2], *sizes), element, te.fresh("avg_pool"))


def _longest(size: Expr, parts: int) -> Expr:
    """The most elements that one of so many nearly equal parts has."""
    if parts == 1:
        return size
    n = fixed(size, "adaptive_avg_pool: the input")
    return Const(max(-(-(i + 1) * n // parts) - i * n // parts for i in range(parts)))


def adaptive_avg(x: Tensor, rank: int, sizes: Sizes) -> Tensor:
    """Means of windows that cut each dim into so many nearly equal parts."""
    wanted = each(sizes, rank)
    inner = compute_type(x.dtype)
    # The longest window that occurs; the elements beyond a shorter one are not counted.
    longest = [_longest(n, m) for n, m in zip(x.shape[2:], wanted, strict=True)]

    def element(*index: Expr) -> Expr:
        ks = [te.reduce_axis(n, "k") for n in longest]
        ok: Expr | None = None
        places, count = [], Const(1)
        counted: Expr = count
        for i, k, n, m, top in zip(index[2:], ks, x.shape[2:], wanted, longest, strict=True):
            whole = m == 1 or known(n % m) == 0
            start = i * n // m
            width = ((i + 1) * n + (m - 1)) // m - start
            places.append(start + k)
            counted = counted * (top if whole else width)
            if not whole:
                ok = k < width if ok is None else ok & (k < width)
        value = cast(x[(*index[:2], *places)], inner)
        total = te.sum(value if ok is None else select(ok, value, Const(0, inner)), ks)
        return cast(total / cast(counted, inner), x.dtype)

    return te.compute((*x.shape[:2], *wanted), element, te.fresh("adaptive_avg_pool"))


# --- rows

_SHAPE = (9, 8, 7)


def _max_samples(rank: int) -> tuple[Sample, ...]:
    x, one = array(2, 3, *_SHAPE[:rank]), (1,) * rank
    return (
        sample(x, (2,) * rank, (), (0,), one, False),
        sample(x, (3,) * rank, (2,) * rank, (1,) * rank, one, False),
        sample(x, (3,) * rank, (2,) * rank, (0,) * rank, one, True),
        sample(array(3, *_SHAPE[:rank]), (2,) * rank, (1,) * rank, (0,) * rank, (2,) * rank, False),
    )


def _avg_samples(rank: int) -> tuple[Sample, ...]:
    x, k = array(2, 3, *_SHAPE[:rank]), (3,) * rank
    more: tuple[Any, ...] = () if rank == 1 else (None,)
    out = (
        sample(x, k, (), (0,) * rank, False, True, *more),
        sample(x, k, (2,) * rank, (1,) * rank, False, True, *more),
        sample(x, k, (2,) * rank, (1,) * rank, False, False, *more),
        sample(x, (2,) * rank, (2,) * rank, (0,) * rank, True, True, *more),
    )
    return out if rank == 1 else (*out, sample(x, k, (2,) * rank, (1,) * rank, False, True, 5))


def _enter(rank: int) -> None:
    """The rows for one number of spatial dims."""

    def build_max(
        x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, d: Sizes = 1, ceil_mode: bool = False
    ) -> Tensor:
        return _batched(x, rank, lambda t: max_pool(t, rank, k, s, p, d, ceil_mode))

    def build_avg(
        x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor: int | None = None,
    ) -> Tensor:  # fmt: skip
        def fn(t: Tensor) -> Tensor:
            return avg_pool(t, rank, k, s, p, ceil_mode, count_include_pad, divisor)

        return _batched(x, rank, fn)

    def build_adaptive(x: Tensor, sizes: Sizes) -> Tensor:
        return _batched(x, rank, lambda t: adaptive_avg(t, rank, sizes))

    shape = array(2, 3, *_SHAPE[:rank])
    name = f"adaptive_avg_pool{rank}d"
    core = () if rank == 1 else (f"aten._{name}.default",)
    rowwise(f"max_pool{rank}d", pool_reference.max_pool(rank), *_max_samples(rank))(build_max)
    rowwise(f"avg_pool{rank}d", pool_reference.avg_pool(rank), *_avg_samples(rank))(build_avg)
    rowwise(
        name,
        pool_reference.adaptive_avg(rank),
        sample(shape, (1,) * rank),
        sample(shape, (4, 3, 7)[:rank]),
        aten=(f"aten.{name}.default", *core),
    )(build_adaptive)


for _rank in (1, 2, 3):
    _enter(_rank)


@rowwise(
    "max_pool2d_places",
    lambda *args: (pool_reference.max_pool(2)(*args), pool_reference.max_places(*args)),
    sample(array(2, 3, 9, 8), (2, 2), (), (0, 0), (1, 1), False),
    sample(array(2, 3, 9, 8), (3, 3), (2, 2), (1, 1), (1, 1), False),
    aten=("aten.max_pool2d_with_indices.default",),
)
def build_max_pool2d_places(
    x: Tensor, k: Sizes, s: Sizes = (), p: Sizes = 0, d: Sizes = 1, ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """Max pooling, and where each window's greatest element stands."""
    if x.rank != 4:
        raise UnsupportedError("max_pool2d with places: of an input without a batch dim")
    values = max_pool(x, 2, k, s, p, d, ceil_mode)
    return values, max_places(x, 2, k, s, p, d, ceil_mode)
