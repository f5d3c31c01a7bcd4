"""Views: operators whose every element is one element of the operand, by an index map.

Each is one tensor whose body is a single read. Division and remainder occur only where dims are
really merged or cut apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Expr
from tc.ir.tensor import Tensor
from tc.ops.dims import (
    ONE,
    ZERO,
    Dim,
    axes_of,
    axis_of,
    known,
    shape_of,
    stretched,
)
from tc.ops.samples import array, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator

Index = Sequence[Expr]


def view(
    name: str,
    reference: Callable[..., Any],
    *samples: Sample,
    aten: tuple[str, ...] = (),
    otherwise: str = "",
) -> Callable[[Builder], Builder]:
    """A row of kind VIEW for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.VIEW,
        reference=reference,
        samples=samples,
        otherwise=otherwise,
    )


def mapped(
    name: str, x: Tensor, shape: Sequence[Dim], place: Callable[[Index], Sequence[Expr]]
) -> Tensor:
    """The tensor of `shape` whose element at an index is that of x at `place(index)`."""
    return te.compute(shape_of(shape), lambda *i: x[tuple(place(i))], te.fresh(name))


# --- dims of one


@view(
    "unsqueeze",
    np.expand_dims,
    sample(array(3, 5), 0),
    sample(array(3, 5), -1),
    sample(array(), 0),
    aten=("aten.unsqueeze.default", "aten.unsqueeze_copy.default"),
)
def build_unsqueeze(x: Tensor, dim: int) -> Tensor:
    """x with a dim of 1 put in."""
    at = axis_of(dim, x.rank + 1, "unsqueeze")
    shape = (*x.shape[:at], ONE, *x.shape[at:])
    return mapped("unsqueeze", x, shape, lambda i: (*i[:at], *i[at + 1 :]))


def _squeezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    gone = [n for n in axes if x.shape[n] == ONE]
    kept = [n for n in range(x.rank) if n not in gone]

    def place(index: Index) -> tuple[Expr, ...]:
        at = dict(zip(kept, index, strict=True))
        return tuple(at.get(n, ZERO) for n in range(x.rank))

    return mapped("squeeze", x, [x.shape[n] for n in kept], place)


def _squeeze_ref(x: Any, dims: Any = None) -> Any:
    axes = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    axes = [a % x.ndim for a in axes] if x.ndim else []
    return x.reshape([s for n, s in enumerate(x.shape) if n not in axes or s != 1])


@view("squeeze", _squeeze_ref, sample(array(1, 3, 1)), sample(array(3, 5)))
def build_squeeze(x: Tensor) -> Tensor:
    """x without its dims of 1."""
    return _squeezed(x, range(x.rank))


@view("squeeze_dim", _squeeze_ref, sample(array(1, 3, 1), -1), sample(array(3, 5), 0),
      sample(array(1, 3, 1), (0, 2)), sample(array(), 0),
      aten=("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze_copy.dim"))  # fmt: skip
def build_squeeze_dim(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    """x without the named dims that are 1."""
    return _squeezed(x, () if dim == () else axes_of(dim, x.rank, "squeeze"))


# --- broadcasting


def expanded(x: Tensor, size: Sequence[Dim], op: str = "expand") -> Tensor:
    """x repeated along its dims of 1, and along new dims in front, to `size` (-1 keeps)."""
    skip = len(size) - x.rank
    if skip < 0:
        raise CompileError(f"{op}: a tensor with {x.rank} dims to {len(size)}; give every dim")
    shape = []
    for n, s in enumerate(size):
        old = x.shape[n - skip] if n >= skip else ONE
        value, before = known(s), known(old)
        if value == -1 and n < skip:
            raise CompileError(f"{op}: size -1 for the new dim {n}; give its size")
        if value is not None and before not in (None, 1, value) and value != -1:
            raise CompileError(f"{op}: dim {n} of size {before} to {value}; only 1 stretches")
        shape.append(old if value == -1 or (old != ONE and value is None) else s)
    target = shape_of(shape)
    return te.compute(target, lambda *i: stretched(x, target, i), te.fresh(op))


def _expand_ref(x: Any, size: Sequence[int], *_: object) -> Any:
    old = (1,) * (len(size) - x.ndim) + x.shape
    return np.broadcast_to(x, [o if s == -1 else s for s, o in zip(size, old, strict=True)])


@view(
    "expand",
    _expand_ref,
    sample(array(3, 1), (3, 5), False),
    sample(array(3, 1), (2, -1, 5), False),
    sample(array(), (2, 3), False),
    sample(array(1, 3), (0, 3), False),
    aten=("aten.expand.default", "aten.expand_copy.default", "aten.broadcast_to.default"),
)
def build_expand(x: Tensor, size: Sequence[Dim], _implicit: bool = False) -> Tensor:
    """x stretched to `size`."""
    return expanded(x, size)


@view("expand_as", lambda x, y: np.broadcast_to(x, y.shape), sample(array(3, 1), ints(2, 3, 5)))
def build_expand_as(x: Tensor, other: Tensor) -> Tensor:
    """x stretched to the shape of `other`."""
    return expanded(x, other.shape)


# --- order of dims


def permuted(x: Tensor, dims: Sequence[int], op: str = "permute") -> Tensor:
    """x with its dims in another order."""
    order = [axis_of(d, x.rank, op) for d in dims]
    if sorted(order) != list(range(x.rank)):
        raise CompileError(f"{op}: {tuple(dims)} is no order of {x.rank} dims; name each once")

    def place(index: Index) -> list[Expr]:
        return [index[order.index(n)] for n in range(x.rank)]

    return mapped(op, x, [x.shape[n] for n in order], place)


@view("permute", np.transpose, sample(array(2, 3, 5), (2, 0, 1)), sample(array(2, 3), (-1, 0)),
      sample(array(), ()), aten=("aten.permute.default", "aten.permute_copy.default"))  # fmt: skip
def build_permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """x with its dims in the given order."""
    return permuted(x, dims)


@view("transpose", np.swapaxes, sample(array(2, 3, 5), 1, -1), sample(array(3, 5), 0, 0),
      aten=("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default",
            "aten.transpose_copy.int"))  # fmt: skip
def build_transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """x with two dims exchanged."""
    if x.rank == 0:
        return permuted(x, ())
    a, b = axis_of(dim0, x.rank, "transpose"), axis_of(dim1, x.rank, "transpose")
    order = list(range(x.rank))
    order[a], order[b] = order[b], order[a]
    return permuted(x, order, "transpose")


@view("t", np.transpose, sample(array(3, 5)), sample(array(3)),
      aten=("aten.t.default", "aten.numpy_T.default", "aten.t_copy.default"))  # fmt: skip
def build_t(x: Tensor) -> Tensor:
    """x with its dims in reverse."""
    return permuted(x, range(x.rank)[::-1], "t")


@view("matrix_transpose", lambda x: np.swapaxes(x, -1, -2), sample(array(2, 3, 5)),
      aten=("aten.mT.default", "aten.adjoint.default"))  # fmt: skip
def build_matrix_transpose(x: Tensor) -> Tensor:
    """x with its last two dims exchanged."""
    return build_transpose(x, -1, -2)


@view("movedim", np.moveaxis, sample(array(2, 3, 5), 0, 2),
      sample(array(2, 3, 5, 1), (0, 1), (-1, -2)),
      aten=("aten.movedim.int", "aten.movedim.intlist", "aten.moveaxis.int"))  # fmt: skip
def build_movedim(
    x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor:
    """x with some dims moved, the others in their order."""
    sources = [source] if isinstance(source, int) else source
    targets = [destination] if isinstance(destination, int) else destination
    moved = {
        axis_of(d, x.rank, "movedim"): axis_of(s, x.rank, "movedim")
        for s, d in zip(sources, targets, strict=True)
    }
    others = iter([n for n in range(x.rank) if n not in moved.values()])
    order = [moved[n] if n in moved else next(others) for n in range(x.rank)]
    return permuted(x, order, "movedim")
