"""Tensor expressions: what an operator computes, without saying how.

A tensor is a placeholder or is computed from others. Nodes are compared by structure and hashed
by name, so names must be unique in one expression.
"""

from __future__ import annotations

from dataclasses import dataclass

from tc.errors import InternalError
from tc.ir.expr import Expr, ExprLike, Read, Var, wrap
from tc.ir.monoid import Monoid
from tc.ir.types import DType

Shape = tuple[Expr, ...]


class Tensor:
    """Base of tensors. `t[i, j]` is one element, `t.shape` a tuple of index expressions."""

    __slots__ = ()
    name: str
    shape: Shape

    @property
    def dtype(self) -> DType:
        raise InternalError(f"{type(self).__name__} has no dtype")

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Expr:
        if not isinstance(indices, tuple):
            indices = (indices,)
        if len(indices) != len(self.shape):
            raise InternalError(
                f"{self.name} has {len(self.shape)} dims and was given {len(indices)} indices"
            )
        return Read(self, tuple(wrap(i) for i in indices))

    def __str__(self) -> str:
        from tc.ir.printer import print_tensor

        return print_tensor(self)


@dataclass(frozen=True, slots=True, unsafe_hash=False)
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


@dataclass(frozen=True, slots=True)
class Compute(Tensor):
    """body for each point of `axes`; the body may hold `Reduce` nodes anywhere."""

    name: str
    axes: tuple[Var, ...]
    shape: Shape
    body: Expr

    @property
    def dtype(self) -> DType:
        return self.body.dtype

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Scatter(Tensor):
    """`base` with elements replaced: for each point of `axes` in order, where `mask`,

    out[indices] = value, or out[indices] = monoid.combine(out[indices], value).
    """

    name: str
    base: Tensor
    axes: tuple[Var, ...]
    extents: Shape
    indices: tuple[Expr, ...]
    value: Expr
    monoid: Monoid | None = None
    mask: Expr | None = None

    @property
    def shape(self) -> Shape:  # type: ignore[override]  # derived, not stored
        return self.base.shape

    @property
    def dtype(self) -> DType:
        return self.base.dtype

    def __hash__(self) -> int:
        return hash(self.name)
