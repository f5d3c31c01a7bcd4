"""Rows of several kinds, each kind with weights of its own, as one computation over all rows.

Experts and adapters in a loop read `x[mask]`, or `x[torch.where(mask)]`, for each kind, compute the
same of it with other weights, and put or add it to the result: how many rows are of a kind follows
from data, but not how many there are. Where no row is of two kinds the rows are sorted by their
kinds, and each meets the weights of its own (`capture_kinds_run`). This module must not change any
value that the graph computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from tc.frontend.capture_composites import replace_by
from tc.frontend.capture_kinds_found import Found, Kind
from tc.frontend.capture_kinds_rows import Rows
from tc.frontend.capture_kinds_run import Run, to_stack


def merge_kinds(program: ExportedProgram, module: GraphModule) -> None:
    """Compute rows of several kinds together, where the graph of a program does it kind by kind."""
    found = Found(module, _constants(program, module))
    chains = found.chains()
    for chain in chains:
        while chain:
            chain = chain[_Merger(module, found, chain).merge() :]
    if chains:
        module.graph.eliminate_dead_code()


def _constants(program: ExportedProgram, module: GraphModule) -> dict[Node, torch.Tensor]:
    """The tensors that were made while tracing, by the nodes that stand for them."""
    names = program.graph_signature.inputs_to_lifted_tensor_constants
    found: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            found[node] = program.constants.get(names[node.name])
        elif node.op == "get_attr":
            found[node] = getattr(module, str(node.target), None)
    return {n: value for n, value in found.items() if isinstance(value, torch.Tensor)}


class _Merger:
    """A run of kinds, those of which are merged that do what the first one does."""

    def __init__(self, module: GraphModule, found: Found, chain: Sequence[Kind]) -> None:
        self.module = module
        self.found = found
        self.chain = list(chain)
        # What the first kind has of its own, and what the others have in its place.
        self.own: dict[Node, list[Node]] = {}

    def merge(self) -> int:
        """Replace what the last of them gives, if they can be merged; how many they are."""
        bodies = [self._body(self.chain[0])]
        for number, kind in enumerate(self.chain[1:], 1):
            body = self._body(kind)
            if not self._same(bodies[0], body, number):
                break
            bodies.append(body)
        del self.chain[len(bodies) :]
        own = {node: nodes[: len(bodies)] for node, nodes in self.own.items()}
        self.own = {node: nodes for node, nodes in own.items() if len(set(nodes)) > 1}
        if self._may_be_merged(bodies):
            self._replace(bodies[0])
        return len(bodies)

    def _may_be_merged(self, bodies: Sequence[Sequence[Node]]) -> bool:
        first, body = self.chain[0], bodies[0]
        if not body or (len(bodies) == 1 and first.axis is None):  # see `capture_picked`
            return False
        if not self.found.are_apart([kind.mask for kind in self.chain]) or not self._closed(bodies):
            return False
        rows = Rows(frozenset(body), self.own, str(first.value.meta["val"].shape[0]))
        return self._fits() and all(rows.kept(node) for node in body)

    def _replace(self, body: Sequence[Node]) -> None:
        chain = self.chain
        stacks = {node: to_stack(nodes, self.found.alike) for node, nodes in self.own.items()}
        inputs = [chain[0].before, *(kind.mask for kind in chain)]
        inputs += [n for nodes in stacks.values() for n in nodes]
        inputs += [
            n
            for node in body
            for n in node.all_input_nodes
            if not (n in body or n in self.own or n in self.found.places)
        ]
        run = Run(self.found.places, chain, body, stacks, list(dict.fromkeys(inputs)))
        replace_by(self.module, chain[-1].sink, run.inputs, run)

    def _fits(self) -> bool:
        """Whether a mask has as many rows as what they are added to, each for some kinds."""
        first = self.chain[0]
        if first.axis is None:
            return True
        sizes = list(first.mask.meta["val"].shape)
        length = sizes.pop(first.axis)
        if str(length) != str(first.before.meta["val"].shape[0]):
            return False
        # As often as there are kinds, each row may as well be computed for all.
        return all(isinstance(n, int) for n in sizes) and math.prod(sizes) < len(self.chain)

    def _body(self, kind: Kind) -> list[Node]:
        """What is computed of the rows of a kind, in order."""
        reached = {n for n, mask in self.found.picks.items() if mask is kind.mask}
        todo = list(reached)
        while todo:
            for user in todo.pop().users:
                if user not in reached and user is not kind.sink:
                    reached.add(user)
                    todo.append(user)
        needed: set[Node] = set()
        todo = [kind.value]
        while todo:
            node = todo.pop()
            if node in reached and node not in needed:
                needed.add(node)
                todo += node.all_input_nodes
        return sorted(needed, key=self.found.order.__getitem__)

    def _closed(self, bodies: Sequence[Sequence[Node]]) -> bool:
        """Whether nothing else reads what a kind leaves to the next one."""
        return all(
            user is after.sink or user in body
            for kind, after, body in zip(self.chain, self.chain[1:], bodies[1:], strict=False)
            for user in kind.sink.users
        )

    def _same(self, body: Sequence[Node], other: Sequence[Node], number: int) -> bool:
        """Whether a kind does what the first one does; notes what it has of its own."""
        first, kind = self.chain[0], self.chain[number]
        if len(body) != len(other):
            return False
        pairs = dict(zip(body, other, strict=True))
        if pairs.get(first.value) is not kind.value:
            return False
        if first.axis is None:  # no kind has written to the rows of another
            pairs[first.before] = kind.before
        return all(
            a.target is pairs[a].target
            and self._alike((a.args, a.kwargs), (pairs[a].args, pairs[a].kwargs), pairs, number)
            for a in body
        )

    def _alike(self, a: Any, b: Any, pairs: Mapping[Node, Node], number: int) -> bool:
        if isinstance(a, Node) and isinstance(b, Node):
            return self._nodes_alike(a, b, pairs, number)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            each = zip(a, b, strict=False)
            return len(a) == len(b) and all(self._alike(x, y, pairs, number) for x, y in each)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(self._alike(a[k], b[k], pairs, number) for k in a)
        return type(a) is type(b) and bool(a == b)

    def _nodes_alike(self, a: Node, b: Node, pairs: Mapping[Node, Node], number: int) -> bool:
        first, kind = self.chain[0], self.chain[number]
        alike, places = self.found.alike, self.found.places
        if a in pairs:
            return pairs[a] is b
        if a in places and b in places:
            (mask, dim), (other, axis) = places[a], places[b]
            return mask is first.mask and other is kind.mask and dim == axis
        if alike(a) is first.mask or alike(b) is kind.mask:
            return alike(a) is first.mask and alike(b) is kind.mask
        sizes = _is_size(a) and str(a.meta["val"]) == str(b.meta["val"])
        if a is b or alike(a) is alike(b) or sizes:
            return a not in self.own or self.own[a][number] is a
        return _fit(a, b) and self._note(a, b, number)

    def _note(self, a: Node, b: Node, number: int) -> bool:
        nodes = self.own.setdefault(a, [a] * len(self.chain))
        fresh = nodes[number] in (a, b)
        nodes[number] = b
        return fresh


def _is_size(node: Node) -> bool:
    return isinstance(node.meta["val"], torch.SymInt)


def _fit(a: Node, b: Node) -> bool:
    """Whether two tensors may be stacked: of one type and one known shape."""
    one, other = a.meta["val"], b.meta["val"]
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return False
    known = all(isinstance(size, int) for size in (*one.shape, *other.shape))
    return known and one.dtype is other.dtype and one.shape == other.shape
