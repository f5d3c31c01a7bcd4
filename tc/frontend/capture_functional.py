"""In-place operators on values of the graph's own, rewritten as operators that return a new value.

`x.add_(y)` becomes `add(x, y)`, and a write through a slice or select view becomes
`slice_scatter` or `select_scatter`. Writes to an input stay: they are what the caller asked for.
This module must not change any value that the graph returns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_SCATTERS = {
    _aten.slice.Tensor: _aten.slice_scatter.default,
    _aten.select.int: _aten.select_scatter.default,
}


def functionalise(module: GraphModule) -> None:
    """Rewrite every in-place operator on an inner value whose views allow it, in graph order."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and _is_in_place(node.target):
            _rewrite(module, node)
    module.recompile()


def _is_in_place(target: object) -> bool:
    return (
        isinstance(target, torch._ops.OpOverload)
        and target._schema.name.endswith("_")
        and not target._schema.name.endswith("__")
        and target._schema.is_mutable
    )


def _rewrite(module: GraphModule, node: Node) -> None:
    chain = _view_chain(node.args[0])
    if chain is None or _read_later(chain, node):
        return
    base = chain[-1]
    with module.graph.inserting_before(node):
        value = _written_value(module, node)
        if value is None:
            return
        node.replace_all_uses_with(value)
        for view, source in pairwise(chain):
            scatter = _SCATTERS[view.target]  # type: ignore[index]  # _view_chain chose them
            rest = view.args[1:]
            value = _call(module, scatter, (source, value, *rest), dict(view.kwargs), source)
    order = {each: number for number, each in enumerate(module.graph.nodes)}
    base.replace_all_uses_with(
        value, delete_user_cb=lambda user: order[user] > order[node], propagate_meta=False
    )
    module.graph.erase_node(node)


def _view_chain(value: object) -> list[Node] | None:
    """From the written view to the value that owns the memory; None where it is not the graph's."""
    chain: list[Node] = []
    while isinstance(value, Node):
        chain.append(value)
        if value.op != "call_function" or not hasattr(value.target, "_schema"):
            return None
        if value.target not in _SCATTERS:
            returned = value.target._schema.returns
            owns = bool(returned) and returned[0].alias_info is None
            return chain if owns else None
        value = value.args[0]
    return None


def _read_later(chain: list[Node], node: Node) -> bool:
    """Whether another view of the written memory is read after the write."""
    order = {each: number for number, each in enumerate(node.graph.nodes)}
    for value in chain:
        for user in value.users:
            if user is node or user in chain or order[user] > order[node]:
                continue
            schema = getattr(user.target, "_schema", None)
            aliases = schema is not None and any(
                argument.alias_info is not None for argument in schema.arguments
            )
            if aliases and any(order[later] > order[node] for later in user.users):
                return True
    return False


def _written_value(module: GraphModule, node: Node) -> Node | None:
    destination = node.args[0]
    assert isinstance(destination, Node)
    overload = node.target
    assert isinstance(overload, torch._ops.OpOverload)
    name = overload._schema.name.removeprefix("aten::").rstrip("_")
    if name == "zero":
        return _call(module, _aten.zeros_like.default, (destination,), {}, destination)
    if name in ("copy", "fill"):
        return _broadcast(module, node.args[1], destination)
    functional = getattr(getattr(_aten, name, None), overload._overloadname, None)
    operands = [arg for arg in node.args if isinstance(arg, Node) and "val" in arg.meta]
    # In place the result keeps the destination's dtype, where the new value might be promoted.
    promoted = any(
        isinstance(arg.meta["val"], torch.Tensor)
        and arg.meta["val"].dtype not in (destination.meta["val"].dtype, torch.bool)
        for arg in operands
    )
    if functional is None or promoted:
        return None
    return _call(module, functional, node.args, dict(node.kwargs), destination)


def _broadcast(module: GraphModule, source: object, destination: Node) -> Node:
    """`source` (a tensor or number) with the shape and dtype of the destination."""
    if not isinstance(source, Node):
        arguments = (destination, source)
        return _call(module, _aten.full_like.default, arguments, {}, destination)
    value = source
    if value.meta["val"].dtype != destination.meta["val"].dtype:
        value = _cast(module, value, destination)
    if tuple(value.meta["val"].shape) != tuple(destination.meta["val"].shape):
        value = _call(module, _aten.expand_as.default, (value, destination), {}, destination)
    return value


def _cast(module: GraphModule, value: Node, like: Node) -> Node:
    return _call(module, _aten.to.dtype, (value, like.meta["val"].dtype), {}, None)


def _call(
    module: GraphModule,
    target: torch._ops.OpOverload,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    like: Node | None,
) -> Node:
    node = module.graph.call_function(target, args, kwargs)  # type: ignore[arg-type]  # fx types
    if like is not None:
        node.meta["val"] = like.meta["val"]
    else:
        source = args[0]
        assert isinstance(source, Node)
        node.meta["val"] = source.meta["val"].to(args[1])
    return node
