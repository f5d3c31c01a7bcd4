"""What is computed of rows of several kinds, over all rows, which are sorted by their kinds.

The rows of one kind then lie next to each other, as products of rows in groups want it
(`tc.ops.experts`). This module must not look at more than one run of kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from tc.frontend.capture_alike import Alike
from tc.frontend.capture_kinds_found import Kind
from tc.frontend.capture_kinds_rows import PRODUCTS

_aten = torch.ops.aten

torch.library.define("tc::grouped_mm", "(Tensor x, Tensor weights, Tensor ends) -> Tensor")


@torch.library.register_fake("tc::grouped_mm")  # type: ignore[untyped-decorator]  # torch's
def _grouped_mm(x: torch.Tensor, weights: torch.Tensor, _ends: torch.Tensor) -> torch.Tensor:
    """Of what shape the products of rows in groups are (see `tc.graph.experts`)."""
    return x.new_empty(x.shape[0], weights.shape[2])


def grouped(x: torch.Tensor, weights: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Products of rows with the matrix of their group, each of which ends before a row."""
    product: torch.Tensor = torch.ops.tc.grouped_mm(x, weights, ends.to(torch.int32))
    return product


class Run:
    """The kinds of a chain as a function of the values of `inputs`."""

    def __init__(
        self,
        places: Mapping[Node, tuple[Node, int]],
        chain: Sequence[Kind],
        body: Sequence[Node],
        stacks: Mapping[Node, Sequence[Node]],
        inputs: Sequence[Node],
    ) -> None:
        """See `capture_kinds`.

        Args:
            places: the coordinates of places where a mask holds.
            chain: the kinds.
            body: what is computed for the first of them.
            stacks: what each kind has of its own, for what the first has.
            inputs: all that is read besides.
        """
        self.places = places
        self.chain = chain
        self.body = body
        self.stacks = stacks
        self.inputs = inputs

    def __call__(self, *values: Any) -> torch.Tensor:
        """What the last kind gives."""
        self.env: dict[Node, Any] = dict(zip(self.inputs, values, strict=True))
        nowhere = self._sort([self.env[kind.mask] for kind in self.chain])
        for node in self.body:
            self.env[node] = self._value(node)
        first = self.chain[0]
        rows = self.env[first.value]
        back = torch.zeros_like(self.order).scatter(0, self.order, _counted(self.order, 0))
        whole = rows[back].reshape(*self.mask.shape, *rows.shape[1:])
        for _ in range(rows.dim() - 1):
            nowhere = nowhere.unsqueeze(-1)
        before: torch.Tensor = self.env[first.before]
        if first.axis is None:
            return torch.where(nowhere, before, whole)
        added = whole.masked_fill(nowhere, 0)
        others = [dim for dim in range(self.mask.dim()) if dim != first.axis]
        total: torch.Tensor = before + (added.sum(others) if others else added)
        return total

    def _sort(self, masks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Find the order of the rows, those of no kind last; where these are is what it gives."""
        held = torch.stack([mask.flatten() for mask in masks]) != 0
        count = len(masks)
        numbers = _counted(held, 0)
        none = ~held.any(0)
        kinds = numbers.masked_fill(~held, 0).sum(0).masked_fill(none, count)
        kinds, self.order = torch.sort(kinds)
        self.kinds = kinds.clamp(max=count - 1)
        self.ends = held.sum(1).cumsum(0)
        self.mask = masks[0]
        return none.reshape(self.mask.shape)

    def _value(self, node: Node) -> Any:
        """What a node of the first kind gives for all rows, sorted."""
        target: Any = node.target
        indices: Any = node.args[1] if target is _aten.index.Tensor else ()
        if len(indices) == 1 and indices[0] not in self.places:
            x: torch.Tensor = self.env[node.args[0]]  # type: ignore[index]  # a node
            return x.flatten(0, self.mask.dim() - 1)[self.order]
        if target in PRODUCTS and node.args[1] in self.stacks:
            return self._product(node)
        rank = max((self._rank(n) for n in node.all_input_nodes), default=0)
        args, kwargs = map_arg((node.args, dict(node.kwargs)), lambda n: self._operand(n, rank))
        return target(*args, **kwargs)

    def _rank(self, node: Node) -> int:
        value = self.env.get(node)
        return value.dim() if isinstance(value, torch.Tensor) and node in self.body else 0

    def _operand(self, node: Node, rank: int) -> Any:
        if node in self.places:
            return _counted(self.mask, self.places[node][1]).flatten()[self.order]
        if node not in self.stacks:
            return self.env[node]
        value = self._of_all(node)[self.kinds]
        while value.dim() < rank:
            value = value.unsqueeze(1)
        return value

    def _of_all(self, node: Node) -> torch.Tensor:
        return stacked([self.env[n] for n in self.stacks[node]])

    def _product(self, node: Node) -> torch.Tensor:
        x: torch.Tensor = self.env[node.args[0]]  # type: ignore[index]  # a node
        weights = self._of_all(node.args[1])  # type: ignore[arg-type]  # a node
        if node.target is _aten.linear.default:
            weights = weights.transpose(1, 2)
        each: Any = 1
        for size in x.shape[1:-1]:
            each = each * size
        product = grouped(x.reshape(-1, x.shape[-1]), weights, self.ends * each)
        out: torch.Tensor = product.reshape(*x.shape[:-1], weights.shape[2])
        bias: Any = node.args[2] if len(node.args) > 2 else None
        return out if bias is None else out + self._operand(bias, out.dim())


def to_stack(nodes: Sequence[Node], alike: Alike) -> list[Node]:
    """The tensors to stack, or the one that they are the parts of."""
    if any(n.target is not _aten.select.int for n in nodes):
        return list(nodes)
    wholes = [alike(n.args[0]) for n in nodes]  # type: ignore[arg-type]  # nodes
    parts = all(n.args[1:] == (0, number) for number, n in enumerate(nodes))
    every = len(set(wholes)) == 1 and wholes[0].meta["val"].shape[0] == len(nodes)
    return wholes[:1] if parts and every else list(nodes)


def stacked(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """What `to_stack` stands for, of its values."""
    return values[0] if len(values) == 1 else torch.stack(list(values))


def _counted(like: torch.Tensor, dim: int) -> torch.Tensor:
    """0, 1, 2, ... along a dim; arange would bake its size."""
    return torch.ones_like(like, dtype=torch.int64).cumsum(dim) - 1
