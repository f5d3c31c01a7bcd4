"""Rows that a mask picks, where what is computed of each of them is its own affair.

A loss of the tokens that a mask keeps, and a layer for samples of one kind, read `x[mask]`: how
many rows that has follows from the values of the mask. Where no row decides on another one, and
they are put back in their places or summed up, all rows are computed instead and the mask says
which of them count. This module must not change any value that the graph computes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from tc.frontend.capture_alike import SAME, VIEWS, Alike, Uniform, is_pointwise, may_be_done_in_vain

_aten = torch.ops.aten
# Of so many masks of the same rows each row is computed for all; more would take too long.
_MOST: Final = 8
_NONE, _MEAN = 0, 1
# Of the first operand's last dims alone: one, or those that the second argument says.
_OF_FEATURES: Final = frozenset((_aten.linear.default, _aten.layer_norm.default))
_OF_ONE_DIM: Final = frozenset((
    _aten.softmax.int, _aten.log_softmax.int, _aten.unsqueeze.default,
))  # fmt: skip
# A term for each element; "reduction" says what becomes of them.
_LOSSES: Final = frozenset((
    _aten.binary_cross_entropy.default, _aten.binary_cross_entropy_with_logits.default,
    _aten.huber_loss.default, _aten.l1_loss.default, _aten.mse_loss.default,
    _aten.smooth_l1_loss.default,
))  # fmt: skip


class _Rows(NamedTuple):
    """Rows `whole[mask]`."""

    whole: Node
    mask: Node


def compute_whole(module: GraphModule) -> None:
    """Compute all rows for what is put back or summed up of those that a mask picks."""
    nodes = list(module.graph.nodes)
    picks = [node for node in nodes if _picks(node)]
    if not picks:
        return
    settler = _Settler(module)
    settler.start(picks)
    for node in nodes:
        if node.op == "call_function":
            settler.visit(node)
    module.graph.eliminate_dead_code()


def _picks(node: Node) -> bool:
    """Whether it is x[mask], of the first dims of x."""
    if node.op != "call_function" or node.target is not _aten.index.Tensor:
        return False
    indices: Any = node.args[1]
    return len(indices) == 1 and indices[0].meta["val"].dtype is torch.bool


def _arguments(node: Node) -> dict[str, Any]:
    """Every argument of a node by name, defaults among them."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]  # an overload
    given = dict(zip((each.name for each in schema), node.args, strict=False)) | node.kwargs
    return {each.name: given.get(each.name, each.default_value) for each in schema}


class _Settler:
    """A graph, and the rows that its values are."""

    def __init__(self, module: GraphModule) -> None:
        self.graph = module.graph
        self.rows: dict[Node, _Rows] = {}
        self.alike = Alike()
        self.uniform = Uniform()
        self.origin: dict[str, Any] = {}

    def start(self, picks: list[Node]) -> None:
        """Take note of the rows that are picked from whole tensors."""
        found: dict[Node, _Rows] = {}
        for node in picks:
            whole, indices = node.args
            found[node] = _Rows(whole, self.alike(indices[0]))  # type: ignore[arg-type, index]
        masks = {rows for rows in found.values() if self.uniform(rows.mask) is None}
        count = Counter(rows.whole for rows in masks)
        self.rows = {n: rows for n, rows in found.items() if count[rows.whole] <= _MOST}

    def visit(self, node: Node) -> None:
        """Note that `node` gives such rows, or replace it where it gives something else of them."""
        given = [self.rows[n] for n in node.all_input_nodes if n in self.rows]
        if not given or node in self.rows or any(rows.mask is not given[0].mask for rows in given):
            return
        mask, target = given[0].mask, node.target
        self.origin = node.meta.get("nn_module_stack", {})
        with self.graph.inserting_before(node):
            if target is _aten.index_put.default:
                self._replace(node, self._put_back(node, mask))
            elif target in (_aten.sum.default, _aten.mean.default):
                if len(node.args) == 1 and not node.kwargs:
                    mean = target is _aten.mean.default
                    self._replace(node, self._reduced(given[0].whole, mask, mean))
            elif target is _aten.cross_entropy_loss.default:
                self._replace(node, self._of_classes(node, mask))
            elif target in _LOSSES:
                self._loss(node, mask)
            elif (whole := self._whole(node, mask)) is not None:
                self.rows[node] = _Rows(whole, mask)

    def _replace(self, node: Node, new: Node | None) -> None:
        if new is not None:
            node.replace_all_uses_with(new)

    # --- what becomes of rows

    def _put_back(self, node: Node, mask: Node) -> Node | None:
        """A tensor with the rows in the places that the mask says."""
        y, indices, values, accumulate = _arguments(node).values()
        if y in self.rows or values not in self.rows or accumulate or len(indices) != 1:
            return None
        whole = self.rows[values].whole
        shape, given = whole.meta["val"].shape, y.meta["val"].shape
        if self.alike(indices[0]) is not mask or len(shape) != len(given):
            return None
        every = self.uniform(mask)
        if every is not None and str(shape) == str(given):
            return whole if every.item() else y
        return self._call(_aten.where.self, self._spread(mask, whole), whole, y)

    def _reduced(self, whole: Node, mask: Node, mean: bool) -> Node:
        """The sum or mean of the rows' elements; the mean of none is NaN."""
        spread = self._spread(mask, whole)
        total = self._call(_aten.sum.default, self._masked(whole, spread, 0))
        if not mean:
            return total
        count = self._call(_aten.sum.default, self._call(_aten.expand_as.default, spread, whole))
        return self._call(_aten.div.Tensor, total, count)

    def _loss(self, node: Node, mask: Node) -> None:
        """A loss of rows as its terms of all of them, summed up where the mask says."""
        if not self._meets_own(node):
            return
        given = dict(map_arg(_arguments(node), self._in_whole))
        kind, given["reduction"] = given["reduction"], _NONE
        terms = self._call(node.target, *given.values())
        if kind == _NONE:
            self.rows[node] = _Rows(terms, mask)
        else:
            self._replace(node, self._reduced(terms, mask, kind == _MEAN))

    def _of_classes(self, node: Node, mask: Node) -> Node | None:
        """A loss over classes, which knows by their labels the rows that do not count."""
        given = _arguments(node)
        logits, labels = (self.rows.get(given[name]) for name in ("self", "target"))
        if logits is None or labels is None or given["reduction"] == _NONE:
            return None
        classes: Any = logits.whole.meta["val"].shape[-1]
        ranks = tuple(given[name].meta["val"].dim() for name in ("self", "target"))
        if ranks != (2, 1) or not isinstance(classes, int):
            return None
        given["self"] = self._call(_aten.reshape.default, logits.whole, [-1, classes])
        kept = self._masked(labels.whole, mask, given["ignore_index"])
        given["target"] = self._call(_aten.reshape.default, kept, [-1])
        return self._call(node.target, *given.values())

    # --- what gives rows

    def _whole(self, node: Node, mask: Node) -> Node | None:
        """The values of which `node` gives those that the mask picks; None where it does not."""
        value, target = node.meta.get("val"), node.target
        if not isinstance(value, torch.Tensor) or not node.args:
            return None
        if is_pointwise(target) and self._meets_own(node):
            return self._copied(node)
        first: Any = node.args[0]
        if first not in self.rows or any(n in self.rows for n in node.all_input_nodes[1:]):
            return None
        whole, rank = self.rows[first].whole, first.meta["val"].dim()
        if target in SAME:
            return self._copied(node)
        if target in _OF_FEATURES:
            second: Any = node.args[1]
            features = 1 if isinstance(second, Node) else len(second)
            return self._copied(node) if features < rank else None
        if target in _OF_ONE_DIM:
            dim: Any = node.args[1]
            dim = dim if dim < 0 else dim - value.dim()
            within = dim != -value.dim()
            return self._call(target, whole, dim, *node.args[2:]) if within else None
        if target in VIEWS and str(value.shape[0]) == str(first.meta["val"].shape[0]):
            return self._viewed(whole, mask, tuple(value.shape[1:]))
        return None

    def _meets_own(self, node: Node) -> bool:
        """Whether rows meet rows, and all else has dims of what is within a row alone."""
        rank = max(n.meta["val"].dim() for n in node.all_input_nodes if n in self.rows)
        for operand in node.all_input_nodes:
            given = operand.meta.get("val")
            if isinstance(given, torch.Tensor) and (given.dim() >= rank) != (operand in self.rows):
                return False
        return may_be_done_in_vain(node)

    def _viewed(self, whole: Node, mask: Node, rest: tuple[Any, ...]) -> Node | None:
        if not all(isinstance(size, int) for size in rest):
            return None
        sizes = [
            size if isinstance(size, int) else self._call(_aten.sym_size.int, mask, dim)
            for dim, size in enumerate(mask.meta["val"].shape)
        ]
        return self._call(_aten.reshape.default, whole, [*sizes, *rest])

    def _copied(self, node: Node) -> Node:
        args, kwargs = map_arg((node.args, dict(node.kwargs)), self._in_whole)
        return self._call(node.target, *args, **kwargs)

    def _in_whole(self, node: Node) -> Node:
        return self.rows[node].whole if node in self.rows else node

    # --- nodes

    def _spread(self, mask: Node, whole: Node) -> Node:
        """The mask with dims of one for those within a row."""
        for _ in range(whole.meta["val"].dim() - mask.meta["val"].dim()):
            mask = self._call(_aten.unsqueeze.default, mask, -1)
        return mask

    def _masked(self, whole: Node, mask: Node, fill: int) -> Node:
        off = self._call(_aten.logical_not.default, mask)
        return self._call(_aten.masked_fill.Scalar, whole, off, fill)

    def _call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        node = self.graph.call_function(target, args, kwargs)
        given = map_arg((args, kwargs), lambda n: n.meta["val"])
        with torch.no_grad(), enable_python_dispatcher():  # which knows of free sizes
            node.meta["val"] = target(*given[0], **given[1])
        node.meta["nn_module_stack"] = self.origin
        return node
