"""The pass that shortens operands of contractions, on small graphs written by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from tc.device.artifact import Place, touched
from tc.graph.compose import Composer
from tc.graph.fold import fold
from tc.graph.fuse import fuse
from tc.graph.graph import Graph, Node, Value
from tc.graph.group import Group
from tc.graph.precision import shorten
from tc.ir.expr import Const, Sym
from tc.ir.types import BF16, F32, I8, I16, I64, DType
from tc.pipeline import assemble, optimise
from tc.schedule.defaults import default_schedule
from tc.target import Target

DOTS = Target.parse("x86-64-v4+avx512bf16+avx512vnni")
PLAIN = Target.parse("x86-64-v3")
B, S = Sym("b", 0, 64), Sym("s", 0, 64)


def value(name: str, *shape: int | Sym, dtype: DType = F32) -> Value:
    return Value(name, tuple(Const(d) if isinstance(d, int) else d for d in shape), dtype)


X, W, BIAS = value("x", B, S, 64), value("w", 96, 64), value("bias", 96)
Y = value("y", B, S, 96)
LINEAR = Node("linear", (X, W, BIAS), (Y,), "fc")


def graph(*nodes: Node, inputs: tuple[Value, ...] = (X,)) -> Graph:
    return Graph(inputs, (W, BIAS), nodes, nodes[-1].outputs, (B, S))


def ops(g: Graph) -> Counter[str]:
    return Counter(n.op for n in g.nodes)


def test_operands_go_through_bf16() -> None:
    text = str(shorten(graph(LINEAR), "bf16", DOTS))
    assert text.splitlines()[5:-1] == [
        "w.bf16: bf16[96, 64] = to_dtype(w, bf16, False, False, None)  # fc",
        "w.f32: f32[96, 64] = to_dtype(w.bf16, f32, False, False, None)  # fc",
        "x.bf16: bf16[b, s, 64] = to_dtype(x, bf16, False, False, None)  # fc",
        "x.f32: f32[b, s, 64] = to_dtype(x.bf16, f32, False, False, None)  # fc",
        "y: f32[b, s, 96] = linear(x.f32, w.f32, bias)  # fc",
    ]


def test_without_an_instruction_the_weights_alone_are_short() -> None:
    found = shorten(graph(LINEAR), "bf16", PLAIN)
    assert ops(found) == {"to_dtype": 2, "linear": 1}
    assert ops(shorten(graph(LINEAR), "bf16", Target.parse("arm-neon+bf16")))["to_dtype"] == 4
    assert found.nodes[-1].args[0] is X


def test_fp32_changes_nothing() -> None:
    before = graph(LINEAR)
    assert shorten(before, "fp32", DOTS) is before


@pytest.mark.parametrize(("target", "dtype"), [(DOTS, BF16), (PLAIN, F32)])
def test_only_short_weights_are_prepared_and_widening_costs_nothing(
    target: Target, dtype: DType
) -> None:
    folded = optimise(shorten(graph(LINEAR), "bf16", target))
    assert [(v.dtype, v.shape) for v in folded.prepare.outputs] == [(BF16, W.shape)]
    groups = fuse(folded.main, Composer()).steps
    last = groups[-1]
    assert isinstance(last, Group)
    assert len(groups) == (2 if target is DOTS else 1)
    assert [p.dtype for p in last.computation.inputs] == sorted(
        (BF16, dtype, F32), key=[p.dtype for p in last.computation.inputs].index
    )
    made = last.computation
    schedule = str(default_schedule(made.outputs, made.inputs, made.constants, target))
    assert ("tensorize(" in schedule) == ("group=2" in schedule) == (target is DOTS)


@pytest.mark.parametrize(("precision", "kinds"), [("bf16", {BF16}), ("int8", {BF16, I16, I8})])
def test_a_table_of_rows_that_a_product_has_too_is_short_once(
    precision: str, kinds: set[DType]
) -> None:
    ids, rows = value("ids", B, S, dtype=I64), value("rows", B, S, 64)
    nodes = (Node("embedding", (W, ids), (rows,)), Node("linear", (rows, W, None), (Y,)))
    before = Graph((ids,), (W,), nodes, (Y,), (B, S))
    made = assemble(shorten(before, precision, PLAIN), PLAIN).artifact
    kept = {s.number: s.dtype for s in made.storages if s.place is Place.PREPARED}
    assert len(kept) == len(kinds) and set(kept.values()) == kinds
    read = {made.storages[b].place for step in made.main for b in touched(step)}
    assert Place.PARAM not in read


def test_conversions_end_the_operator_before_the_views() -> None:
    a, t, r = value("a", B, S, 8, 8), value("t", S, B, 8, 8), value("r", S, B, 64)
    out = value("out", S, B, 96)
    found = shorten(
        graph(
            Node("exp", (a,), (value("e", B, S, 8, 8),)),
            Node("transpose", (value("e", B, S, 8, 8), 0, 1), (t,)),
            Node("reshape", (t, r.shape), (r,)),
            Node("linear", (r, W, BIAS), (out,)),
            inputs=(a,),
        ),
        "bf16",
        DOTS,
    )
    main = optimise(found).main
    assert [n.op for n in main.nodes] == [
        "to_dtype", "exp", "to_dtype", "transpose", "reshape", "to_dtype", "linear",
    ]  # fmt: skip
    names = [s.name if isinstance(s, Group) else s.op for s in fuse(main, Composer()).steps]
    assert names[0] == "exp"
    assert all(v.dtype is BF16 for v in fuse(main, Composer()).steps[0].outputs)


def test_products_of_parameters_that_are_kept_stay_longer() -> None:
    other = value("other", 96, 64)
    two = Node("cat", ((W, other), 0), (value("two", 192, 64),))
    both = Node("linear", (X, two.outputs[0], None), (value("z", B, S, 192),))
    before = Graph((X,), (W, BIAS, other), (LINEAR, two, both), (*both.outputs, Y), (B, S))
    assert ops(shorten(before, "int8", PLAIN))["grouped_linear"] == 2
    # What is made of one that is kept and one that is not is kept.
    found = shorten(before, "int8", PLAIN, {"other": "bf16"})
    assert ops(found) == {
        "reshape": 2, "quantize_rows": 1, "weight_scale": 1, "weight_int8": 1, "weight_sum": 1,
        "grouped_linear": 1, "add": 1, "cat": 1, "to_dtype": 2, "linear": 1,
    }  # fmt: skip
    assert ops(shorten(before, "int8", PLAIN, {"w": "fp32"})) == ops(before)
    assert ops(shorten(before, "bf16", PLAIN, {"other": "fp32"}))["to_dtype"] == 2


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_matrices_of_experts_are_bf16_in_either(precision: str) -> None:
    rows, given = value("rows", S, 64), value("experts", 8, 96, 64)
    turned, groups, ends = value("turned", 8, 64, 96), value("groups", S), value("ends", 8)
    groups, ends = (Value(v.name, v.shape, I64) for v in (groups, ends))
    out = value("out", S, 96)
    before = Graph(
        (rows, groups, ends),
        (given,),
        (
            Node("transpose", (given, 1, 2), (turned,)),
            Node("grouped_matmul", (rows, turned, groups, ends), (out,)),
        ),
        (out,),
        (S,),
    )
    found = shorten(before, precision, PLAIN)
    assert ops(found)["to_dtype"] == 2
    made = assemble(found, PLAIN).artifact
    sizes = {s.dtype for s in made.storages if s.place is Place.PREPARED}
    assert sizes == {BF16}


def test_a_value_is_converted_once() -> None:
    other = Node("linear", (X, W, None), (value("z", B, S, 96),), "again")
    both = Node("add", (Y, other.outputs[0], 1), (value("sum", B, S, 96),))
    assert ops(shorten(graph(LINEAR, other, both), "bf16", DOTS)) == {
        "to_dtype": 4, "linear": 2, "add": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "node",
    [
        Node("matmul", (X, value("q", B, 64, S)), (value("y", B, S, S),)),
        Node("linear", (X, value("given", 96, 64), None), (Y,)),
        Node("linear", (value("n", 7, 64), value("v", 64), None), (value("y", 7),)),
        Node("linear", (value("h", B, S, 64, dtype=BF16), value("hw", 96, 64, dtype=BF16), None),
             (value("y", B, S, 96, dtype=BF16),)),
    ],
    ids=["two_activations", "weight_given", "vector", "bf16_already"],
)  # fmt: skip
def test_what_stays(node: Node) -> None:
    weights = tuple(v for v in node.inputs if v.name in ("v", "hw"))
    inputs = tuple(v for v in node.inputs if v not in weights)
    before = Graph(inputs, weights, (node,), node.outputs, (B, S))
    assert shorten(before, "bf16", DOTS).nodes == before.nodes


def test_matrices_of_other_operators() -> None:
    k_by_n = value("kn", 64, 96)
    for node in (
        Node("matmul", (X, k_by_n), (Y,)),
        Node("mm", (value("m", S, 64), k_by_n), (value("y", S, 96),)),
        Node("addmm", (BIAS, value("m", S, 64), k_by_n, 1, 1), (value("y", S, 96),)),
    ):
        inputs = tuple(v for v in node.inputs if v not in (BIAS, k_by_n))
        before = Graph(inputs, (BIAS, k_by_n), (node,), node.outputs, (B, S))
        folded = optimise(shorten(before, "bf16", DOTS))
        assert [v.dtype for v in folded.prepare.outputs] == [BF16]
        last = fuse(folded.main, Composer()).steps[-1]
        assert isinstance(last, Group)
        made = last.computation
        schedule = str(default_schedule(made.outputs, made.inputs, made.constants, DOTS))
        assert "1, 48, along=0, group=2)" in schedule
        assert fold(before).prepare.nodes == ()


def test_int8_operands_are_in_groups() -> None:
    weight, bias, out = value("long", 96, 100), value("b", 96), value("out", B, S, 96)
    x = value("wide", B, S, 100)
    node = Node("linear", (x, weight, bias), (out,), "fc")
    found = shorten(Graph((x,), (weight, bias), (node,), (out,), (B, S)), "int8", DOTS)
    assert [n.op for n in found.nodes] == [
        "constant_pad_nd", "reshape", "quantize_rows",
        "constant_pad_nd", "reshape", "weight_scale", "weight_int8", "weight_sum",
        "grouped_linear", "add",
    ]  # fmt: skip
    folded = optimise(found)
    shapes = sorted((str(v.dtype), len(v.shape)) for v in folded.prepare.outputs)
    assert shapes == [("bf16", 2), ("i16", 2), ("i8", 3)]
    last = fuse(folded.main, Composer()).steps[-1]
    assert isinstance(last, Group)
    made = last.computation
    schedule = str(default_schedule(made.outputs, made.inputs, made.constants, DOTS))
    assert "tensorize(" in schedule
    assert "along=2, group=4)" in schedule
    assert schedule.count("pack(") == 3


@pytest.mark.parametrize(
    ("target", "bits"),
    [
        ("x86-64-v4+avx512bf16+avx512vnni", 8), ("x86-64-v3", 7), ("x86-64-v4", 7),
        ("generic", 8), ("arm-neon", 7), ("arm-neon+dotprod", 7), ("arm-neon+dotprod+i8mm", 8),
    ],
)  # fmt: skip
def test_bits_of_an_activation(target: str, bits: int) -> None:
    """7 bits are the same with a sign, and their products by 8 fit i16 in pairs."""
    found = shorten(graph(LINEAR), "int8", Target.parse(target)).nodes
    (rows,) = (n for n in found if n.op == "quantize_rows")
    (product,) = (n for n in found if n.op == "grouped_linear")
    assert rows.args[1] == product.args[6] == bits


@pytest.mark.parametrize("depth", [1, 3, 4, 33, 64, 65, 192])
def test_groups_hold_every_element(depth: int) -> None:
    weight, x, out = value("long", 96, depth), value("wide", B, depth), value("out", B, 96)
    node = Node("linear", (x, weight, None), (out,))
    found = shorten(Graph((x,), (weight,), (node,), (out,), (B,)), "int8", DOTS)
    (product,) = (n for n in found.nodes if n.op == "grouped_linear")
    short = product.args[2]
    assert isinstance(short, Value)
    count, size = (int(d.value) for d in short.shape[1:] if isinstance(d, Const))
    assert size % 4 == 0
    assert size <= 64
    assert depth <= count * size < depth + size


@pytest.mark.parametrize(("precision", "kinds"), [("bf16", [BF16]), ("int8", [BF16, I8])])
def test_rows_of_a_table_that_another_program_multiplies_with_are_short(
    precision: str, kinds: list[DType]
) -> None:
    ids, rows = value("ids", B, S, dtype=I64), value("rows", B, S, 64)
    before = Graph((ids,), (W,), (Node("embedding", (W, ids), (rows,)),), (rows,), (B, S))
    assert optimise(shorten(before, precision, PLAIN, None, ("other",))).prepare.outputs == ()
    folded = optimise(shorten(before, precision, PLAIN, None, ("other", "w")))
    assert sorted((v.dtype for v in folded.prepare.outputs), key=str) == kinds
