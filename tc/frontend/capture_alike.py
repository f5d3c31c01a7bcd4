"""What may be told of a traced node without its data: what it is like, and what it does to rows.

This module must not change a graph.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.fx import Node
from torch.fx.node import map_arg

_aten = torch.ops.aten
# The same elements, perhaps of another type.
SAME: Final = frozenset((
    _aten.clone.default, _aten.contiguous.default, _aten.to.dtype, _aten._to_copy.default,
    _aten.type_as.default,
))  # fmt: skip
VIEWS: Final = frozenset((_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default))
_SQUEEZES: Final = frozenset((
    _aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims, _aten.unsqueeze.default,
))  # fmt: skip
# Whose zero divisors are an error where the numbers are whole.
_DIVISIONS: Final = ("aten::div", "aten::floor_divide", "aten::fmod", "aten::remainder")
_FILLED: Final = {_aten.ones.default: 1, _aten.ones_like.default: 1,
                  _aten.zeros.default: 0, _aten.zeros_like.default: 0}  # fmt: skip
_FILLED_WITH: Final = frozenset((_aten.full.default, _aten.full_like.default))


def is_pointwise(target: Any) -> bool:
    """Whether each element follows from those in its place alone."""
    tags = getattr(target, "tags", ())
    return torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags


def is_view(node: Node) -> bool:
    """Whether it gives the elements of its first operand in their order."""
    return node.target in SAME or node.target in VIEWS or node.target in _SQUEEZES


def may_be_done_in_vain(node: Node) -> bool:
    """Whether elements that nobody reads may be worked out too: that is no error, nor a write."""
    value, schema = node.meta["val"], node.target._schema  # type: ignore[union-attr]  # an overload
    whole_numbers = isinstance(value, torch.Tensor) and not value.dtype.is_floating_point
    return not (schema.is_mutable or (whole_numbers and schema.name in _DIVISIONS))


class Alike:
    """Finds the first of the nodes that give the same, as masks do that are made anew each time."""

    def __init__(self) -> None:
        self._first: dict[Node, Node] = {}
        self._made: dict[object, Node] = {}

    def __call__(self, node: Node) -> Node:
        """The first node known to give what `node` gives; itself where there is none."""
        if node not in self._first:
            self._first[node] = node
            if node.op == "call_function" and (is_pointwise(node.target) or is_view(node)):
                given = map_arg((node.args, dict(node.kwargs)), self)
                self._first[node] = self._made.setdefault((node.target, str(given)), node)
        return self._first[node]


class Uniform:
    """Finds tensors all of whose elements are one number, whatever the data are."""

    def __init__(self) -> None:
        self._known: dict[Node, torch.Tensor | None] = {}

    def __call__(self, node: Node) -> torch.Tensor | None:
        """That element, with as many dims as the tensor; None where they may differ."""
        if node not in self._known:
            self._known[node] = self._found(node)
        return self._known[node]

    def _found(self, node: Node) -> torch.Tensor | None:
        value, target = node.meta.get("val"), node.target
        if node.op != "call_function" or not isinstance(value, torch.Tensor):
            return None
        if target in _FILLED or target in _FILLED_WITH:
            number: Any = node.args[1] if target in _FILLED_WITH else _FILLED[target]
            known = isinstance(number, bool | int | float)
            return torch.full((1,) * value.dim(), number, dtype=value.dtype) if known else None
        if not (target in SAME or is_pointwise(target)):
            return None
        given = {n: self(n) for n in node.all_input_nodes}
        if not given or any(each is None for each in given.values()):
            return None
        args, kwargs = map_arg((node.args, dict(node.kwargs)), given.__getitem__)
        return target(*args, **kwargs)  # type: ignore[operator, no-any-return]  # an overload
