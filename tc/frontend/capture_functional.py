"""In-place operators on values of the graph's own, rewritten as operators that return a new value.

`x.add_(y)` becomes `add(x, y)`. A write through a view becomes the new value of what owns the
memory (`slice_scatter`, `select_scatter`, or the view undone), and every other view of that memory
that is read later is taken anew. Writes to an input stay, as one copy to it: they are what the
caller asked for. This module must not change any value that the graph returns.
"""

from __future__ import annotations

import operator
from itertools import count, pairwise
from typing import Any

import torch
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_SCATTERS = {
    _aten.slice.Tensor: _aten.slice_scatter.default,
    _aten.select.int: _aten.select_scatter.default,
    _aten.diagonal.default: _aten.diagonal_scatter.default,
}
# The same elements in the same order.
_RESHAPES = {
    getattr(getattr(_aten, name), overload)
    for name, overload in (
        ("view", "default"), ("reshape", "default"), ("flatten", "using_ints"),
        ("unflatten", "int"), ("view_as", "default"), ("reshape_as", "default"),
        ("squeeze", "default"), ("squeeze", "dim"), ("squeeze", "dims"), ("unsqueeze", "default"),
        ("detach", "default"), ("alias", "default"), ("contiguous", "default"),
        ("to", "dtype"), ("to", "device"), ("to", "dtype_layout"), ("to", "other"),
        ("type_as", "default"), ("dropout", "default"),
    )
}  # fmt: skip
_PERMUTATIONS = {_aten.transpose.int, _aten.t.default, _aten.permute.default}
_WHOLE = _RESHAPES | _PERMUTATIONS
# Views of all parts of a tensor along one dim.
_PARTS = {
    _aten.split.Tensor, _aten.split_with_sizes.default, _aten.split.sizes, _aten.chunk.default,
    _aten.tensor_split.sections, _aten.unbind.int,
}  # fmt: skip


def functionalise(module: GraphModule) -> None:
    """Rewrite every in-place operator on an inner value whose views allow it, in graph order."""
    written = [n for n in module.graph.nodes if _is_in_place(n)]
    if written:
        rewriter = _Rewriter(module)
        for node in written:
            rewriter.rewrite(node)
    module.recompile()


def _is_in_place(node: Node) -> bool:
    target = node.target
    return (
        node.op == "call_function"
        and isinstance(target, torch._ops.OpOverload)
        and target._schema.name.endswith("_")
        and not target._schema.name.endswith("__")
        and target._schema.is_mutable
    )


def _is_input(value: Node) -> bool:
    """Whether it stands for an input (or weight): the placeholder, or what a write to it gave."""
    return value.op == "placeholder" or _is_in_place(value)


class _Rewriter:
    """A graph, and which memory each of its values lies in."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.fresh = count()
        # A value that was written to has none: what it became lies there now.
        self.memory: dict[Node, object] = {}
        for node in module.graph.nodes:
            self.memory[node] = self._traced_memory(node)

    def _traced_memory(self, node: Node) -> object:
        if node.target in (_aten.dropout.default, _aten.dropout_.default) and not node.args[2]:
            return self.memory.get(node.args[0])  # type: ignore[arg-type]  # a node
        value = node.meta.get("val")
        if isinstance(value, (list, tuple)) and value and node.target in _PARTS:
            value = value[0]
        if isinstance(value, torch.Tensor):
            return value.untyped_storage()._cdata
        return self._new()

    def _new(self) -> object:
        return ("new", next(self.fresh))

    def rewrite(self, node: Node) -> None:
        if node.target is _aten.dropout_.default and node.args[2] is False:
            node.target = _aten.dropout.default  # nothing is written
            return
        order = {each: number for number, each in enumerate(self.module.graph.nodes)}
        views = self._live(node, order)
        chain = self._chain(node.args[0], bool(views))
        if chain is None:
            return
        base = chain[-1]
        views = sorted({*views, *self._between(chain)} - {base}, key=order.__getitem__)
        if any(self._source(view) is None and not _is_input(view) for view in views):
            return
        stays = len(chain) == 1 and _is_input(base)
        with self.module.graph.inserting_before(node):
            new = node if stays else self._new_base(node, chain)
        if new is None:
            return
        with self.module.graph.inserting_before(node.next if stays else node):
            made = self._taken_anew(views, base, new)
        for old, now in made.items():
            old.replace_all_uses_with(
                now, delete_user_cb=lambda user: order.get(user, -1) > order[node],
                propagate_meta=False,
            )  # fmt: skip
        if not stays:
            node.replace_all_uses_with(made[chain[0]])
            self.module.graph.erase_node(node)

    def _new_base(self, node: Node, chain: list[Node]) -> Node | None:
        """What the owner of the memory becomes; None where the operator has no such form."""
        base, value = chain[-1], _written_value(self.module, node)
        if value is None:
            return None
        for view, source in pairwise(chain):
            value = _put_back(self.module, view, source, value)
        if _is_input(base):
            new = self.module.graph.call_function(_aten.copy_.default, (base, value))
            new.meta["val"] = base.meta["val"]
            return new
        return value

    def _between(self, chain: list[Node]) -> list[Node]:
        """The views from the written one to the value that owns the memory."""
        out: list[Node] = []
        view: Node | None = chain[0]
        while view is not None and view is not chain[-1]:
            out.append(view)
            view = self._source(view)
        return out

    def _taken_anew(self, views: list[Node], base: Node, new: Node) -> dict[Node, Node]:
        """`base` and its views with what they are after the write; the memory goes with them."""
        made = {base: new}
        for view in views:
            if _is_input(view):
                made[view] = new
                continue
            made[view] = self.module.graph.node_copy(view, lambda each: made.get(each, each))
            made[view].meta["val"] = _evaluated(made[view])
        memory = self.memory[base]
        for old in made:
            self.memory[old] = self._new()
        for now in made.values():
            self.memory[now] = memory
        return made

    def _live(self, write: Node, order: dict[Node, int]) -> list[Node]:
        """What else stands for the written memory and is read after the write, in order.

        The values that it is a view of are among it.
        """
        (written, *_) = write.args
        memory = self.memory.get(written)  # type: ignore[arg-type]  # a node
        found = [n for n in order if order[n] < order[write] and self.memory.get(n) == memory]
        live: set[Node] = set()
        for n in reversed(found):
            read = any(order[user] > order[write] for user in n.users) and n is not written
            if read or any(user in live for user in n.users):
                live.add(n)
        return [n for n in found if n in live]

    def _source(self, value: Node) -> Node | None:
        """The first operand, where `value` is a view of it or the very same tensor."""
        if value.op != "call_function" or not value.args or _is_input(value):
            return None
        first = value.args[0]
        same = isinstance(first, Node) and self.memory.get(first) == self.memory.get(value)
        return first if same else None  # type: ignore[return-value]  # a node, as `same` says

    def _chain(self, value: object, shared: bool) -> list[Node] | None:
        """From the written view to the value that owns the memory.

        None where a view has no way back, and where memory is shared in some other way. The view
        alone will do where nothing else reads the memory.
        """
        assert isinstance(value, Node)
        chain = [value]
        while (source := self._source(chain[-1])) is not None:
            view = chain[-1]
            if view.target is operator.getitem:
                source = self._source(source)
                if source is None or not _is_part(view):
                    break
            elif not (view.target in _SCATTERS or view.target in _WHOLE) or _casts(source, view):
                break
            chain.append(source)
        root: Node | None = chain[-1]
        while root is not None and (source := self._source(root)) is not None:
            root = source
        assert root is not None
        if root is chain[-1] and (_is_input(root) or self._owns(root)):
            return chain if shared or _is_input(root) else chain[:1]
        return [value] if not shared and not _is_input(root) and self._owns(root) else None

    def _owns(self, value: Node) -> bool:
        memory = self.memory.get(value)
        makes = value.op == "call_function" and value.meta.get("val") is not None
        return makes and memory not in [self.memory.get(n) for n in value.all_input_nodes]


def _casts(source: Node, view: Node) -> bool:
    return bool(source.meta["val"].dtype != view.meta["val"].dtype)


def _is_part(view: Node) -> bool:
    """Whether the parts before this one have sizes that are numbers."""
    parts, index = view.args
    assert isinstance(parts, Node)
    assert isinstance(index, int)
    if parts.target is _aten.unbind.int:
        return True
    dim = _dim_of(parts)
    sizes = [part.shape[dim] for part in parts.meta["val"][: index + 1]]
    return parts.target in _PARTS and all(isinstance(size, int) for size in sizes)


def _dim_of(parts: Node) -> int:
    given = 1 if parts.target is _aten.unbind.int else 2
    dim = parts.args[given] if len(parts.args) > given else parts.kwargs.get("dim", 0)
    assert isinstance(dim, int)
    return dim


def _put_back(module: GraphModule, view: Node, source: Node, value: Node) -> Node:
    """`source` with `value` where `view` looks at it."""
    if view.target is operator.getitem:
        parts, index = view.args
        assert isinstance(parts, Node)
        assert isinstance(index, int)
        dim = _dim_of(parts)
        if parts.target is _aten.unbind.int:
            scattered = (source, value, dim, index)
            return _call(module, _aten.select_scatter.default, scattered, {}, source)
        sizes = [int(part.shape[dim]) for part in parts.meta["val"][: index + 1]]
        place = (source, value, dim, sum(sizes[:-1]), sum(sizes))
        return _call(module, _aten.slice_scatter.default, place, {}, source)
    if view.target in _SCATTERS:
        scatter = _SCATTERS[view.target]
        arguments = (source, value, *view.args[1:])
        return _call(module, scatter, arguments, dict(view.kwargs), source)
    if view.target in _PERMUTATIONS:
        places = _permutation(view)
        back = sorted(range(len(places)), key=places.__getitem__)
        return _call(module, _aten.permute.default, (value, back), {}, source)
    return _call(module, _aten.reshape.default, (value, _shape(module, source)), {}, source)


def _permutation(view: Node) -> list[int]:
    rank = view.meta["val"].dim()
    if view.target is _aten.permute.default:
        return [int(dim) % rank for dim in view.args[1]]  # type: ignore[union-attr, arg-type]
    places = list(range(rank))
    if rank > 1:
        first, second = view.args[1:] if view.target is _aten.transpose.int else (0, 1)
        assert isinstance(first, int)
        assert isinstance(second, int)
        places[first], places[second] = places[second], places[first]
    return places


def _shape(module: GraphModule, value: Node) -> list[int | Node]:
    """The sizes of a value, those that are not numbers as nodes."""
    out: list[int | Node] = []
    for dim, size in enumerate(value.meta["val"].shape):
        if isinstance(size, int):
            out.append(size)
        else:
            asked = module.graph.call_function(_aten.sym_size.int, (value, dim))
            asked.meta["val"] = size
            out.append(asked)
    return out


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
    if functional is None:
        return None
    value = module.graph.call_function(functional, node.args, dict(node.kwargs))
    operands = [arg.meta["val"] for arg in node.all_input_nodes if "val" in arg.meta]
    types = {arg.dtype for arg in operands if isinstance(arg, torch.Tensor)} - {torch.bool}
    if types <= {destination.meta["val"].dtype}:
        value.meta["val"] = node.meta["val"].clone()
        return value
    # In place the result keeps the destination's dtype, where the new value may be promoted.
    value.meta["val"] = _evaluated(value)
    if value.meta["val"].dtype == destination.meta["val"].dtype:
        return value
    return _cast(module, value, destination)


def _evaluated(value: Node) -> Any:  # a tensor, or a list of tensors
    """What the operator of `value` gives for its traced operands."""
    args, kwargs = torch.fx.node.map_arg((value.args, value.kwargs), lambda n: n.meta["val"])
    return value.target(*args, **kwargs)  # type: ignore[operator]  # an overload


def _broadcast(module: GraphModule, source: object, destination: Node) -> Node:
    """`source` (a tensor or number) with the shape and dtype of the destination."""
    if not isinstance(source, Node) or not isinstance(source.meta["val"], torch.Tensor):
        arguments = (destination, source)
        return _call(module, _aten.full_like.default, arguments, {}, destination)
    value = source
    if value.meta["val"].dtype != destination.meta["val"].dtype:
        value = _cast(module, value, destination)
    if tuple(value.meta["val"].shape) != tuple(destination.meta["val"].shape):
        value = _call(module, _aten.expand_as.default, (value, destination), {}, destination)
    # It must not stay the memory of the source.
    return _call(module, _aten.clone.default, (value,), {}, destination)


def _cast(module: GraphModule, value: Node, like: Node) -> Node:
    node = module.graph.call_function(_aten.to.dtype, (value, like.meta["val"].dtype))
    node.meta["val"] = _evaluated(node)
    return node


def _call(
    module: GraphModule,
    target: torch._ops.OpOverload,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    like: Node,
) -> Node:
    """A node that gives new memory, of the shape and dtype of `like`."""
    node = module.graph.call_function(target, args, kwargs)  # type: ignore[arg-type]  # fx types
    node.meta["val"] = like.meta["val"].clone()
    return node
