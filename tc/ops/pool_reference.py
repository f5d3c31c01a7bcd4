"""NumPy references of pooling, and how many windows there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tc.ir.expr import Const, Expr
from tc.ops.conv import each
from tc.ops.dims import known, quotient, smaller, tidy


def outputs(
    size: Expr, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> Expr:
    """How many windows there are along a dim."""
    room = size + (2 * padding - dilation * (kernel - 1) - 1)
    if not ceil_mode:
        return tidy(quotient(tidy(room), stride) + 1)
    count = quotient(tidy(room + (stride - 1)), stride) + 1
    # A window must not begin beyond the element that ends the input and its left padding.
    return smaller(tidy(count), tidy(quotient(tidy(size + (padding - 1)), stride) + 1))


def _cells(
    x: Any, rank: int, k: Any, s: Any, p: Any, d: Any, ceil_mode: bool, fill: float
) -> tuple[Any, Any]:
    """The windows of x with the kernel as trailing dims, and whether each cell is real."""
    k, p, d = (each(v, rank) for v in (k, p, d))
    s = each(s, rank) if s not in ((), []) else k
    ones = np.pad(np.ones(x.shape[-rank:]), [(q, q + 99) for q in p])
    lead = [(0, 0)] * (x.ndim - rank)
    wide = np.pad(x, [*lead, *((q, q + 99) for q in p)], constant_values=fill)
    counts = [known(outputs(Const(n), a, b, c, e, ceil_mode)) or 0
              for n, a, b, c, e in zip(x.shape[-rank:], k, s, p, d, strict=True)]  # fmt: skip
    at = np.meshgrid(*(np.arange(c) * t for c, t in zip(counts, s, strict=True)), indexing="ij")
    tap = np.meshgrid(*(np.arange(n) * e for n, e in zip(k, d, strict=True)), indexing="ij")
    index = tuple(a[(..., *([None] * rank))] + b for a, b in zip(at, tap, strict=True))
    return wide[(Ellipsis, *index)], ones[index]


def max_pool(rank: int) -> Callable[..., Any]:
    """The reference of max pooling over so many dims."""

    def fn(x: Any, k: Any, s: Any = (), p: Any = 0, d: Any = 1, ceil_mode: bool = False) -> Any:
        cells, _ = _cells(x, rank, k, s, p, d, ceil_mode, -np.inf)
        return cells.max(tuple(range(-rank, 0)))

    return fn


def avg_pool(rank: int) -> Callable[..., Any]:
    """The reference of average pooling over so many dims."""

    def fn(
        x: Any, k: Any, s: Any = (), p: Any = 0, ceil_mode: bool = False, padded: bool = True,
        divisor: int | None = None,
    ) -> Any:  # fmt: skip
        axes = tuple(range(-rank, 0))
        cells, real = _cells(x, rank, k, s, p, 1, ceil_mode, 0.0)
        if padded:
            room = np.pad(np.ones(x.shape[-rank:]), [(q, q) for q in each(p, rank)])
            real = _cells(room, rank, k, s, 0, 1, ceil_mode, 0.0)[0]
        return cells.sum(axes) / (real.sum(axes) if divisor is None else divisor)

    return fn


def adaptive_avg(rank: int) -> Callable[..., Any]:
    """The reference of adaptive average pooling over so many dims."""

    def fn(x: Any, sizes: Any) -> Any:
        for axis, m in zip(range(-rank, 0), each(sizes, rank), strict=True):
            n = x.shape[axis]
            parts = [np.take(x, range(i * n // m, -(-(i + 1) * n // m)), axis).mean(axis)
                     for i in range(m)]  # fmt: skip
            x = np.stack(parts, axis)
        return x

    return fn


def adaptive_max(rank: int) -> Callable[..., Any]:
    """The reference of adaptive max pooling: the values, and their places in the plane."""

    def fn(x: Any, sizes: Any) -> Any:
        spatial, wanted = x.shape[-rank:], each(sizes, rank)
        numbers = np.arange(int(np.prod(spatial))).reshape(spatial)
        values = np.zeros((*x.shape[:-rank], *wanted), x.dtype)
        places = np.zeros(values.shape, np.int64)
        for at in np.ndindex(*wanted):
            part = tuple(slice(i * n // m, -(-(i + 1) * n // m))
                         for i, n, m in zip(at, spatial, wanted, strict=True))  # fmt: skip
            cells = x[(..., *part)].reshape(*x.shape[:-rank], -1)
            values[(..., *at)] = cells.max(-1)
            places[(..., *at)] = numbers[part].reshape(-1)[cells.argmax(-1)]
        return values, places

    return fn


def max_places(rank: int) -> Callable[..., Any]:
    """Where the greatest element of each window stands in its plane, over so many dims."""

    def fn(x: Any, k: Any, s: Any = (), p: Any = 0, d: Any = 1, ceil_mode: bool = False) -> Any:
        cells, _ = _cells(x, rank, k, s, p, d, ceil_mode, -np.inf)
        numbers = np.arange(int(np.prod(x.shape[-rank:]))).reshape(x.shape[-rank:])
        flat, _ = _cells(numbers, rank, k, s, p, d, ceil_mode, -1)
        cells = cells.reshape(*cells.shape[:-rank], -1)
        flat = np.broadcast_to(flat.reshape(*flat.shape[:-rank], -1), cells.shape)
        best = cells.argmax(-1)[..., None]
        return np.take_along_axis(flat, best, -1)[..., 0]

    return fn
