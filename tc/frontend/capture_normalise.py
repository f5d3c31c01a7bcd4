"""Rewrites of an exported graph that leave its meaning alone and spare the lowering work.

Assertions about sizes, gradient-mode and autocast regions, detach, inactive dropout and unused
inputs go.
This module must not change any value that the graph computes.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from tc.frontend.capture_conditions import settle_assertions
from tc.frontend.capture_functional import functionalise

_aten = torch.ops.aten

# One tensor in, the same tensor out.
_IDENTITIES = {
    _aten.detach.default,
    _aten.detach_.default,
    _aten.alias.default,
    _aten.lift_fresh.default,
    _aten.lift_fresh_copy.default,
}
_CASTS = {
    _aten.to.dtype,
    _aten.to.device,
    _aten.to.dtype_layout,
    _aten.to.other,
    _aten.type_as.default,
}
# (input, probability, training)
_DROPOUTS = {_aten.dropout.default, _aten.feature_dropout.default, _aten.alpha_dropout.default}
_REGIONS = {
    torch.ops.higher_order.wrap_with_set_grad_enabled: 1,
    torch.ops.higher_order.wrap_with_autocast: 4,
}


def normalise(module: GraphModule) -> None:
    """Clean the graph in place; its outputs and the order of its used inputs stay."""
    inline_regions(module)
    functionalise(module)
    settle_assertions(module)
    for node in list(module.graph.nodes):
        _simplify(module, node)
    module.graph.eliminate_dead_code()
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.recompile()


def _simplify(module: GraphModule, node: Node) -> None:
    if node.op == "call_module" and str(node.target).startswith("_guards"):
        module.graph.erase_node(node)
    elif node.op != "call_function":
        return
    elif (source := _same_as(node)) is not None:
        node.replace_all_uses_with(source)
        module.graph.erase_node(node)


def _same_as(node: Node) -> Node | None:
    """What a node gives as it is."""
    source: Any = node.args[0] if node.args else None
    if node.target in _IDENTITIES or _is_no_change(node):
        return source  # type: ignore[no-any-return]  # a node
    if node.target is operator.getitem and source.target is _aten.broadcast_tensors.default:
        given: Node = source.args[0][node.args[1]]
        same = str(given.meta["val"].shape) == str(node.meta["val"].shape)
        return given if same else None
    return None


def _is_no_change(node: Node) -> bool:
    """Inactive dropout, a cast to the dtype that a tensor has, a slice of everything."""
    if node.target in _DROPOUTS:
        return node.args[2] is False
    if node.target in _CASTS:
        source, result = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
        same = bool(source.dtype == result.dtype and source.device == result.device)
        return same and not _asks_copy(node)
    if node.target is _aten.slice.Tensor:
        given: list[object] = list(node.args[2:])
        first, end, step = given + [None, None, 1][len(given) :]
        to_end = end in (None, sys.maxsize) and step == 1
        return to_end and (first in (0, None) or _is_whole(node))
    return False


def _is_whole(node: Node) -> bool:
    """Whether a slice has the size of what it is of, whatever the symbols in it stand for."""
    source: Any = node.args[0]
    return str(node.meta["val"].shape) == str(source.meta["val"].shape)


def _asks_copy(node: Node) -> bool:
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    return bool(given.get("copy")) or given.get("memory_format") is not None


def inline_regions(module: GraphModule) -> None:
    """Replace each gradient-mode or autocast-off region by its nodes, the innermost included.

    A region that switches autocast on keeps its operator: its casts are not in the graph.
    """
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in _REGIONS:
            continue
        before = _REGIONS[node.target]
        body_node = node.args[before]
        if node.target is torch.ops.higher_order.wrap_with_autocast and node.args[2]:
            continue
        assert isinstance(body_node, Node)
        body = getattr(module, str(body_node.target))
        inline_regions(body)
        _inline(module, node, body, list(node.args[before + 1 :]))


def _inline(module: GraphModule, call: Node, body: GraphModule, arguments: list[object]) -> None:
    values: dict[Node, object] = {}
    given = iter(arguments)
    with module.graph.inserting_before(call):
        for inner in body.graph.nodes:
            if inner.op == "placeholder":
                values[inner] = next(given)
            elif inner.op == "output":
                _replace_results(module, call, _mapped(inner.args[0], values))
            else:
                copied = module.graph.node_copy(inner, _mapper(values))
                if inner.op == "get_attr":
                    copied.target = _adopt(module, body, str(inner.target))
                values[inner] = copied


def _adopt(module: GraphModule, body: GraphModule, name: str) -> str:
    """Give `module` the attribute `name` of `body`, under a free name."""
    free, number = name, 0
    while hasattr(module, free):
        number += 1
        free = f"{name}_{number}"
    setattr(module, free, getattr(body, name))
    return free


def _mapper(values: dict[Node, object]) -> Callable[[Node], Node]:
    return lambda node: values[node]  # type: ignore[return-value]  # symints map to ints too


def _mapped(result: object, values: dict[Node, object]) -> object:
    if isinstance(result, Node):
        return values[result]
    if isinstance(result, (tuple, list)):
        return [_mapped(item, values) for item in result]
    return result


def _replace_results(module: GraphModule, call: Node, results: object) -> None:
    if isinstance(results, list):
        for user in list(call.users):
            assert user.target is operator.getitem
            user.replace_all_uses_with(results[user.args[1]])  # type: ignore[index]  # an int
            module.graph.erase_node(user)
    elif isinstance(results, Node):
        call.replace_all_uses_with(results)
    module.graph.erase_node(call)
