"""Equal nodes are computed once.

Random operators must not come here as table operators: two of them with equal arguments would
become one. Fallback nodes are left alone for that reason.
"""

from __future__ import annotations

from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.rewrite import with_inputs, with_nodes
from tc.ops.table import Kind, by_name


def cse(graph: Graph) -> Graph:
    """The graph with each distinct (operator, arguments) once."""
    seen: dict[tuple[object, ...], Node] = {}
    renames: dict[Value, Value] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = with_inputs(old, renames)
        if node.is_fallback or by_name(node.op).kind in (Kind.SCATTER, Kind.LOOP):
            nodes.append(node)
            continue
        key = (node.op, *map(_typed, node.args))
        first = seen.setdefault(key, node)
        if first is node:
            nodes.append(node)
        else:
            renames.update(zip(node.outputs, first.outputs, strict=True))
    if len(nodes) == len(graph.nodes):
        return graph
    return with_nodes(graph, nodes, renames)


def _typed(arg: Arg) -> object:
    """The argument as a key: 1, 1.0 and True are equal in Python, but not to an operator."""
    if isinstance(arg, tuple):
        return tuple([_typed(a) for a in arg])
    return (type(arg), repr(arg)) if isinstance(arg, float) else (type(arg), arg)
