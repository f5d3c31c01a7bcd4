"""Results of calls: their trees over numbered outputs, and the objects rebuilt from them.

A result is rebuilt as the class that eager returns, and a cache that the call was given is written
back into the same object. This module must not look at the values of tensors nor run a model.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tc.errors import UnsupportedError
from tc.frontend.capture_tree import (
    CacheNode,
    GivenNode,
    InputNode,
    LayerNode,
    LeafNode,
    MappingNode,
    Node,
    NoProgramError,
    PairNode,
    SequenceNode,
    ValueNode,
    flatten,
    flatten_cache,
    leaves,
    map_leaves,
)
from tc.frontend.captured import GraphError
from tc.frontend.hf_types import is_output, is_output_class

if TYPE_CHECKING:
    from transformers.cache_utils import DynamicLayer


def arguments_of(
    node: Node, tensors: Sequence[torch.Tensor], caches: list[Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The positional arguments and those by name that a tree stands for, over `tensors`.

    Caches among them are numbered in `caches` as at a call: by where they stand.
    """
    counter = iter(range(len(tensors)))
    args, kwargs = rebuild(map_leaves(node, lambda _: LeafNode(next(counter))), tensors)
    for value in (*args, *kwargs.values()):
        flatten(value, [], caches, "")
    return args, kwargs


def rebuild(
    node: Node,
    outputs: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor] = (),
    caches: Sequence[Any] = (),
) -> Any:
    """The object that a tree was taken from, over `outputs`; caches of the call written back."""
    match node:
        case LeafNode(index):
            return outputs[index]
        case InputNode(index):
            return inputs[index]
        case ValueNode(_, value):
            return value
        case SequenceNode(kind, items):
            parts = [rebuild(item, outputs, inputs, caches) for item in items]
            return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
        case MappingNode(kind, names, items):
            parts = [rebuild(item, outputs, inputs, caches) for item in items]
            return _maker(kind, names)(parts)
        case GivenNode(index, contents):
            return _fill(contents, caches[index], outputs, inputs)
        case CacheNode(kind, _, _) | PairNode(kind, _, _, _):
            return _fill(node, _blank(kind), outputs, inputs)
    raise AssertionError(f"no object for {node}")


def result_names_of(node: Node) -> tuple[type, tuple[str, ...]] | None:
    """The class and the names of a mapping of all outputs in turn; None for anything else."""
    if not isinstance(node, MappingNode):
        return None
    if any(item != LeafNode(number) for number, item in enumerate(node.items)):
        return None
    return node.type, node.names


@functools.cache
def _maker(kind: type, names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    """A function from the parts to a mapping of this kind that names them."""
    empty = other_attributes(kind, names)
    if empty is None:
        return lambda parts: kind(**dict(zip(names, parts, strict=True)))
    return functools.partial(_put_together, kind, names, empty)


@functools.cache
def other_attributes(kind: type, names: tuple[str, ...]) -> dict[str, None] | None:
    """The attributes, all None at first, of a mapping that may be put together by hand.

    transformers' classes look through all their fields several times when they are made, which
    takes longer than finding the program of a call. Where an object made without that is the same
    in all that can be seen of it, it is made so; else this is None.
    """
    if not is_output_class(kind):
        return None
    samples = [object() for _ in names]
    like = kind(**dict(zip(names, samples, strict=True)))
    empty = dict.fromkeys(vars(like))
    tried = _put_together(kind, names, empty, samples)
    same = list(tried.items()) == list(like.items()) and vars(tried) == vars(like)
    return empty if same else None


def _put_together(
    kind: type, names: tuple[str, ...], empty: dict[str, None], parts: Sequence[Any]
) -> Any:
    made: Any = kind.__new__(kind)  # type: ignore[call-overload]  # of no known class
    made.__dict__.update(empty)
    made.__dict__.update(zip(names, parts, strict=True))
    for name, part in zip(names, parts, strict=True):
        OrderedDict.__setitem__(made, name, part)
    return made


def _blank(kind: type) -> Any:
    """An object of a class, before its __init__: its attributes are set one by one."""
    return object.__new__(kind)


def _fill(
    node: CacheNode | PairNode,
    cache: Any,
    outputs: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
) -> Any:
    if isinstance(node, PairNode):
        for name, part in (
            ("self_attention_cache", node.decoder),
            ("cross_attention_cache", node.encoder),
        ):
            old = getattr(cache, name, None)
            new = old if old is not None else _blank(part.type)
            setattr(cache, name, _fill(part, new, outputs, inputs))
        cache.is_updated = dict(node.updated)
        return cache
    for name, value in node.attributes:
        setattr(cache, name, value)
    # The given layers are filled in place: eager keeps the layer objects too.
    layers = getattr(cache, "layers", None)
    if layers is None:
        layers = cache.layers = []
    seen = None if node.seen is None else rebuild(node.seen, outputs, inputs).shape[0]
    for number, layer in enumerate(node.layers):
        if number == len(layers):
            layers.append(layer.type() if layer.window is None else layer.type(layer.window))
        if layer.filled:
            _fill_layer(layers[number], layer, outputs, inputs)
            if layer.window is not None:
                _close_window(layers[number], layer.window, seen)
    return cache


def _close_window(layer: Any, window: int, seen: Any) -> None:
    """Keep the rows that a next position sees, as eager does; sizes of a trace are no ints."""
    layer.cumulative_length = seen
    rows = layer.keys.shape[-2]
    if isinstance(rows, int) and rows >= window:
        layer.keys = layer.keys[:, :, -window + 1 :]
        layer.values = layer.values[:, :, -window + 1 :]


def _fill_layer(
    layer: DynamicLayer,
    node: LayerNode,
    outputs: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
) -> None:
    assert node.keys is not None and node.values is not None
    keys = rebuild(node.keys, outputs, inputs)
    layer.keys, layer.values = keys, rebuild(node.values, outputs, inputs)
    layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True


def result_tree(value: Any, caches: Sequence[Any], outputs: list[torch.Tensor]) -> Node:
    """The tree of a call's result and of the caches it was given, tensors put into `outputs`.

    A given cache that stands in the result is a GivenNode there; one that does not is written
    back all the same, since eager updates it. The tree is a pair (result, given caches).

    Raises:
        GraphError: a part is of a type that no program gives.
    """
    contents = [_given(cache, number, outputs) for number, cache in enumerate(caches)]
    unseen = dict(enumerate(contents))

    def walk(part: Any) -> Node:
        for number, cache in enumerate(caches):
            if part is cache:
                unseen.pop(number, None)
                return contents[number]
        kind = type(part)
        if is_output(part) or kind in (dict, OrderedDict):
            return MappingNode(kind, tuple(part), tuple(walk(item) for item in part.values()))
        if isinstance(part, (tuple, list)):
            return SequenceNode(kind, tuple(walk(item) for item in part))
        try:
            return _numbered(flatten(part, outputs, [], "result"), len(outputs))
        except NoProgramError:
            raise
        except UnsupportedError as error:  # as a size is, which is a number at sizes of its own
            raise GraphError(error.message) from None

    result = walk(value)
    return SequenceNode(tuple, (result, SequenceNode(tuple, tuple(unseen.values()))))


def _given(cache: Any, number: int, outputs: list[torch.Tensor]) -> GivenNode:
    node = _numbered(flatten_cache(cache, outputs, "cache"), len(outputs))
    assert isinstance(node, (CacheNode, PairNode))
    return GivenNode(number, node)


def _numbered(node: Node, end: int) -> Node:
    """TensorNodes to LeafNodes, the last one being number `end - 1`."""
    count = sum(1 for _ in leaves(node, ""))
    numbers = iter(range(end - count, end))
    return map_leaves(node, lambda _: LeafNode(next(numbers)))


def result_names(node: Node) -> Iterator[tuple[str, int]]:
    """Each name of a result with its output number, or -1 - i for input number i handed back."""
    assert isinstance(node, SequenceNode)
    result, unseen = node.items
    head = "output" if isinstance(result, LeafNode | InputNode) else ""
    for name, leaf in (*leaves(result, head), *leaves(unseen, "given")):
        assert isinstance(leaf, LeafNode | InputNode)
        yield name, leaf.number if isinstance(leaf, LeafNode) else -1 - leaf.number
