"""Operators that put the elements of one tensor in other places, some of them several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, cast, equal, select
from tc.ir.tensor import Tensor
from tc.ops.dims import ONE, Dim, axis_of, known, product, tidy
from tc.ops.reshape import reshaped
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator
from tc.ops.views import Index, mapped, view


@view(
    "repeat",
    lambda x, repeats: np.tile(x, repeats),
    sample(array(3, 5), (2, 3)),
    sample(array(3), (4, 1, 2)),
    sample(array(), (3,)),
    sample(array(3), (0,)),
    aten=("aten.repeat.default",),
)
def build_repeat(x: Tensor, repeats: Sequence[Dim]) -> Tensor:
    """x beside itself so many times along each dim."""
    skip = len(repeats) - x.rank
    old = (*([ONE] * skip), *x.shape)
    shape = [tidy(s * r) for s, r in zip(old, repeats, strict=True)]

    def place(index: Index) -> list[Expr]:
        at = []
        for n, size in enumerate(x.shape):
            i = index[skip + n]
            once = known(repeats[skip + n]) == 1
            at.append(i if once else Const(0) if size == ONE else i % size)
        return at

    return mapped("repeat", x, shape, place)


@view("tile", lambda x, dims: np.tile(x, dims), sample(array(3, 5), (2,)),
      sample(array(3), (2, 2)))  # fmt: skip
def build_tile(x: Tensor, dims: Sequence[Dim]) -> Tensor:
    """`repeat` that may leave leading dims out."""
    return build_repeat(x, (*([1] * (x.rank - len(dims))), *dims))


@view(
    "repeat_interleave",
    lambda x, n, dim=None, _size=None: np.repeat(x, n, dim),
    sample(array(2, 3, 5), 2, 1, None),
    sample(array(3, 5), 3, None, None),
    sample(array(3, 5), 1, -1, None),
    aten=("aten.repeat_interleave.self_int",),
)
def build_repeat_interleave(
    x: Tensor, repeats: int, dim: int | None = None, _output_size: Dim | None = None
) -> Tensor:
    """Each slice along a dim so many times in a row."""
    if dim is None:
        return build_repeat_interleave(reshaped(x, (product(x.shape),)), repeats, 0)
    axis = axis_of(dim, x.rank, "repeat_interleave")
    shape = [tidy(s * repeats) if n == axis else s for n, s in enumerate(x.shape)]

    def place(index: Index) -> list[Expr]:
        return [i // repeats if n == axis else i for n, i in enumerate(index)]

    return mapped("repeat_interleave", x, shape, place)


@view("flip", lambda x, dims: np.flip(x, dims), sample(array(3, 5), (0,)),
      sample(array(3, 5), (0, -1)), sample(array(0, 3), (1,)), sample(array(3), ()))  # fmt: skip
def build_flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    """x read backwards along dims."""
    axes = {axis_of(d, x.rank, "flip") for d in dims}

    def place(index: Index) -> list[Expr]:
        return [tidy(x.shape[n] - 1) - i if n in axes else i for n, i in enumerate(index)]

    return mapped("flip", x, x.shape, place)


@view(
    "roll",
    lambda x, shifts, dims=(): np.roll(x, shifts, dims or None),
    sample(array(3, 5), (2,), (1,)),
    sample(array(3, 5), (-1, 7), (0, 1)),
    sample(array(3, 5), (4,), ()),
)
def build_roll(x: Tensor, shifts: Sequence[Dim], dims: Sequence[int] = ()) -> Tensor:
    """x moved around along dims; without dims, as one row."""
    if not dims:
        return reshaped(build_roll(reshaped(x, (product(x.shape),)), shifts, (0,)), x.shape)
    moved: dict[int, Expr] = {}
    for shift, d in zip(shifts, dims, strict=True):
        axis = axis_of(d, x.rank, "roll")
        moved[axis] = tidy(moved.get(axis, Const(0)) + shift)

    def place(index: Index) -> list[Expr]:
        return [(i - moved[n]) % x.shape[n] if n in moved else i for n, i in enumerate(index)]

    return mapped("roll", x, x.shape, place)


# --- triangles


def _triangle(name: str, x: Tensor, keep: Any) -> Tensor:
    def element(*index: Expr) -> Expr:
        return select(keep(index[-2], index[-1]), x[index], Const(0, x.dtype))

    return te.compute(x.shape, element, te.fresh(name))


_TRIANGLES = tuple(
    sample(x, d) for x in (array(5, 7), array(2, 4, 4), ints(3, 0)) for d in (0, 1, -2)
)


@operator("tril", aten=("aten.tril.default",), kind=Kind.POINTWISE,
          reference=lambda x, d=0: np.tril(x, d), samples=_TRIANGLES)  # fmt: skip
def build_tril(x: Tensor, diagonal: Dim = 0) -> Tensor:
    """x with 0 above a diagonal."""
    return _triangle("tril", x, lambda i, j: j <= i + diagonal)


@operator("triu", aten=("aten.triu.default",), kind=Kind.POINTWISE,
          reference=lambda x, d=0: np.triu(x, d), samples=_TRIANGLES)  # fmt: skip
def build_triu(x: Tensor, diagonal: Dim = 0) -> Tensor:
    """x with 0 below a diagonal."""
    return _triangle("triu", x, lambda i, j: i + diagonal <= j)


@operator("diag_embed", aten=("aten.diag_embed.default",), kind=Kind.POINTWISE,
          reference=lambda x, *_: x[..., None] * np.eye(x.shape[-1]),
          samples=(sample(array(2, 4), 0, -2, -1),))  # fmt: skip
def build_diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last dim of x on their diagonals."""
    if (offset, dim1 % (x.rank + 1), dim2 % (x.rank + 1)) != (0, x.rank - 1, x.rank):
        raise UnsupportedError("diag_embed: of other than the main diagonal of the last two dims")

    def element(*index: Expr) -> Expr:
        on = equal(index[-2], index[-1])
        return select(on, cast(x[index[:-1]], x.dtype), Const(0, x.dtype))

    return te.compute((*x.shape, x.shape[-1]), element, te.fresh("diag_embed"))
