"""Convolutions with padding become a padding and a convolution of what it gives.

A sum whose terms are read behind a question whether they are there is no product of two operands,
which is what has fast schedules; the zeros around a copy of the input ask nothing. The copy is a
pointwise operator, so that it can be what writes the input in the first place. This pass must not
change what is computed.
"""

from __future__ import annotations

from typing import Any

from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.rewrite import with_nodes
from tc.ops.conv import each, sides_of
from tc.ops.dims import tidy


def pad_convolutions(graph: Graph) -> Graph:
    """The graph with the padding of its convolutions apart."""
    nodes: list[Node] = []
    for node in graph.nodes:
        sides = _sides(node)
        nodes += [node] if sides is None else _apart(node, sides)
    return graph if len(nodes) == len(graph.nodes) else with_nodes(graph, nodes)


def _sides(node: Node) -> list[tuple[int, int]] | None:
    """What is added before and after each spatial dim; None where nothing is, or no convolution."""
    if node.op not in ("conv1d", "conv2d", "conv3d", "conv_same"):
        return None
    weight, padding, dilation = node.args[1], node.args[4], node.args[5]
    assert isinstance(weight, Value)
    sides = sides_of(padding, weight, dilation)
    return sides if any(side != (0, 0) for side in sides) else None


def _apart(node: Node, sides: list[tuple[int, int]]) -> list[Node]:
    given: tuple[Any, ...] = node.args
    x, weight, bias, stride, _, dilation, groups = given
    rank = len(sides)
    outer, spatial = x.shape[:-rank], x.shape[-rank:]
    sizes = [tidy(n + (a + b)) for n, (a, b) in zip(spatial, sides, strict=True)]
    wide = Value(f"{node.outputs[0].name}.padded", (*outer, *sizes), x.dtype)
    around: Arg = tuple(n for side in reversed(sides) for n in side)
    args: tuple[Arg, ...] = (
        wide, weight, bias, each(stride, rank), (0,) * rank, each(dilation, rank), groups
    )  # fmt: skip
    return [
        Node("constant_pad_nd", (x, around, 0), (wide,), node.origin),
        Node(f"conv{rank}d", args, node.outputs, node.origin),
    ]
