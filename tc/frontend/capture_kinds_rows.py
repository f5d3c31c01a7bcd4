"""Which operators work row by row, so that rows may be computed in any order and company.

This module must not change a graph.
"""

from __future__ import annotations

import operator
from collections.abc import Container
from typing import Any, Final

import torch
from torch.fx import Node

from tc.frontend.capture_alike import SAME, VIEWS, is_pointwise, may_be_done_in_vain

_aten = torch.ops.aten
# Of rows with a matrix.
PRODUCTS: Final = frozenset((_aten.linear.default, _aten.matmul.default, _aten.mm.default))
# Which argument is the dim that they work along.
_ALONG: Final = {
    _aten.chunk.default: 2, _aten.split.Tensor: 2, _aten.split_with_sizes.default: 2,
    _aten.log_softmax.int: 1, _aten.select.int: 1, _aten.slice.Tensor: 1, _aten.softmax.int: 1,
    _aten.unsqueeze.default: 1,
}  # fmt: skip


class Rows:
    """The nodes of one kind, `body`, in which `own` is what each kind has of its own."""

    def __init__(self, body: Container[Node], own: Container[Node], count: str) -> None:
        """`count` is how many rows there are, as text."""
        self._body = body
        self._own = own
        self._count = count

    def kept(self, node: Node) -> bool:
        """Whether each row that a node of the body gives follows from that row of its operands."""
        inner = [n for n in node.all_input_nodes if n in self._body]
        if not inner:  # it picks rows
            return not any(n in self._own for n in node.all_input_nodes)
        if node.target is _aten.sym_size.int or node.target is operator.getitem:
            return True
        if is_pointwise(node.target):
            return self._meet(node) and may_be_done_in_vain(node)
        first: Any = node.args[0]
        if first not in self._body:
            return False
        if any(n in self._body and not _is_size(n) for n in node.all_input_nodes[1:]):
            return False
        if node.target in VIEWS:
            return self._in_front(node) and (self._in_front(first) or self._behind_a_one(first))
        if not self._in_front(first):
            return False
        if node.target in PRODUCTS:
            return self._is_product(node)
        if any(n in self._own for n in node.all_input_nodes):
            return False
        rank = first.meta["val"].dim()
        if node.target is _aten.layer_norm.default:
            return len(node.args[1]) < rank  # type: ignore[arg-type, no-any-return]  # a list
        if node.target in _ALONG:
            at = _ALONG[node.target]
            dim: Any = node.args[at] if at < len(node.args) else 0
            return bool(dim % (rank + (node.target is _aten.unsqueeze.default)))
        return node.target in SAME

    def _in_front(self, node: Node) -> bool:
        value = node.meta["val"]
        return isinstance(value, torch.Tensor) and str(value.shape[0]) == self._count

    def _behind_a_one(self, node: Node) -> bool:
        shape = node.meta["val"].shape
        return len(shape) > 1 and str(shape[0]) == "1" and str(shape[1]) == self._count

    def _meet(self, node: Node) -> bool:
        """Whether rows meet rows, and all else has dims of what is within a row alone."""
        rank = node.meta["val"].dim()
        for operand in node.all_input_nodes:
            value = operand.meta["val"]
            if operand in self._body:
                if _is_size(operand) or value.dim() != rank or not self._in_front(operand):
                    return False
            elif isinstance(value, torch.Tensor) and value.dim() >= rank:
                return False
        return True

    def _is_product(self, node: Node) -> bool:
        x, weight, *bias = node.args
        matrix = weight.meta["val"].dim() == 2 and x.meta["val"].dim() > 1  # type: ignore
        return matrix and (weight in self._own or not any(b in self._own for b in bias))


def _is_size(node: Node) -> bool:
    return not isinstance(node.meta["val"], torch.Tensor)
