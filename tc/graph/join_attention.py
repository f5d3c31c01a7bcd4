"""Attention written out as softmax(q kᵀ …) v becomes one operator.

Where the weights are read by one product alone, and the scores are a product of matrices with
pointwise operators after it, softmax and second product become `softmax_matmul`, into whose kernel
the scores can go: no matrix of scores or weights is then ever in memory. This pass must not change
what the formula gives: a row without any score above -inf stays NaN, as eager has it.
"""

from __future__ import annotations

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import kept, producers, users, with_nodes
from tc.ir.types import F32
from tc.ops.table import Kind, by_name

_PRODUCTS = ("matmul", "bmm")
_SOFTMAX = ("softmax", "softmax_core")


def join_attention(graph: Graph) -> Graph:
    """The graph with softmax and the product of its result as one node, where scores are made."""
    made, used, out = producers(graph), users(graph), kept(graph)
    gone: set[int] = set()
    joined: dict[int, Node] = {}
    for node in graph.nodes:
        soft = made.get(node.inputs[0]) if node.op in _PRODUCTS and node.inputs else None
        if soft is None or soft.op not in _SOFTMAX or node.args[0] not in soft.outputs:
            continue
        if _alone(soft.outputs[0], used, out) and _fits(soft, node):
            scores, values = soft.args[0], node.args[1]
            if isinstance(scores, Value) and _is_made(scores, made, used, out):
                gone.add(id(soft))
                joined[id(node)] = Node(
                    "softmax_matmul", (scores, values), node.outputs, node.origin
                )
    if not joined:
        return graph
    return with_nodes(graph, [joined.get(id(n), n) for n in graph.nodes if id(n) not in gone])


def _alone(value: Value, used: dict[Value, list[Node]], out: set[Value]) -> bool:
    return value not in out and len(used.get(value, [])) == 1


def _fits(soft: Node, product: Node) -> bool:
    """Whether it is a softmax over keys, and the stacks of matrices do not broadcast."""
    weights, values = soft.outputs[0], product.args[1]
    if not isinstance(values, Value) or weights is values:
        return False
    rank = len(weights.shape)
    plain = all(v.dtype is F32 for v in (*soft.inputs, weights, values))
    same = values.shape[:-2] == weights.shape[:-2] and len(values.shape) == rank
    return plain and same and rank > 2 and soft.args[1] in (-1, rank - 1)


def _is_made(
    value: Value, made: dict[Value, Node], used: dict[Value, list[Node]], out: set[Value]
) -> bool:
    """Whether a product makes the value, with pointwise operators of its shape after it."""
    while _alone(value, used, out) and (node := made.get(value)) is not None:
        if node.op in _PRODUCTS:
            return True
        if node.is_fallback or by_name(node.op).kind is not Kind.POINTWISE:
            return False
        same = [v for v in node.inputs if v.shape == value.shape and v in made]
        value = next((v for v in same if _is_made(v, made, used, out)), Value("", (), value.dtype))
    return False
