"""Assertions of a graph, each as one on data: `_assert_async(condition, message)`.

Those about sizes alone go, since the binding of a call has checked what they say, and so do those
that torch derives itself from others. A claim about numbers that were read from tensors becomes one
about these tensors, as 64-bit numbers, which Python reckons with. This module must not trace.
"""

from __future__ import annotations

import operator
import sys
from typing import Any, Final

import torch
from torch.fx import GraphModule, Node

from tc.errors import describe
from tc.frontend.captured import GraphError

_aten = torch.ops.aten
ASSERTION: Final = _aten._assert_async.msg
_UNTOLD: Final = _aten._assert_async.default
_NOTHING_TOLD: Final = "Expected Tensor with single nonzero value, but got zero"  # eager's words
# What the binding of a call has checked, or what torch derives for itself; none gives a value.
_OTHERS: Final = frozenset((
    _aten._assert_scalar.default, _aten._assert_tensor_metadata.default,
    _aten.sym_constrain_range.default, _aten.sym_constrain_range_for_size.default, torch._check,
))  # fmt: skip
_ITEMS: Final = (_aten.item.default, _aten._local_scalar_dense.default)
_SIZES: Final = (_aten.sym_size.int, _aten.sym_numel.default)
_UNARY: Final[dict[object, Any]] = {
    torch.sym_not: _aten.logical_not.default,
    operator.neg: _aten.neg.default,
}
_BINARY: Final[dict[object, str]] = {
    operator.eq: "eq", operator.ne: "ne", operator.lt: "lt", operator.le: "le", operator.gt: "gt",
    operator.ge: "ge", operator.add: "add", operator.mul: "mul", operator.sub: "sub",
    operator.mod: "remainder", operator.floordiv: "floor_divide",
    operator.and_: "bitwise_and", operator.or_: "bitwise_or",
}  # fmt: skip
# a op b as b op' a
_MIRRORED: Final = {
    "eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "add": "add",
    "mul": "mul",
}  # fmt: skip


def settle_assertions(module: GraphModule) -> None:
    """Leave no assertion in the graph but those on data."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _OTHERS:
            module.graph.erase_node(node)
        elif node.target is _UNTOLD:
            node.target, node.args = ASSERTION, (node.args[0], _NOTHING_TOLD)
        elif node.target is ASSERTION:
            _settle(module, node)


def _settle(module: GraphModule, node: Node) -> None:
    condition, message = node.args
    assert isinstance(condition, Node)
    if condition.target is not _aten.scalar_tensor.default:
        return
    claim = condition.args[0]
    if isinstance(claim, Node) and claim.target is torch.sym_ite and claim.args[1:] == (1, 0):
        claim = claim.args[0]
    with module.graph.inserting_before(node):
        about = _Claim(module, str(message)).tensor(claim)
    if about is None:
        module.graph.erase_node(node)
    else:
        node.args = (about, message)


class _Claim:
    """Makes tensors of the numbers of one claim."""

    def __init__(self, module: GraphModule, message: str) -> None:
        self.graph = module.graph
        self.message = message
        self.made: dict[Node, Node | None] = {}

    def tensor(self, number: object) -> Node | None:
        """A number of the graph as a tensor without dims; None where no data decides it."""
        if not isinstance(number, Node):
            return None
        if number not in self.made:
            self.made[number] = self._tensor(number)
        return self.made[number]

    def _tensor(self, number: Node) -> Node | None:
        if number.target in _ITEMS:
            return self._item(number.args[0])
        if number.target in _SIZES:
            return self._size(number)
        given = [self.tensor(arg) for arg in number.args]
        if all(each is None for each in given):
            return None
        if number.target in _UNARY:
            return self._call(_UNARY[number.target], given[0])
        if number.target is torch.sym_ite:
            return self._call(_aten.where.Scalar, given[0], *number.args[1:])
        name = _BINARY.get(number.target)
        if name is None:
            raise self._refusal(str(number.target))
        return self._binary(name, number.args, given)

    def _binary(self, name: str, args: tuple[Any, ...], given: list[Node | None]) -> Node:
        left, right = given
        if left is not None and right is not None:
            packet = getattr(_aten, name)
            return self._call(packet.Tensor if "Tensor" in packet.overloads() else packet.default,
                              left, right)  # fmt: skip
        if left is not None:
            return self._call(getattr(_aten, name).Scalar, left, args[1])
        if right is not None and name in _MIRRORED:
            return self._call(getattr(_aten, _MIRRORED[name]).Scalar, right, args[0])
        raise self._refusal(name)

    def _item(self, source: Any) -> Node | None:
        """The one element of a tensor; None where that follows from sizes."""
        if not _reads_data(source):
            return None
        value = source.meta["val"]
        if value.dim():
            source = self._call(_aten.reshape.default, source, [])
        if value.dtype is torch.bool:
            return source  # type: ignore[no-any-return]  # a node
        wide = torch.float64 if value.dtype.is_floating_point else torch.int64
        return self._call(_aten.to.dtype, source, wide)

    def _size(self, number: Node) -> Node | None:
        """How many rows there are by data; None for a size that no data decides."""
        size: Any = number.meta["val"]
        if not isinstance(size, torch.SymInt) or not _unbacked(size):
            return None
        source: Any = number.args[0]
        if number.target is not _aten.sym_size.int or number.args[1] != 0:
            raise self._refusal(str(number.target))
        counted = self._chosen(source)
        if counted is None:
            counted = self._runs(source)
        if counted is None:
            raise self._refusal(f"how many rows {source.target} gives,")
        return counted

    def _chosen(self, source: Any) -> Node | None:
        """How many places of a mask hold, where `source` has those; None for others."""
        if source.target is _aten.nonzero.default:
            return self._call(_aten.sum.default, self._call(_aten.ne.Scalar, source.args[0], 0))
        if source.target is not _aten.index.Tensor:
            return None
        mask = source.args[1][0]
        given = [each for each in source.args[1] if each is not None]
        if mask is None or len(given) > 1 or mask.meta["val"].dtype is not torch.bool:
            return None
        return self._call(_aten.sum.default, mask)

    def _runs(self, source: Any) -> Node | None:
        """How many runs of equal numbers a row of some is, where `source` has one of each."""
        whole = source.args[0] if source.target is operator.getitem else source
        if not isinstance(whole, Node) or whole.target is not _aten.unique_consecutive.default:
            return None
        row = whole.args[0]
        if row.meta["val"].dim() != 1:  # type: ignore[union-attr]  # a node
            return None
        after = self._call(_aten.slice.Tensor, row, 0, 1, sys.maxsize)
        before = self._call(_aten.slice.Tensor, row, 0, 0, -1)
        changes = self._call(_aten.ne.Tensor, after, before)
        return self._call(_aten.add.Scalar, self._call(_aten.sum.default, changes), 1)

    def _call(self, target: Any, *args: Any) -> Node:
        node = self.graph.call_function(target, args)
        values = torch.fx.node.map_arg(args, lambda n: n.meta["val"])
        node.meta["val"] = target(*values)
        return node

    def _refusal(self, what: str) -> GraphError:
        return GraphError(
            describe(
                f"assertion {self.message!r}",
                why=f"is about {what} of numbers that are data",
                way_out="run the model eagerly",
            )
        )


def _unbacked(size: torch.SymInt) -> bool:
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    # As it was made: a claim may have taught torch what it is equal to.
    return bool(free_unbacked_symbols(size.node._expr))


def _reads_data(value: Node) -> bool:
    """Whether a tensor is made of the elements of another one, which the graph is given."""
    todo, seen = [value], {value}
    while todo:
        node = todo.pop()
        if node.op in ("placeholder", "get_attr"):
            return True
        for source in node.all_input_nodes:
            if isinstance(source.meta.get("val"), torch.Tensor) and source not in seen:
                seen.add(source)
                todo.append(source)
    return False
