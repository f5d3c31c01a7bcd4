"""Graph passes one by one, on small graphs written by hand."""

from __future__ import annotations

from tc.graph.cse import cse
from tc.graph.dead_code import dead_code
from tc.graph.fold import fold
from tc.graph.graph import Graph, Node, Value
from tc.graph.merge_linears import merge_linears
from tc.graph.views import simplify_views, unflatten_products
from tc.ir.expr import Const, Sym
from tc.ir.types import BOOL, F32
from tc.ops.dims import tidy

B, S = Sym("b", 0, 64), Sym("s", 0, 64)


def value(name: str, *shape: int | Sym) -> Value:
    return Value(name, tuple(Const(d) if isinstance(d, int) else d for d in shape), F32)


X, W, V = value("x", B, S, 8), value("w", 4, 8), value("v", 6, 8)


def graph(*nodes: Node, outputs: tuple[Value, ...] | None = None) -> Graph:
    return Graph((X,), (W, V), nodes, outputs or nodes[-1].outputs, (B, S))


def test_graphs_print_as_text() -> None:
    out = value("y", B, S, 4)
    text = str(graph(Node("linear", (X, W, None), (out,), "fc")))
    assert text == (
        "sym b in [0, 64]\nsym s in [0, 64]\nparam w: f32[4, 8]\nparam v: f32[6, 8]\n"
        "input x: f32[b, s, 8]\ny: f32[b, s, 4] = linear(x, w, None)  # fc\nreturn y\n"
    )


def test_unused_nodes_go() -> None:
    used = Node("exp", (X,), (value("e", B, S, 8),))
    unused = Node("log", (X,), (value("l", B, S, 8),))
    assert dead_code(graph(unused, used)).nodes == (used,)


def test_checks_stay_and_equal_ones_are_one() -> None:
    test, first, second = (Value(name, (), BOOL) for name in ("t", "c", "d"))
    nodes = [
        Node("all", (X,), (test,)),
        Node("assertion", (test, "no"), (first,)),
        Node("assertion", (test, "no"), (second,)),
        Node("exp", (X,), (value("e", B, S, 8),)),
    ]
    given = Graph((X,), (), tuple(nodes), nodes[-1].outputs, (B, S), (), (first, second))
    found = dead_code(cse(dead_code(given)))
    assert [n.op for n in found.nodes] == ["all", "assertion", "exp"]
    assert found.checks == fold(found).main.checks == (first,)
    assert "check c\nreturn e\n" in str(found)


def test_equal_nodes_are_one() -> None:
    a, b = value("a", B, S, 8), value("b", B, S, 8)
    total = Node("add", (a, b, 1), (value("t", B, S, 8),))
    found = cse(graph(Node("exp", (X,), (a,)), Node("exp", (X,), (b,)), total))
    assert [n.op for n in found.nodes] == ["exp", "add"]
    assert found.nodes[1].args == (a, a, 1)


def test_numbers_of_different_types_are_different_arguments() -> None:
    a, b = value("a", B, S, 8), value("b", B, S, 8)
    nodes = (Node("add", (X, 1, 1), (a,)), Node("add", (X, True, 1), (b,)))
    assert len(cse(graph(*nodes, outputs=(a, b))).nodes) == 2


def test_reshapes_of_reshapes_are_one_and_those_back_are_none() -> None:
    flat, back = value("flat", B, S, 2, 4), value("back", B, S, 8)
    last = Node("exp", (back,), (value("e", B, S, 8),))
    found = simplify_views(
        graph(Node("reshape", (X, flat.shape), (flat,)),
              Node("reshape", (flat, back.shape), (back,)), last)
    )  # fmt: skip
    assert dead_code(found).nodes == (Node("exp", (X,), last.outputs),)


def test_products_of_flattened_rows_keep_their_rows() -> None:
    rows = tidy(B * S)
    flat, out = Value("flat", (rows, Const(8)), F32), Value("out", (rows, Const(5)), F32)
    bias, weight, y = value("bias", 5), value("weight", 8, 5), value("y", B, S, 5)
    found = unflatten_products(
        Graph(
            (X,), (bias, weight),
            (
                Node("reshape", (X, flat.shape), (flat,)),
                Node("addmm", (bias, flat, weight, 1, 1), (out,)),
                Node("reshape", (out, y.shape), (y,)),
            ),
            (y,), (B, S),
        )
    )  # fmt: skip
    left = dead_code(simplify_views(found))
    assert [n.op for n in left.nodes] == ["matmul", "add"]
    assert left.nodes[0].args == (X, weight)


def layers(*after: Node) -> Graph:
    a, b = value("a", B, S, 4), value("b", B, S, 6)
    return graph(
        Node("linear", (X, W, None), (a,)), Node("linear", (X, V, None), (b,)), *after,
        outputs=tuple(n.outputs[0] for n in after),
    )  # fmt: skip


def test_linear_layers_of_one_operand_are_merged() -> None:
    a, b = value("a", B, S, 4), value("b", B, S, 6)
    views = (
        Node("transpose", (a, 0, 1), (value("at", S, B, 4),)),
        Node("transpose", (b, 0, 1), (value("bt", S, B, 6),)),
    )
    found = merge_linears(layers(*views))
    assert [n.op for n in found.nodes] == [
        "cat", "linear", "slice", "slice", "transpose", "transpose",
    ]  # fmt: skip
    assert [n.args[2:4] for n in found.nodes[2:4]] == [(0, 4), (4, 10)]


def test_linear_layers_with_epilogues_are_left_alone() -> None:
    a, b = value("a", B, S, 4), value("b", B, S, 6)
    maps = (
        Node("relu", (a,), (value("ar", B, S, 4),)), Node("relu", (b,), (value("br", B, S, 6),))
    )  # fmt: skip
    before = layers(*maps)
    assert merge_linears(before) is before


def test_what_needs_parameters_alone_is_prepared() -> None:
    both, turned = value("both", 10, 8), value("turned", 8, 10)
    y = value("y", B, S, 10)
    found = fold(
        graph(
            Node("cat", ((W, V), 0), (both,)),
            Node("transpose", (both, 0, 1), (turned,)),
            Node("matmul", (X, turned), (y,)),
        )
    )
    assert [n.op for n in found.prepare.nodes] == ["cat"]
    # The transposed view costs nothing where it is read.
    assert [n.op for n in found.main.nodes] == ["transpose", "matmul"]
    assert found.main.params == (W, V, both)
