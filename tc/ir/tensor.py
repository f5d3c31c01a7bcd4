"""Tensor expressions: what an operator computes, without saying how.

A tensor is a placeholder or is computed from others. Nodes are compared by structure and hashed
by name, so names must be unique in one expression.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.ir.element import Shape, Tensor
from tc.ir.expr import Expr, Var
from tc.ir.monoid import Monoid
from tc.ir.types import DType

__all__ = ["Compute", "Placeholder", "Scan", "Scatter", "Shape", "Tensor"]


@frozen
class Placeholder(Tensor):
    """An input: its elements come from a buffer that the caller gives."""

    name: str
    shape: Shape
    type: DType

    @property
    def dtype(self) -> DType:
        return self.type

    def __hash__(self) -> int:
        return hash(self.name)


@frozen
class Compute(Tensor):
    """body for each point of `axes`; the body may hold `Reduce` nodes anywhere.

    With a `message`, the elements are bools, and it is reported where one of them is false.
    """

    name: str
    axes: tuple[Var, ...]
    shape: Shape
    body: Expr
    message: str = ""

    @property
    def dtype(self) -> DType:
        return self.body.dtype

    def __hash__(self) -> int:
        return hash(self.name)


@frozen
class Scan(Tensor):
    """Running fold along `axes[dim]`: the element at n is the fold of `value` at 0 … n."""

    name: str
    axes: tuple[Var, ...]
    shape: Shape
    dim: int
    monoid: Monoid
    value: Expr

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    def __hash__(self) -> int:
        return hash(self.name)


@frozen
class Scatter(Tensor):
    """`base` with elements replaced: for each point of `axes` in order, where `mask`,

    out[indices] = value, or out[indices] = monoid.combine(out[indices], value).

    With `in_place` the result is the memory of `base`, a placeholder that nothing else reads: only
    what is replaced is written, and the kernel has no other buffer for it.
    """

    name: str
    base: Tensor
    axes: tuple[Var, ...]
    extents: Shape
    indices: tuple[Expr, ...]
    value: Expr
    monoid: Monoid | None = None
    mask: Expr | None = None
    in_place: bool = False

    @property
    def shape(self) -> Shape:  # type: ignore[override]  # derived, not stored
        return self.base.shape

    @property
    def dtype(self) -> DType:
        return self.base.dtype

    def __hash__(self) -> int:
        return hash(self.name)
