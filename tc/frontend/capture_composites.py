"""Operators that PyTorch says in terms of others, where the table has those but no row for them.

Distances, and losses of them, are a few operators each; what PyTorch says nothing of is in
`composites`. Each such node is traced by itself, on the values that its operands were traced with,
and the nodes found take its place. What PyTorch says of
`multilabel_margin_loss` is another function than the one it computes, so that one is not here. This
module must not change any value that the graph computes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch._decomp import get_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from tc.frontend.composites import CONSISTS_OF, FIRST_ONLY

_aten = torch.ops.aten
_COMPOSITES: Final = frozenset(
    (
        _aten.col2im.default,
        _aten.cosine_embedding_loss.default,
        _aten.cosine_similarity.default,
        _aten.hinge_embedding_loss.default,
        _aten.im2col.default,
        _aten.margin_ranking_loss.default,
        _aten.multi_margin_loss.default,
        _aten.pairwise_distance.default,
        _aten.poisson_nll_loss.default,
        _aten.soft_margin_loss.default,
        _aten.triplet_margin_loss.default,
    )
)
_TRACED: Final = (torch.Tensor, torch.SymInt)
# Those which they are, or are made of, that PyTorch decomposes only when it is asked to.
_INNER: Final = ("col2im", "im2col", "multi_margin_loss", "norm", "soft_margin_loss")


def expand_composites(module: GraphModule) -> None:
    """Replace each node of such an operator by those of what it consists of."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _COMPOSITES or node.target in CONSISTS_OF:
            _expand(module, node)


def _expand(module: GraphModule, node: Node) -> None:
    result: Node | None = node
    if node.target in FIRST_ONLY:
        result = _only_first(module, node)
    inputs = node.all_input_nodes
    if result is None or not all(isinstance(n.meta["val"], _TRACED) for n in inputs):
        return
    function: Any = CONSISTS_OF.get(node.target, node.target)

    def call(*given: Any) -> Any:
        args, kwargs = _with(node, dict(zip(inputs, given, strict=True)))
        return function(*args, **kwargs)

    replace_by(module, result, inputs, call)


def _only_first(module: GraphModule, node: Node) -> Node | None:
    """The node of the first of several results where nothing takes another."""
    for user in list(node.users):
        if not user.users and user.target is operator.getitem:
            module.graph.erase_node(user)
    users = list(node.users)
    first = len(users) == 1 and users[0].target is operator.getitem and users[0].args[1] == 0
    return users[0] if first else None


def replace_by(
    module: GraphModule, node: Node, inputs: Sequence[Node], function: Callable[..., Any]
) -> None:
    """Replace a node by what `function` does with the values of `inputs`: tensors and sizes.

    Does nothing where that has constants of its own, or `function` gives None.
    """
    inner: Any = get_decompositions([getattr(_aten, name) for name in _INNER])
    values = [n.meta["val"] for n in inputs]
    with torch.no_grad(), enable_python_dispatcher():  # which knows of free sizes
        traced = make_fx(function, decomposition_table=inner)(*values)
    nodes = list(traced.graph.nodes)
    if any(n.op == "get_attr" for n in nodes) or not isinstance(nodes[-1].args[0], Node):
        return
    places = [n for n in nodes if n.op == "placeholder"]
    copied: dict[Node, Any] = dict(zip(places, inputs, strict=True))
    with module.graph.inserting_before(node):
        result = module.graph.graph_copy(traced.graph, copied)
    for new in copied.values():
        new.meta.setdefault("nn_module_stack", node.meta.get("nn_module_stack", {}))
    assert isinstance(result, Node)
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _with(node: Node, given: Mapping[Node, torch.Tensor]) -> tuple[Any, Any]:
    return map_arg((node.args, node.kwargs), given.__getitem__)
