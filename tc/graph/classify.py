"""Which nodes cost a kernel of their own ("solid"), and which are worked out where they are read.

Views, fresh constants and widening conversions are free. So are cheap predicates: comparisons and
logic on integers and bools, from which attention masks are made, up to a limit of operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from tc.graph.graph import Graph, Node, Value
from tc.graph.views import is_view
from tc.ir.types import BF16, F32, I8, I32, U8
from tc.ops.table import Kind, by_name

LIMIT = 12  # operations of a predicate that are done again in every group that reads it
_WIDENINGS = frozenset(((BF16, F32), (U8, I32), (I8, I32)))
_CHEAP = frozenset(
    (
        *("add", "sub", "mul", "neg", "eq", "ne", "lt", "le", "gt", "ge", "where"),
        *("bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor"),
        *("logical_and", "logical_or", "logical_not"),
        *("minimum", "maximum", "to_device", "to_dtype", "type_as"),
    )
)


def is_solid(node: Node) -> bool:
    """Whether the node does work that is never free."""
    if node.is_fallback:
        return True
    kind = by_name(node.op).kind
    return not is_view(node) and kind is not Kind.CREATE and node.op not in _CHEAP


def is_widening(node: Node) -> bool:
    """Whether the node converts short numbers to ones that hold them all, in an instruction."""
    if node.op != "to_dtype" or len(node.inputs) != 1:
        return False
    return (node.inputs[0].dtype, node.outputs[0].dtype) in _WIDENINGS


def free_nodes(graph: Graph) -> set[int]:
    """The ids of the nodes that are worked out where they are read."""
    cost: dict[Value, int] = {}
    fresh: set[Value] = set()  # values that depend on no data
    free: set[int] = set()
    for node in graph.nodes:
        found = _cost(node, cost, fresh)
        if found is None:
            continue
        free.add(id(node))
        cost.update((v, found) for v in node.outputs)
        if all(v in fresh for v in node.inputs):
            fresh.update(node.outputs)
    return free


def _cost(node: Node, cost: Mapping[Value, int], fresh: set[Value]) -> int | None:
    """Operations for one element, None for a node that is not free."""
    if node.is_fallback:
        return None
    below = sum(cost.get(v, 1) for v in node.inputs)
    kind = by_name(node.op).kind
    if kind is Kind.CREATE:
        return 0
    if is_view(node) or is_widening(node):
        return below
    if kind is Kind.GATHER and node.op == "index" and isinstance(node.args[1], tuple):
        places = [v for v in node.args[1] if isinstance(v, Value)]
        return below if all(v in fresh and not v.dtype.is_float for v in places) else None
    values = (*node.inputs, *node.outputs)
    if node.op not in _CHEAP:
        return None
    # Floats are left to kernels, but for what depends on places alone.
    if any(v.dtype.is_float for v in values) and not all(v in fresh for v in node.inputs):
        return None
    return below + 1 if below < LIMIT else None
