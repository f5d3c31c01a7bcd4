"""Nodes of which nothing is used are removed."""

from __future__ import annotations

from tc.graph.graph import Graph, Node
from tc.graph.rewrite import kept, with_nodes


def dead_code(graph: Graph) -> Graph:
    """The graph without nodes that no output needs, and without parameters that none reads."""
    needed = kept(graph)
    alive: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v in needed for v in node.outputs):
            alive.append(node)
            needed.update(node.inputs)
    if len(alive) == len(graph.nodes):
        return graph
    return with_nodes(graph, reversed(alive))
