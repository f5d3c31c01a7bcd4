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


def test_transposed_is_the_other_way_round() -> None:
    x, w, out = value("x", 2, 3, H), value("w", 3, 5, 4), value("y", 2, 5, H)
    node = Node("conv_transpose", (x, w, None, (2,), (1,), (1,), 1, (3,)), (out,), "here")
    spread, flip, apart, turn, joined, conv = pad_convolutions(graph(node)).nodes
    assert spread.args == (x, (2,), ((8, 9),))
    assert spread.outputs[0].shape == (Const(2), Const(3), H * 2 + 16)
    assert (flip.op, flip.args, turn.op, turn.args[1:]) == ("flip", (w, (2,)), "transpose", (1, 2))
    assert (apart.op, joined.op) == ("reshape", "reshape")
    given = (spread.outputs[0], joined.outputs[0], None, (1,), (0,), (3,), 1)
    assert conv == Node("conv1d", given, (out,), "here")
    assert joined.outputs[0].shape == (Const(5), Const(3), Const(4))


def test_each_group_of_a_transposed_one_is_turned_by_itself() -> None:
    x, w, out = value("x", 2, 4, H), value("w", 4, 5, 4), value("y", 2, 10, H)
    node = Node("conv_transpose", (x, w, None, (2,), (1,), (0,), 2, (1,)), (out,))
    *_, apart, turn, joined, conv = pad_convolutions(graph(node)).nodes
    shapes = [n.outputs[0].shape for n in (apart, turn, joined)]
    assert shapes == [tuple(map(Const, s)) for s in ((2, 2, 5, 4), (2, 5, 2, 4), (10, 2, 4))]
    assert conv.args[1:] == (joined.outputs[0], None, (1,), (0,), (1,), 2)


def test_transposed_without_a_batch_is_left_alone() -> None:
    x, w, out = value("x", 4, H), value("w", 4, 5, 4), value("y", 5, H)
    given = graph(Node("conv_transpose", (x, w, None, (2,), (1,), (0,), 1, (1,)), (out,)))
    assert pad_convolutions(given) is given


def test_the_operator_for_both_kinds() -> None:
    x, w, out = value("x", 2, 3, H), value("w", 3, 3, 4), value("y", 2, 3, H)
    args = (x, w, None, (1,), (1,), (1,))
    for transposed, ops in ((False, 2), (True, 6)):
        node = Node("convolution", (*args, transposed, (0,), 1), (out,))
        assert len(pad_convolutions(graph(node)).nodes) == ops


@pytest.mark.parametrize("padding", [0, (0, 0), "valid"])
def test_without_padding_nothing_changes(padding: Any) -> None:
    x, w, out = value("x", 2, 3, H, 7), value("w", 5, 3, 1, 1), value("y", 2, 5, H, 7)
    op = "conv_same" if isinstance(padding, str) else "conv2d"
    given = graph(Node(op, (x, w, None, (1, 1), padding, (1, 1), 1), (out,)))
    assert pad_convolutions(given) is given
