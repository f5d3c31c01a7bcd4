"""Operators that PyTorch says in terms of others, where the table has those but no row for them.

Distances, and losses of them, are a few operators each. Each such node is traced by itself, on the
values that its operands were traced with, and the nodes found take its place. What PyTorch says of
`multilabel_margin_loss` is another function than the one it computes, so that one is not here. This
module must not change any value that the graph computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch._decomp import get_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

_aten = torch.ops.aten
_COMPOSITES: Final = frozenset(
    (
        _aten.bilinear.default,
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
# Those which they are, or are made of, that PyTorch decomposes only when it is asked to.
_INNER: Final = ("col2im", "im2col", "multi_margin_loss", "norm", "soft_margin_loss")


def _bilinear(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """out[..., k] = sum over i, j of x[..., i] weight[k, i, j] y[..., j], plus bias[k]."""
    features, left, right = weight.shape
    by_left = x @ weight.transpose(0, 1).reshape(left, features * right)
    product = by_left.view(*by_left.shape[:-1], features, right) * y.unsqueeze(-2)
    result: torch.Tensor = product.sum(-1)
    return result if bias is None else result + bias


# What PyTorch computes by a kernel of its own and says nothing of.
_OURS: Final[Mapping[Any, Any]] = {_aten.bilinear.default: _bilinear}


def expand_composites(module: GraphModule) -> None:
    """Replace each node of such an operator by those of what it consists of."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _COMPOSITES:
            _expand(module, node)


def _expand(module: GraphModule, node: Node) -> None:
    inputs = node.all_input_nodes
    if not all(isinstance(n.meta["val"], torch.Tensor) for n in inputs):
        return
    function: Any = _OURS.get(node.target, node.target)

    def call(*given: torch.Tensor) -> Any:
        args, kwargs = _with(node, dict(zip(inputs, given, strict=True)))
        return function(*args, **kwargs)

    replace_by(module, node, inputs, call)


def replace_by(
    module: GraphModule, node: Node, inputs: Sequence[Node], function: Callable[..., Any]
) -> None:
    """Replace a node by what `function` does with the values of `inputs`, all of them tensors.

    Does nothing where that has constants of its own.
    """
    inner: Any = get_decompositions([getattr(_aten, name) for name in _INNER])
    values = [n.meta["val"] for n in inputs]
    with torch.no_grad(), enable_python_dispatcher():  # which knows of free sizes
        traced = make_fx(function, decomposition_table=inner)(*values)
    if any(n.op == "get_attr" for n in traced.graph.nodes):
        return
    places = [n for n in traced.graph.nodes if n.op == "placeholder"]
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
