"""Rows in parts whose sizes are data, each part multiplied with a matrix of its own.

Experts that are given rows sorted by their kinds cut them up by how many there are of each, and put
the products together again: that is one product of rows in groups (`tc.ops.experts`). This module
must not change any value that the graph computes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg

from tc.frontend.capture_alike import Alike
from tc.frontend.capture_composites import replace_by
from tc.frontend.capture_kinds_run import grouped, stacked, to_stack

_aten = torch.ops.aten
_SPLITS: Final = frozenset((_aten.split_with_sizes.default, _aten.split.sizes))
_ITEMS: Final = frozenset((_aten.item.default, _aten._local_scalar_dense.default))


def join_parts(module: GraphModule) -> None:
    """Multiply all parts at once where a graph does it one by one."""
    joined = False
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is _aten.cat.default:
            joined = _join(module, node) or joined
    if joined:
        module.graph.eliminate_dead_code()
        for node in module.graph.nodes:
            if node.op == "call_function" and free_unbacked_symbols(node.meta["val"]):
                node.meta["val"] = _evaluated(node)  # as many rows as before they were cut up


def _evaluated(node: Node) -> Any:  # a tensor, or several
    given = map_arg((node.args, dict(node.kwargs)), lambda n: n.meta["val"])
    with torch.no_grad(), enable_python_dispatcher():
        return node.target(*given[0], **given[1])  # type: ignore[operator]  # an overload


def _join(module: GraphModule, node: Node) -> bool:
    parts: Any = node.args[0]
    along = node.args[1] if len(node.args) > 1 else 0
    if along != 0 or any(n.target is not _aten.linear.default or len(n.args) > 2 for n in parts):
        return False
    whole: Any = parts[0].args[0].args[0] if _is_part(parts[0].args[0], 0) else None
    if whole is None or whole.target not in _SPLITS:
        return False
    x, sizes, *dim = whole.args
    counts = _counts(sizes)
    mine = all(_is_part(n.args[0], at) and n.args[0].args[0] is whole for at, n in enumerate(parts))
    if counts is None or dim not in ([], [0]) or len(sizes) != len(parts) or not mine:
        return False
    if x.meta["val"].dim() != 2:
        return False

    def product(x: torch.Tensor, counts: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return grouped(x, stacked(weights).transpose(1, 2), counts.cumsum(0))

    weights = to_stack([n.args[1] for n in parts], Alike())
    replace_by(module, node, [x, counts, *weights], product)
    return True


def _is_part(node: Any, at: int) -> bool:
    return node.target is operator.getitem and node.args[1] == at


def _counts(sizes: Sequence[Any]) -> Node | None:
    """The tensor of which the sizes are the elements."""
    found: set[Node] = set()
    for at, size in enumerate(sizes):
        if not isinstance(size, Node) or size.target not in _ITEMS:
            return None
        element: Any = size.args[0]
        if element.target is _aten.select.int and element.args[1:] == (0, at):
            found.add(element.args[0])
        elif _is_part(element, at) and element.args[0].target is _aten.unbind.int:
            found.add(element.args[0].args[0])
        else:
            return None
    known = len(found) == 1
    return found.pop() if known else None
