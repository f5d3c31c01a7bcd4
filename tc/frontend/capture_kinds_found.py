"""Where a graph computes rows of several kinds, kind by kind.

Each kind reads the rows that its mask picks and puts or adds what it makes of them to what the
kind before it gave. This module must not change a graph.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch.fx import GraphModule, Node

from tc.frontend.capture_alike import Alike, Uniform, is_view

_aten = torch.ops.aten
_PLACES: Final = frozenset((_aten.where.default, _aten.nonzero_numpy.default))


class Kind(NamedTuple):
    """One of the kinds: `sink` puts or adds `value` where `mask` holds."""

    sink: Node
    value: Node
    mask: Node
    axis: int | None  # of the mask: along which rows are added; None where they are put

    @property
    def before(self) -> Node:
        """What the rows are put in or added to."""
        before = self.sink.args[0]
        assert isinstance(before, Node)
        return before


class Found:
    """What a graph does kind by kind, and what it reads for that."""

    def __init__(self, module: GraphModule, constants: Mapping[Node, torch.Tensor]) -> None:
        """Look through a graph; `constants` are the values of those inputs that have one."""
        self.order = {node: number for number, node in enumerate(module.graph.nodes)}
        self.alike = Alike()
        self._constants = constants
        self._uniform = Uniform()
        # The coordinates of the places where a mask holds: the mask, and which of its dims.
        self.places: dict[Node, tuple[Node, int]] = {}
        # What picks rows, and by which mask.
        self.picks: dict[Node, Node] = {}
        for node in self.order:
            if node.op == "call_function":
                self._note(node)

    def _note(self, node: Node) -> None:
        if node.target is operator.getitem:
            whole: Any = node.args[0]
            if whole.target is _aten.unbind.int and whole.args[1:] == (1,):
                whole = whole.args[0]
                places = whole.target is _aten.nonzero.default
            else:
                places = whole.target in _PLACES
            if places and whole.args[0].meta["val"].dim():
                self.places[node] = self.alike(whole.args[0]), node.args[1]  # type: ignore
        elif node.target is _aten.index.Tensor:
            indices: Any = node.args[1]
            given = [index for index in indices if index is not None]
            masks = {self.places[n][0] if n in self.places else None for n in given}
            if self._is_mask(indices):
                self.picks[node] = self.alike(indices[0])
            elif len(masks) == 1 and (mask := masks.pop()) is not None:
                self.picks[node] = mask

    def _is_mask(self, indices: Sequence[Node | None]) -> bool:
        first = indices[0] if len(indices) == 1 else None
        return first is not None and first.meta["val"].dtype is torch.bool

    def chains(self) -> list[list[Kind]]:
        """Runs of kinds, each of which goes on with what the one before gives."""
        chains: dict[Node, list[Kind]] = {}
        for node in self.order:
            kind = self._kind(node) if node.op == "call_function" else None
            if kind is not None:
                chain = chains.pop(kind.before, [])
                same = not chain or chain[-1].axis == kind.axis
                chains[node] = [*chain, kind] if same else [kind]
        return list(chains.values())

    def _kind(self, node: Node) -> Kind | None:
        if node.kwargs:
            return None
        match node.target, node.args:
            case (
                _aten.index_put.default,
                (Node(), indices, Node() as value) | (Node(), indices, Node() as value, False),
            ) if self._is_mask(indices):  # type: ignore[arg-type]  # a list
                return Kind(node, value, self.alike(indices[0]), None)  # type: ignore
            case (
                _aten.index_add.default, (Node(), 0, Node() as rows, Node() as value),
            ) if rows in self.places:  # fmt: skip
                mask, axis = self.places[rows]
                return Kind(node, value, mask, axis)
        return None

    # --- masks

    def are_apart(self, masks: Sequence[Node]) -> bool:
        """Whether no two of the masks can hold at one place, for all that is known before a call.

        Not so where a mask follows from no data: then it is known who is picked.
        """
        if any(self._uniform(mask) is not None for mask in masks):
            return False
        if len(masks) == 1:
            return True
        told = [self._number(mask) for mask in masks]
        if None in told:
            return False
        sources, numbers = zip(*told, strict=True)
        return len(set(sources)) == 1 and len(set(numbers)) == len(numbers)

    def _number(self, mask: Node) -> tuple[object, float] | None:
        """Of what the mask says where it is a number, and that number."""
        node: Any = mask
        while is_view(node):
            node = node.args[0]
        match node.target, node.args:
            case (_aten.eq.Scalar, (Node() as source, int() | float() as number)):
                return self.alike(source), number
            case (_aten.select.int, (Node() as source, int() as dim, int() as number)):
                pass
            case (_aten.index.Tensor, (Node() as source, [Node() as index])):
                value = self._constants.get(index)
                if value is None or value.numel() != 1:
                    return None
                dim, number = 0, int(value)
            case _:
                return None
        at = dim % source.meta["val"].dim()
        return ((source, at), number) if _one_alone(source, at) else None


def _one_alone(node: Any, dim: int) -> bool:
    """Whether at most one element along a dim is other than zero."""
    rank, shape = node.meta["val"].dim(), node.meta["val"].shape
    if node.target is _aten.permute.default:
        return _one_alone(node.args[0], node.args[1][dim] % rank)
    if node.target is _aten.mul.Tensor:
        factors = [n for n in node.args if isinstance(n, Node) and n.meta["val"].dim() == rank]
        return any(_one_alone(factor, dim) for factor in factors)
    if is_view(node):
        given = node.args[0].meta["val"].shape
        if str(given) == str(shape):
            return _one_alone(node.args[0], dim)
        last = dim == rank - 1 and str(shape[-1]) == str(given[-1])
        return last and _one_alone(node.args[0], len(given) - 1)
    if node.target is not _aten.scatter.value or len(node.args) != 4:
        return False
    zeros, along, places, _ = node.args
    made = zeros.target in (_aten.new_zeros.default, _aten.zeros.default)
    return made and along % rank == dim and places.meta["val"].shape[dim] == 1
