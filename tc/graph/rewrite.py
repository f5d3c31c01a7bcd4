"""What graph passes share: replacing values, and who uses what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tc.graph.graph import Arg, Graph, Node, Value

Renames = Mapping[Value, Value]


def replaced(arg: Arg, renames: Renames) -> Arg:
    """The argument with values replaced; the same object where there is none."""
    if isinstance(arg, Value):
        return renames.get(arg, arg)
    if isinstance(arg, tuple):
        new = tuple([replaced(a, renames) for a in arg])
        return new if any(a is not b for a, b in zip(arg, new, strict=True)) else arg
    return arg


def with_inputs(node: Node, renames: Renames) -> Node:
    """The node reading other values."""
    args = tuple([replaced(a, renames) for a in node.args])
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        return node
    return Node(node.op, args, node.outputs, node.origin)


def with_nodes(graph: Graph, nodes: Iterable[Node], renames: Renames | None = None) -> Graph:
    """The graph with other nodes, its outputs and checks renamed."""
    names = renames or {}
    return Graph(
        graph.inputs,
        graph.params,
        tuple(nodes),
        tuple(names.get(v, v) for v in graph.outputs),
        graph.symbols,
        tuple((target, names.get(v, v)) for target, v in graph.mutated),
        tuple(dict.fromkeys(names.get(v, v) for v in graph.checks)),
    )


def producers(graph: Graph) -> dict[Value, Node]:
    """The node that gives each value; inputs and parameters have none."""
    return {v: n for n in graph.nodes for v in n.outputs}


def users(graph: Graph) -> dict[Value, list[Node]]:
    """The nodes that read each value, in order."""
    found: dict[Value, list[Node]] = defaultdict(list)
    for n in graph.nodes:
        for v in n.inputs:
            found[v].append(n)
    return found


def kept(graph: Graph) -> set[Value]:
    """The values that a call needs in memory: what it hands out, and its checks."""
    return {*graph.outputs, *(v for _, v in graph.mutated), *graph.checks}
