"""Results of a graph that are views of its arguments: made of the arguments, not computed.

AOTAutograd takes from such a result how it lies in the argument's memory, so that a copy of its
values will not do. This module must not compile anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

Views = Callable[..., Sequence[torch.Tensor]]


class _NotOneError(Exception):
    """What is asked for is computed."""


def views_of(graph: GraphModule) -> tuple[dict[int, int], Views]:
    """Which outputs are views, each with its place among those, and what makes them of a call.

    The arguments must be as the graph leaves them: a view of one that it writes to is among them.
    """
    # A value that is copied into an argument at the end is that argument from then on.
    roots = {n: n for n in graph.graph.nodes if n.op == "placeholder"}
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.copy_.default and node.args[0].op == "placeholder":
            roots.setdefault(node.args[1], node.args[0])
    made, known, found = Graph(), {}, []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            known[node] = made.node_copy(node)

    def copied(node: Node) -> Node:
        if (root := roots.get(node)) is not None:
            return known[root]
        if node not in known:
            if not _is_view(node):
                raise _NotOneError
            inner = {each: copied(each) for each in node.all_input_nodes}
            known[node] = made.node_copy(node, inner.__getitem__)
        return known[node]

    places = {}
    end = next(n for n in graph.graph.nodes if n.op == "output")
    for number, value in enumerate(end.args[0]):
        if isinstance(value, Node) and value not in roots and _is_tensor(value):
            try:
                found.append(copied(value))
            except _NotOneError:
                continue
            places[number] = len(found) - 1
    made.output(tuple(found))
    made.eliminate_dead_code()
    return places, GraphModule(torch.nn.Module(), made)


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _is_view(node: Node) -> bool:
    """Whether it is a view of its first operand, a part of such views, or a number of sizes."""
    if isinstance(node.meta.get("val"), (torch.SymInt, int)) or node.target is operator.getitem:
        return node.op == "call_function"
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    results = [result.alias_info for result in target._schema.returns]
    return bool(results) and all(info is not None and not info.is_write for info in results)
