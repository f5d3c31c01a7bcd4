"""Views in their simplest form: those that change nothing go, reshapes of reshapes are one.

A product of flattened rows, reshape -> addmm -> reshape, becomes one over the rows as they are, so
that what surrounds it has one shape.
"""

from __future__ import annotations

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import users, with_inputs, with_nodes
from tc.ir.expr import Const, Expr
from tc.ops.table import Kind, by_name

# Operators with several operands, or that change the elements' type: never mere renamings.
JOINS = frozenset(("cat", "stack", "meshgrid", "meshgrid_indexing"))
# Views whose elements are those of the operand, each once, in the same order.
RESHAPES = frozenset(
    (
        *("reshape", "reshape_as", "flatten", "unflatten"),
        *("unsqueeze", "squeeze", "squeeze_dim", "contiguous", "clone"),
    )
)


def is_view(node: Node) -> bool:
    """Whether the node only renames places of its first operand."""
    return not node.is_fallback and by_name(node.op).kind is Kind.VIEW and node.op not in JOINS


def is_reshape(node: Node) -> bool:
    """Whether a dense operand's memory is the result's memory."""
    return node.op in RESHAPES and len(node.outputs) == 1


def source_of(node: Node) -> Value:
    """The operand of a view."""
    source = node.args[0]
    assert isinstance(source, Value)
    return source


def simplify_views(graph: Graph) -> Graph:
    """The graph without views that keep shape and order, and with chains of reshapes cut."""
    made: dict[Value, Node] = {}
    renames: dict[Value, Value] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = with_inputs(old, renames)
        if is_reshape(node):
            node = _through(node, made)
            source, (out,) = source_of(node), node.outputs
            if source.shape == out.shape and source.dtype is out.dtype:
                renames[out] = source
                continue
        else:
            same = _same_as(node)
            if same is not None:
                renames[node.outputs[0]] = same
                continue
        nodes.append(node)
        made.update((v, node) for v in node.outputs)
    return with_nodes(graph, nodes, renames)


def _through(node: Node, made: dict[Value, Node]) -> Node:
    """A reshape of a reshape takes the first one's operand."""
    inner = made.get(source_of(node))
    while inner is not None and is_reshape(inner):
        source = source_of(inner)
        node = Node("reshape", (source, node.outputs[0].shape), node.outputs, node.origin)
        inner = made.get(source)
    return node


def _same_as(node: Node) -> Value | None:
    """The operand that a slice, expand or cat gives back as it is."""
    if len(node.outputs) != 1:
        return None
    out, source = node.outputs[0], node.args[0] if node.args else None
    if node.op == "cat" and isinstance(source, tuple):
        empty = (Const(0),)
        full = [v for v in source if isinstance(v, Value) and v.shape != empty]
        source = full[0] if len(full) == 1 else None
    elif node.op not in ("slice", "expand", "expand_as"):
        return None
    if isinstance(source, Value) and source.shape == out.shape and source.dtype is out.dtype:
        return source
    return None


def unflatten_products(graph: Graph) -> Graph:
    """addmm of rows that were flattened for it, as a product of the rows as they were."""
    used = users(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        rows = _rows_of(node, used)
        if rows is None:
            nodes.append(node)
            continue
        bias, x, weight = node.args[:3]
        assert isinstance(x, Value)
        (out,) = node.outputs
        shape = (*rows, out.shape[-1])
        unflat = Value(f"{out.name}.operand", (*rows, x.shape[-1]), x.dtype)
        product = Value(f"{out.name}.product", shape, out.dtype)
        total = Value(f"{out.name}.rows", shape, out.dtype)
        nodes.append(Node("reshape", (x, unflat.shape), (unflat,), node.origin))
        nodes.append(Node("matmul", (unflat, weight), (product,), node.origin))
        nodes.append(Node("add", (product, bias, 1), (total,), node.origin))
        nodes.append(Node("reshape", (total, out.shape), (out,), node.origin))
    return with_nodes(graph, nodes)


def _rows_of(node: Node, used: dict[Value, list[Node]]) -> tuple[Expr, ...] | None:
    """The leading dims that all readers of an addmm give back to its rows."""
    if node.op != "addmm" or node.args[3:] != (1, 1):
        return None
    bias, out = node.args[0], node.outputs[0]
    if not isinstance(bias, Value) or bias.shape != out.shape[-1:] or bias.shape[0] == Const(1):
        return None
    shapes = {n.outputs[0].shape for n in used.get(out, []) if is_reshape(n)}
    if len(shapes) != 1 or not all(is_reshape(n) for n in used[out]):
        return None
    (shape,) = shapes
    return shape[:-1] if len(shape) > 1 and shape[-1] == out.shape[-1] else None
