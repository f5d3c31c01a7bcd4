"""Structure of call arguments and results: what is left of a call when its tensors are taken out.

A tree is made of named tuples: hashable, so that it is the key that one compilation is looked up
by, and convertible to JSON, so that a saved program can name its outputs. This module must not
look at the values of tensors nor run a model.

Caches are taken apart into their keys and values. A cache that was given to the call is written
back into the same object, as eager does. Layers of a sliding window hold the last rows alone, so a
cache that has some says how many there have been by the size of one more tensor, which is empty.
"""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import torch

from tc.errors import TcError, UnsupportedError, describe
from tc.frontend.hf_types import is_cache, is_output

if TYPE_CHECKING:
    from transformers.cache_utils import Cache, DynamicLayer


class TensorNode(NamedTuple):
    """A tensor of an argument: its dtype, rank and device, the part of it that a program fixes."""

    dtype: torch.dtype
    rank: int
    device: torch.device


class ValueNode(NamedTuple):
    """A Python scalar, string or None, which is baked into the program.

    `minus`: of a float, its sign, since 0.0 and -0.0 are equal.
    """

    type: type
    value: bool | int | float | str | torch.dtype | None
    minus: bool = False


class SequenceNode(NamedTuple):
    """A tuple, list or named tuple."""

    type: type
    items: tuple[Node, ...]


class MappingNode(NamedTuple):
    """A dict or a transformers ModelOutput, in its own order."""

    type: type
    names: tuple[str, ...]
    items: tuple[Node, ...]


class LayerNode(NamedTuple):
    """One layer of a cache: two tensor leaves, or none while it is empty."""

    type: type
    filled: bool
    keys: Node | None
    values: Node | None
    window: int | None


class CacheNode(NamedTuple):
    """A DynamicCache; `attributes` are its plain attributes beside the layers.

    `seen`: a tensor [positions, 0], where filled layers hold no more than a window of them.
    """

    type: type
    layers: tuple[LayerNode, ...]
    attributes: tuple[tuple[str, Any], ...]
    seen: Node | None


class PairNode(NamedTuple):
    """An EncoderDecoderCache: `updated` says which layers hold their cross-attention states."""

    type: type
    decoder: CacheNode
    encoder: CacheNode
    updated: tuple[tuple[int, bool], ...]


class LeafNode(NamedTuple):
    """A tensor of a result: number `number` of the program's outputs."""

    number: int


class InputNode(NamedTuple):
    """A part of a result that is tensor `number` of the call's own arguments."""

    number: int


class GivenNode(NamedTuple):
    """The cache `number` of those that the call was given, with contents written back."""

    number: int
    contents: CacheNode | PairNode


Node = (
    TensorNode
    | ValueNode
    | SequenceNode
    | MappingNode
    | LayerNode
    | CacheNode
    | PairNode
    | LeafNode
    | InputNode
    | GivenNode
)


class NoProgramError(TcError):
    """No program can serve a call that the model itself would."""


class UnsupportedCacheError(UnsupportedError, NoProgramError):
    """A cache of a kind that no program can take or give, though eager can."""


_SCALARS = (bool, int, float, str, type(None), torch.dtype)


def flatten(value: Any, tensors: list[torch.Tensor], caches: list[Any], where: str) -> Node:
    """Take the tensors out of `value` into `tensors`, its caches into `caches`; what is left.

    Raises:
        UnsupportedError: for a type that no program can take (named with `where`).
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return TensorNode(value.dtype, value.dim(), value.device)
    kind = type(value)
    if kind is float:
        return ValueNode(kind, value, math.copysign(1.0, value) < 0)
    if kind in _SCALARS:
        return ValueNode(kind, value)
    if is_output(value) or kind is dict or kind is OrderedDict:
        items = tuple(flatten(v, tensors, caches, f"{where}.{k}") for k, v in value.items())
        return MappingNode(kind, tuple(value), items)
    if isinstance(value, (tuple, list)):
        items = tuple(flatten(v, tensors, caches, f"{where}.{i}") for i, v in enumerate(value))
        return SequenceNode(kind, items)
    if is_cache(value):
        caches.append(value)
        return flatten_cache(value, tensors, where)
    raise UnsupportedError(
        describe(
            f"argument {where}",
            why=f"a value of type {kind.__module__}.{kind.__qualname__} cannot be compiled over",
            way_out="pass tensors, Python scalars, tuples, lists, dicts, ModelOutput, DynamicCache "
            "or EncoderDecoderCache",
        )
    )


def flatten_cache(cache: Cache, tensors: list[torch.Tensor], where: str) -> CacheNode | PairNode:
    """As `flatten`, for a cache; UnsupportedCacheError where its layers are of another kind."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    if type(cache) is EncoderDecoderCache:
        decoder = flatten_cache(cache.self_attention_cache, tensors, f"{where}.self_attention")
        encoder = flatten_cache(cache.cross_attention_cache, tensors, f"{where}.cross_attention")
        assert isinstance(decoder, CacheNode) and isinstance(encoder, CacheNode)
        return PairNode(type(cache), decoder, encoder, tuple(cache.is_updated.items()))
    if type(cache) is not DynamicCache or cache.offloading:
        raise _unsupported_cache(where, type(cache).__name__)
    layers = []
    for layer in cache.layers:
        if not _is_held(layer):
            raise _unsupported_cache(where, f"{type(cache).__name__} of {type(layer).__name__}")
        layers.append(_flatten_layer(layer, tensors))
    attributes = tuple((k, v) for k, v in vars(cache).items() if k != "layers")
    seen = _flatten_seen(cache.layers, layers, tensors, where)
    return CacheNode(type(cache), tuple(layers), attributes, seen)


def _is_held(layer: Any) -> TypeGuard[DynamicLayer]:
    """Whether a program can take and give such a layer."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if type(layer) is DynamicSlidingWindowLayer:
        return not layer.record_past
    return type(layer) is DynamicLayer


def _flatten_layer(layer: DynamicLayer, tensors: list[torch.Tensor]) -> LayerNode:
    keys, values = layer.keys, layer.values
    window = getattr(layer, "sliding_window", None)
    # A layer of no length is what a prefill starts from: the same program serves it.
    if keys is None or values is None or keys.numel() == 0:
        return LayerNode(type(layer), False, None, None, window)
    tensors += (keys, values)
    return LayerNode(
        type(layer),
        True,
        TensorNode(keys.dtype, keys.dim(), keys.device),
        TensorNode(values.dtype, values.dim(), values.device),
        window,
    )


def _flatten_seen(
    layers: Sequence[Any], nodes: Sequence[LayerNode], tensors: list[torch.Tensor], where: str
) -> TensorNode | None:
    """How many positions the windows of a cache have seen, as the size of an empty tensor."""
    windows = {node.window for node in nodes if node.window is not None and node.filled}
    if not windows:
        return None
    if len(windows) > 1:
        raise _unsupported_cache(where, f"cache of windows of {len(windows)} sizes")
    first = next(
        layer for layer, node in zip(layers, nodes, strict=True) if node.window and node.filled
    )
    tensors.append(torch.empty(first.cumulative_length, 0, device=first.keys.device))
    return TensorNode(torch.float32, 2, first.keys.device)


def _unsupported_cache(where: str, kind: str) -> UnsupportedCacheError:
    return UnsupportedCacheError(
        describe(
            f"cache {where}",
            why=f"a {kind} cannot be compiled over",
            way_out="pass a DynamicCache of attention layers or an EncoderDecoderCache of two, or "
            "use_cache=False",
        )
    )


def leaves(node: Node, path: str) -> Iterator[tuple[str, TensorNode | LeafNode | InputNode]]:
    """The tensor leaves of a tree in the order of the flat list, each with its dotted name."""
    match node:
        case TensorNode() | LeafNode() | InputNode():
            yield path, node
        case SequenceNode(_, items):
            for number, item in enumerate(items):
                yield from leaves(item, _join(path, str(number)))
        case MappingNode(_, names, items):
            for name, item in zip(names, items, strict=True):
                yield from leaves(item, _join(path, name))
        case CacheNode(_, layers, _, seen):
            for number, layer in enumerate(layers):
                yield from leaves(layer, _join(path, str(number)))
            if seen is not None:
                yield from leaves(seen, _join(path, "seen"))
        case LayerNode(_, True, keys, values, window):
            assert keys is not None and values is not None
            path = path if window is None else _join(path, "window")
            yield from leaves(keys, _join(path, "keys"))
            yield from leaves(values, _join(path, "values"))
        case PairNode(_, decoder, encoder, _):
            yield from leaves(decoder, _join(path, "self_attention"))
            yield from leaves(encoder, _join(path, "cross_attention"))
        case GivenNode(_, contents):
            yield from leaves(contents, path)
        case _:
            return


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def map_leaves(node: Node, change: Callable[[Node], Node]) -> Node:
    """The tree with every tensor leaf (TensorNode or LeafNode) replaced, in flat order."""
    match node:
        case TensorNode() | LeafNode():
            return change(node)
        case SequenceNode(kind, items):
            return SequenceNode(kind, tuple(map_leaves(item, change) for item in items))
        case MappingNode(kind, names, items):
            return MappingNode(kind, names, tuple(map_leaves(item, change) for item in items))
        case CacheNode(kind, layers, attributes, seen):
            changed: Any = tuple(map_leaves(layer, change) for layer in layers)
            places = None if seen is None else map_leaves(seen, change)
            return CacheNode(kind, changed, attributes, places)
        case LayerNode(kind, True, keys, values, window):
            assert keys is not None and values is not None
            both = map_leaves(keys, change), map_leaves(values, change)
            return LayerNode(kind, True, *both, window)
        case PairNode(kind, decoder, encoder, updated):
            first, second = map_leaves(decoder, change), map_leaves(encoder, change)
            assert isinstance(first, CacheNode) and isinstance(second, CacheNode)
            return PairNode(kind, first, second, updated)
        case GivenNode(index, contents):
            inner = map_leaves(contents, change)
            assert isinstance(inner, (CacheNode, PairNode))
            return GivenNode(index, inner)
        case _:
            return node


def argument_names(model: torch.nn.Module, node: Node) -> list[str]:
    """The dotted names of the flat inputs; positional ones take their parameter's name."""
    assert isinstance(node, SequenceNode)
    positional, keyword = node.items
    parameters = parameter_names(model)
    assert isinstance(positional, SequenceNode)
    names = []
    for number, item in enumerate(positional.items):
        head = parameters[number] if number < len(parameters) else f"args.{number}"
        names += [name for name, _ in leaves(item, head)]
    return names + [name for name, _ in leaves(keyword, "")]


def parameter_names(model: torch.nn.Module) -> list[str]:
    """The names of forward's positional parameters, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
