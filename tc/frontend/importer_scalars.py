"""Integers that a model keeps in tensors without dims, although they follow from sizes.

`torch.tensor(n)` of a size n, reckoned with and read again by `item`, as a bound of a slice say,
is a size still: what torch takes for data is known here. This module must not look at anything
that is data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch.fx import Node as FxNode

from tc.ir.expr import Const, Expr, maximum, minimum, wrap
from tc.ops.dims import tidy

_aten = torch.ops.aten
ITEMS: Final = frozenset((_aten.item.default, _aten._local_scalar_dense.default))
_MADE: Final = frozenset((_aten.scalar_tensor.default,))
_SAME: Final = frozenset((_aten.clone.default, _aten.to.dtype, _aten.to.device,
                          _aten._to_copy.default))  # fmt: skip
_BINARY: Final[Mapping[Any, Callable[[Expr, Expr], Expr]]] = {
    _aten.add.Tensor: lambda a, b: a + b,
    _aten.sub.Tensor: lambda a, b: a - b,
    _aten.rsub.Scalar: lambda a, b: b - a,
    _aten.mul.Tensor: lambda a, b: a * b,
    _aten.minimum.default: minimum,
    _aten.maximum.default: maximum,
}


class Scalars:
    """What is known of the values of a graph's integer tensors without dims."""

    def __init__(self, size_of: Callable[[Any], Any]) -> None:
        self._size_of = size_of
        self._known: dict[FxNode, Expr] = {}

    def of(self, arg: Any) -> Expr | None:
        """The value of an argument: a tensor that follows from sizes, a size, or a number."""
        if isinstance(arg, FxNode):
            if arg in self._known:
                return self._known[arg]
            if isinstance(arg.meta.get("val"), torch.Tensor):
                return None
            arg = self._size_of(arg)
        if isinstance(arg, torch.SymInt):
            arg = self._size_of(arg)
        if isinstance(arg, bool) or not isinstance(arg, int | Expr):
            return None
        value = wrap(arg)
        return value if value.dtype.is_int else None

    def note(self, node: FxNode, traced: torch.Tensor) -> None:
        """Remember what `node` gives, where that is known."""
        if traced.dim() or traced.dtype not in (torch.int64, torch.int32):
            return
        found = self._value(node)
        if found is not None:
            self._known[node] = tidy(found)

    def _value(self, node: FxNode) -> Expr | None:
        if node.target in _MADE or node.target in _SAME:
            return self.of(node.args[0])
        if node.target is _aten.neg.default:
            operand = self.of(node.args[0])
            return None if operand is None else Const(0) - operand
        rule = _BINARY.get(node.target)
        if rule is None or len(node.args) != 2 or node.kwargs:
            return None  # a third is a factor
        left, right = (self.of(arg) for arg in node.args)
        return None if left is None or right is None else rule(left, right)
