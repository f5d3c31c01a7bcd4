"""Linear layers of one operand side by side: q, k and v as one product, cut apart afterwards.

The weights are put together once, by nodes that depend on parameters alone. Layers whose results
meet pointwise operators are left alone: those run in the registers of the product itself, which a
product for several layers could not offer.
"""

from __future__ import annotations

from collections import defaultdict

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import kept, users, with_nodes
from tc.ir.expr import Const
from tc.ops.table import Kind, by_name


def merge_linears(graph: Graph) -> Graph:
    """The graph with families of linear layers merged."""
    families = _families(graph)
    if not families:
        return graph
    first = {id(f[0]): f for f in families}
    gone = {id(n) for f in families for n in f}
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in first:
            nodes += _merged(first[id(node)])
        elif id(node) not in gone:
            nodes.append(node)
    return with_nodes(graph, nodes)


def _families(graph: Graph) -> list[list[Node]]:
    params, used, out = set(graph.params), users(graph), kept(graph)
    found: dict[tuple[object, ...], list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op != "linear" or node.outputs[0] in out:
            continue
        x, weight, bias = node.args
        if weight not in params or (bias is not None and bias not in params):
            continue
        if _meets_pointwise(node.outputs[0], used):
            continue
        assert isinstance(weight, Value)
        if len(weight.shape) == 2 and isinstance(weight.shape[0], Const):
            found[x, bias is None, weight.shape[1], weight.dtype].append(node)
    return [f for f in found.values() if len(f) > 1]


def _meets_pointwise(value: Value, used: dict[Value, list[Node]]) -> bool:
    readers = used.get(value, [])
    return len(readers) == 1 and (
        not readers[0].is_fallback and by_name(readers[0].op).kind is Kind.POINTWISE
    )


def _merged(family: list[Node]) -> list[Node]:
    """cat of weights and biases, one linear, a slice for each layer."""
    weights = tuple(n.args[1] for n in family)
    name = family[0].outputs[0].name
    sizes = [int(n.outputs[0].shape[-1].value) for n in family]  # type: ignore[attr-defined]
    x, dtype, total = family[0].args[0], family[0].outputs[0].dtype, Const(sum(sizes))
    first = weights[0]
    assert isinstance(first, Value)
    weight = Value(f"{name}.weights", (total, first.shape[1]), first.dtype)
    nodes = [Node("cat", (weights, 0), (weight,), family[0].origin)]
    bias: Value | None = None
    if family[0].args[2] is not None:
        biases = tuple(n.args[2] for n in family)
        bias = Value(f"{name}.biases", (total,), first.dtype)
        nodes.append(Node("cat", (biases, 0), (bias,), family[0].origin))
    out = Value(f"{name}.merged", (*family[0].outputs[0].shape[:-1], total), dtype)
    nodes.append(Node("linear", (x, weight, bias), (out,), family[0].origin))
    start = 0
    for node, size in zip(family, sizes, strict=True):
        dim = len(out.shape) - 1
        nodes.append(Node("slice", (out, dim, start, start + size, 1), node.outputs, node.origin))
        start += size
    return nodes
