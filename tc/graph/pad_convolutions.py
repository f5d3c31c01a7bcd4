"""Convolutions with padding become a padding and a convolution of what it gives.

A sum whose terms are read behind a question whether they are there is no product of two operands,
which is what has fast schedules; the zeros around a copy of the input ask nothing. The copy is a
pointwise operator, so that it can be what writes the input in the first place. A transposed
convolution is one of the input with zeros between its elements, by the weights the other way round
(Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv 1603.07285,
section 4). This pass must not change what is computed.
"""

from __future__ import annotations

from typing import Any

from tc.frozen import frozen
from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.rewrite import with_nodes
from tc.ir.expr import Const, Expr
from tc.ops.conv import each, sides_of
from tc.ops.dims import tidy


@frozen
class _Convolution:
    """The arguments of a convolution, whatever operator it is.

    `beyond` is what the output of a transposed one has more at the end; None: it is not transposed.
    """

    x: Value
    weight: Value
    bias: Arg
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    groups: int
    beyond: tuple[int, ...] | None = None


def pad_convolutions(graph: Graph) -> Graph:
    """The graph with the padding of its convolutions apart."""
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _apart(node)
    return graph if len(nodes) == len(graph.nodes) else with_nodes(graph, nodes)


def _apart(node: Node) -> list[Node]:
    c = _arguments(node)
    if c is None:
        return [node]
    if c.beyond is not None:
        return _turned(node, c, c.beyond)
    sides = sides_of(c.padding, c.weight, c.dilation)
    if all(side == (0, 0) for side in sides):
        return [node]
    wide = _wide(node, c, [1] * len(sides), sides)
    around: Arg = tuple(n for side in reversed(sides) for n in side)
    return [
        Node("constant_pad_nd", (c.x, around, 0), (wide,), node.origin),
        _plain(node, c, wide, c.weight, c.stride),
    ]


def _arguments(node: Node) -> _Convolution | None:
    """Those of a convolution; a transposed one without a batch is left as it is."""
    args: tuple[Any, ...] = node.args
    match node.op:
        case "conv1d" | "conv2d" | "conv3d" | "conv_same":
            x, weight, bias, stride, padding, dilation, groups = args
            beyond = None
        case "conv_transpose":
            x, weight, bias, stride, padding, beyond, groups, dilation = args
        case "convolution":
            x, weight, bias, stride, padding, dilation, transposed, extra, groups = args
            beyond = extra if transposed else None
        case _:
            return None
    rank = len(weight.shape) - 2
    if beyond is not None and len(x.shape) != rank + 2:
        return None
    return _Convolution(
        x, weight, bias, each(stride, rank), padding, each(dilation, rank), groups,
        None if beyond is None else each(beyond, rank),
    )  # fmt: skip


def _turned(node: Node, c: _Convolution, beyond: tuple[int, ...]) -> list[Node]:
    """A transposed convolution as one of the input spread out, by the weights turned round."""
    rank = len(c.stride)
    kernel = [int(n.value) for n in c.weight.shape[2:]]  # type: ignore[attr-defined]
    sides = [
        (d * (k - 1) - p, d * (k - 1) - p + extra)
        for k, d, p, extra in zip(kernel, c.dilation, each(c.padding, rank), beyond, strict=True)
    ]
    wide = _wide(node, c, c.stride, sides)
    steps, weight = _weights_turned(node, c)
    return [
        Node("spread", (c.x, c.stride, tuple(sides)), (wide,), node.origin),
        *steps,
        _plain(node, c, wide, weight, (1,) * rank),
    ]


def _weights_turned(node: Node, c: _Convolution) -> tuple[list[Node], Value]:
    """Weights (C, O / groups, …) as those of a plain convolution, (O, C / groups, …)."""
    taps, g, name = c.weight.shape[2:], c.groups, node.outputs[0].name
    inputs, share = (int(n.value) for n in c.weight.shape[:2])  # type: ignore[attr-defined]
    each_group = Const(inputs // g)
    shapes: list[tuple[str, tuple[Arg, ...], tuple[Expr, ...]]] = [
        ("flip", (tuple(range(2, len(taps) + 2)),), c.weight.shape),
        ("reshape", ((g, inputs // g, share, *taps),), (Const(g), each_group, Const(share), *taps)),
        ("transpose", (1, 2), (Const(g), Const(share), each_group, *taps)),
        ("reshape", ((share * g, inputs // g, *taps),), (Const(share * g), each_group, *taps)),
    ]
    steps, last = list[Node](), c.weight
    for n, (op, args, shape) in enumerate(shapes):
        made = Value(f"{name}.weight{n}", shape, c.weight.dtype)
        steps.append(Node(op, (last, *args), (made,), node.origin))
        last = made
    return steps, last


def _wide(node: Node, c: _Convolution, stride: Any, sides: list[tuple[int, int]]) -> Value:
    """The input with zeros between and around its elements."""
    rank = len(sides)
    sizes = [
        tidy((n - 1) * s + (1 + before + after))
        for n, s, (before, after) in zip(c.x.shape[-rank:], stride, sides, strict=True)
    ]
    return Value(f"{node.outputs[0].name}.padded", (*c.x.shape[:-rank], *sizes), c.x.dtype)


def _plain(node: Node, c: _Convolution, x: Value, weight: Value, stride: tuple[int, ...]) -> Node:
    """The convolution without any padding."""
    rank = len(stride)
    args: tuple[Arg, ...] = (x, weight, c.bias, stride, (0,) * rank, c.dilation, c.groups)
    return Node(f"conv{rank}d", args, node.outputs, node.origin)
