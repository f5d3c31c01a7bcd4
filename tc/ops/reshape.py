"""Reshapes: the same elements, in row-major order, under other dims.

The dims are cut into runs of equal products first, so that an index takes // and % only where
dims are really merged or cut apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr
from tc.ir.tensor import Shape, Tensor
from tc.ops.dims import ONE, ZERO, Dim, axis_of, known, product, quotient, same, shape_of
from tc.ops.samples import array, sample
from tc.ops.views import Index, mapped, view


def resolve(size: Sequence[Dim], shape: Shape, op: str) -> Shape:
    """The sizes of a reshape with its -1 worked out; CompileError where they cannot fit."""
    unknown = [n for n, s in enumerate(size) if s == -1 or known(s) == -1]
    total = product(shape)
    if not unknown:
        wanted = product(size)
        if known(wanted) is not None and known(total) is not None and not same(wanted, total):
            raise CompileError(f"{op}: {known(total)} elements do not fit the shape {_text(size)}")
        return shape_of(size)
    if len(unknown) > 1:
        raise CompileError(f"{op}: {_text(size)} has more than one -1")
    rest = product([s for n, s in enumerate(size) if n != unknown[0]])
    if known(rest) == 0:
        raise CompileError(f"{op}: the -1 of {_text(size)} is ambiguous beside a size of 0")
    found = quotient(total, rest)
    return shape_of([found if n == unknown[0] else s for n, s in enumerate(size)])


def _text(size: Sequence[Dim]) -> str:
    return f"({', '.join(str(s) for s in size)})"


def reshape_index(old: Shape, new: Shape, index: Index) -> tuple[Expr, ...]:
    """Where in `old` the element stands that is at `index` in `new`, both row-major."""
    olds = [n for n, s in enumerate(old) if s != ONE]
    news = [n for n, s in enumerate(new) if s != ONE]
    place: list[Expr] = [ZERO] * len(old)
    while olds and news and same(old[olds[-1]], new[news[-1]]):
        place[olds.pop()] = index[news.pop()]
    for group_old, group_new in _groups(old, new, olds, news):
        _regroup(old, new, group_old, group_new, index, place)
    return tuple(place)


def _groups(
    old: Shape, new: Shape, olds: list[int], news: list[int]
) -> list[tuple[list[int], list[int]]]:
    """The dims cut into the smallest runs that have equal products, one of each side."""
    groups = []
    a = b = 0
    start_a = start_b = 0
    while a < len(olds):
        a += 1
        left = product([old[n] for n in olds[start_a:a]])
        for end in range(start_b + 1, len(news) + 1):
            if same(left, product([new[n] for n in news[start_b:end]])):
                groups.append((olds[start_a:a], news[start_b:end]))
                start_a, start_b, b = a, end, end
                break
    if start_a < len(olds) or b < len(news):
        groups.append((olds[start_a:], news[start_b:]))
    return groups


def _regroup(
    old: Shape,
    new: Shape,
    group_old: list[int],
    group_new: list[int],
    index: Index,
    place: list[Expr],
) -> None:
    flat: Expr = Const(0)
    for n in group_new:
        flat = flat * new[n] + index[n]
    stride: Expr = Const(1)
    for n in reversed(group_old):
        here = flat // stride
        place[n] = here if n == group_old[0] else here % old[n]
        stride = product([stride, old[n]])


def reshaped(x: Tensor, size: Sequence[Dim], op: str = "reshape") -> Tensor:
    """x with its elements in row-major order under other dims; one size may be -1."""
    shape = resolve(size, x.shape, op)
    if ZERO in shape:
        return te.compute(shape, lambda *_: Const(0, x.dtype), te.fresh(op))
    return mapped(op, x, shape, lambda i: reshape_index(x.shape, shape, i))


@view(
    "reshape",
    lambda x, size: np.reshape(x, size),
    sample(array(3, 4), (12,)),
    sample(array(12), (3, 4)),
    sample(array(3, 4), (2, 6)),
    sample(array(2, 3, 8), (2, 3, 2, 4)),
    sample(array(2, 3, 2, 4), (2, 3, -1)),
    sample(array(2, 15), (-1, 5)),
    sample(array(2, 3, 5), (6, 5)),
    sample(array(1, 7, 1), (7,)),
    sample(array(0, 3), (3, 0)),
    sample(array(), (1, 1)),
    sample(array(6, 10), (4, 15)),
    aten=("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default",
          "aten.view_copy.default", "aten._reshape_copy.default"),
)  # fmt: skip
def build_reshape(x: Tensor, size: Sequence[Dim]) -> Tensor:
    """The elements of x, in row-major order, under other dims."""
    return reshaped(x, size)


@view(
    "reshape_as",
    lambda x, other: np.reshape(x, other.shape),
    sample(array(3, 4), array(2, 6)),
    aten=("aten.view_as.default", "aten.reshape_as.default"),
)
def build_reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """x under the dims of `other`."""
    return reshaped(x, other.shape)


def _flatten_ref(x: Any, start: int = 0, end: int = -1) -> Any:
    if x.ndim == 0:
        return x.reshape(1)
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


@view(
    "flatten",
    _flatten_ref,
    sample(array(2, 3, 5), 0, -1),
    sample(array(2, 3, 5, 2), 1, 2),
    sample(array(2, 3, 5, 2), 2, -1),
    sample(array(), 0, -1),
    aten=("aten.flatten.using_ints",),
)
def build_flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the dims from start to end, both included, made one."""
    first, last = axis_of(start_dim, x.rank, "flatten"), axis_of(end_dim, x.rank, "flatten")
    shape = (*x.shape[:first], product(x.shape[first : last + 1]), *x.shape[last + 1 :])
    return reshaped(x, shape, "flatten")


@view(
    "unflatten",
    lambda x, dim, sizes: x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]),
    sample(array(2, 12, 5), 1, (3, 4)),
    sample(array(12), 0, (-1, 2)),
    aten=("aten.unflatten.int",),
)
def build_unflatten(x: Tensor, dim: int, sizes: Sequence[Dim]) -> Tensor:
    """x with one dim cut into several."""
    at = axis_of(dim, x.rank, "unflatten")
    inner = resolve(sizes, (x.shape[at],), "unflatten")
    return reshaped(x, (*x.shape[:at], *inner, *x.shape[at + 1 :]), "unflatten")
