"""What only tensor expressions have: elements of tensors, and folds over axes.

Import the nodes from `tc.ir.expr` and `Tensor` from `tc.ir.tensor`.
"""

from __future__ import annotations

from tc.errors import CompileError, InternalError
from tc.frozen import frozen
from tc.ir.arith import Expr, ExprLike, Var, wrap
from tc.ir.monoid import Monoid
from tc.ir.remembered import remembers
from tc.ir.text import Printed
from tc.ir.types import DType

Shape = tuple[Expr, ...]


class Tensor(Printed):
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
            raise CompileError(
                f"{self.name}: has {len(self.shape)} dims and was given {len(indices)} indices; "
                "give one for each dim"
            )
        return Read(self, tuple(wrap(i) for i in indices))


@remembers
@frozen
class Read(Expr):
    """An element of a tensor (tensor expressions only; lowering turns it into a `Load`)."""

    tensor: Tensor
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype


@remembers
@frozen
class Reduce(Expr):
    """The fold of `values` over all points of `axes` (tensor expressions only).

    `values` are the lifted state of one point, one for each state of the monoid; `result` is an
    expression over the monoid's left state variables, for example `acc / denominator`.
    """

    monoid: Monoid
    axes: tuple[Var, ...]
    extents: tuple[Expr, ...]
    values: tuple[Expr, ...]
    result: Expr

    @property
    def dtype(self) -> DType:
        return self.result.dtype
