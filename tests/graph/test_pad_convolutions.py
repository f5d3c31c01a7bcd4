"""Padding of convolutions as an operator of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tc.graph.graph import Graph, Node, Value
from tc.graph.pad_convolutions import pad_convolutions
from tc.ir.expr import Const, Sym
from tc.ir.types import F32

H = Sym("h", 1, 64)


def value(name: str, *shape: int | Sym) -> Value:
    return Value(name, tuple(Const(d) if isinstance(d, int) else d for d in shape), F32)


def graph(node: Node) -> Graph:
    x, w = node.inputs
    return Graph((x,), (w,), (node,), node.outputs, (H,))


@pytest.mark.parametrize(
    ("padding", "dilation", "around", "size"),
    [
        ((1, 2), 1, (2, 2, 1, 1), (H + 2, 11)),
        ((0, 1), (1,), (1, 1, 0, 0), (H, 9)),
        (1, 1, (1, 1, 1, 1), (H + 2, 9)),
        ("same", (1, 1), (1, 2, 1, 1), (H + 2, 10)),
        ("same", (2, 3), (4, 5, 2, 2), (H + 4, 16)),
    ],
)
def test_zeros_are_put_around_the_input(
    padding: Any, dilation: Any, around: tuple[int, ...], size: tuple[Any, int]
) -> None:
    x, w, out = value("x", 2, 3, H, 7), value("w", 5, 3, 3, 4), value("y", 2, 5, H, 7)
    op = "conv_same" if isinstance(padding, str) else "conv2d"
    node = Node(op, (x, w, None, (1, 1), padding, dilation, 1), (out,), "here")
    pad, conv = pad_convolutions(graph(node)).nodes
    (wide,) = pad.outputs
    assert (pad.op, pad.args, pad.origin) == ("constant_pad_nd", (x, around, 0), "here")
    assert wide.shape == (Const(2), Const(3), size[0], Const(size[1]))
    steps = dilation * 2 if dilation == (1,) else dilation if dilation != 1 else (1, 1)
    assert conv == Node("conv2d", (wide, w, None, (1, 1), (0, 0), steps, 1), (out,), "here")


@pytest.mark.parametrize("padding", [0, (0, 0), "valid"])
def test_without_padding_nothing_changes(padding: Any) -> None:
    x, w, out = value("x", 2, 3, H, 7), value("w", 5, 3, 1, 1), value("y", 2, 5, H, 7)
    op = "conv_same" if isinstance(padding, str) else "conv2d"
    given = graph(Node(op, (x, w, None, (1, 1), padding, (1, 1), 1), (out,)))
    assert pad_convolutions(given) is given
