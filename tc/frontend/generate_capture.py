"""The two programs of a generation: over a prompt, and over one new token for each sequence.

Both trace the model's own forward with a cache whose memory is given: buffers of shape
[batch, heads, capacity, dim] for the keys and for the values of each layer. The rows of new
positions are written to them in place (see `tc.graph.in_place`), and one step attends over the
first `reach` rows, so that no row is ever copied. This module must not run a compiled program.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from tc.errors import UnsupportedError, describe
from tc.frontend import capture_shapes as shapes
from tc.frontend.capture import Captured, capture, twin

_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer's part of a cache: heads of the keys and values, the dim of each, its element type.

    `sliding`: the layer attends over a window; its rows are kept all the same, and masked.
    """

    heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    sliding: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the model's forward takes beside ids and cache."""

    attention_mask: bool
    position_ids: bool
    logits_to_keep: bool

    @staticmethod
    def by(model: torch.nn.Module) -> Accepted:
        """Read from the signature of forward."""
        known = inspect.signature(model.forward).parameters
        return Accepted(*(name in known for name in Accepted.__slots__))


def layers_of(model: Any, accepted: Accepted) -> tuple[LayerShape, ...]:
    """The cache that the model fills, found by running it eagerly on one token.

    Raises:
        UnsupportedError: a cache of another kind than keys and values for each position.
    """
    cache = DynamicCache(config=model.config)
    first = next(model.parameters())
    ids = torch.zeros(1, 1, dtype=torch.long, device=first.device)
    mask = {"attention_mask": torch.ones_like(ids)} if accepted.attention_mask else {}
    with torch.no_grad():
        twin(model)(input_ids=ids, past_key_values=cache, use_cache=True, **mask)
    return tuple(_layer_shape(layer, number) for number, layer in enumerate(cache.layers))


def _layer_shape(layer: Any, number: int) -> LayerShape:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if type(layer) not in _LAYERS or keys is None or values is None or keys.shape[:3:2] != (1, 1):
        raise UnsupportedError(
            describe(
                f"cache layer {number}, a {type(layer).__name__}",
                why="holds other than keys and values for each position",
                way_out="generate with use_cache=False, or with the model itself",
            )
        )
    heads, key_dim, value_dim = keys.shape[1], keys.shape[3], values.shape[3]
    return LayerShape(heads, key_dim, value_dim, keys.dtype, bool(layer.is_sliding))


class _Rows(CacheLayerMixin):  # type: ignore[no-untyped-call]  # transformers gives no types
    """A layer of a cache over given memory, while a step is traced."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, past: Any, sliding: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self.is_sliding = keys, values, sliding
        self.memory = (keys, values)
        self.is_initialized = True
        self.dtype, self.device = keys.dtype, keys.device
        self.past = past
        self.new: list[torch.Tensor] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """There is nothing to make: the memory is given."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the new rows in place; keys and values to attend over."""
        end = self.past + key_states.shape[2]
        self.new = [
            torch.slice_scatter(old, rows, 2, self.past, end)
            for old, rows in zip(self.memory, (key_states, value_states), strict=True)
        ]
        if isinstance(self.past, int):
            return key_states, value_states  # a prompt: they are all that there is
        keys, values = self.new
        return keys[:, :, :end], values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[Any, int]:
        """How many positions are attended over, and the first of them."""
        return self.past + query_length, 0

    def get_seq_length(self) -> Any:
        """How many positions there were before this step."""
        return self.past

    def get_max_length(self) -> int:
        """No maximum that a model should know of."""
        return -1

    def write(self) -> None:
        """Make the new rows part of the given memory."""
        for old, new in zip(self.memory, self.new, strict=True):
            old.copy_(new)


class _Step(torch.nn.Module):
    """The model as a function of ids and cache memory that gives the last position's logits."""

    def __init__(
        self, model: torch.nn.Module, layers: tuple[LayerShape, ...], accepted: Accepted
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.accepted = accepted

    def forward(
        self,
        input_ids: torch.Tensor,
        keys: list[torch.Tensor],
        values: list[torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        reach: torch.Tensor | None = None,
    ) -> torch.Tensor:
        length = input_ids.shape[1]
        past = 0 if reach is None else reach.shape[0] - length
        rows = [
            _Rows(k, v, past, layer.sliding)
            for k, v, layer in zip(keys, values, self.layers, strict=True)
        ]
        given: dict[str, Any] = {}
        if attention_mask is not None:
            given["attention_mask"] = attention_mask[:, : past + length]
        if position_ids is not None:
            given["position_ids"] = position_ids
        if self.accepted.logits_to_keep:
            given["logits_to_keep"] = 1
        out = self.model(
            input_ids=input_ids,
            past_key_values=_cache_over(rows),
            use_cache=True,
            return_dict=True,
            **given,
        )
        for row in rows:
            row.write()
        logits: torch.Tensor = out.logits[:, -1:]
        return logits


def _cache_over(rows: list[_Rows]) -> DynamicCache:
    cache = DynamicCache()
    cache.layers = list(rows)
    cache.layer_class_to_replicate = None
    return cache


def step_module(
    model: torch.nn.Module, layers: tuple[LayerShape, ...], accepted: Accepted
) -> torch.nn.Module:
    """What the programs are traced from; it shares the model's parameters."""
    return _Step(model, layers, accepted)


def capture_step(
    step: torch.nn.Module, layers: tuple[LayerShape, ...], accepted: Accepted, prompt: bool
) -> Captured:
    """The program over a whole prompt, or over one new token for each sequence.

    Its inputs are, in order: input_ids [batch, length or 1], keys and values of every layer
    [batch, heads, capacity, dim], attention_mask [batch, capacity] and position_ids
    [batch, length or 1] if the model takes them, and for one token `reach`, whose length alone is
    read: how many rows are used after the step. Its output is logits
    [batch, 1, vocabulary].

    Raises:
        UnsupportedError, TraceError: as `capture`.
    """
    length = shapes.LENGTH if prompt else None
    size = 2 if prompt else 1
    capacity, batch = shapes.CAPACITY, shapes.BATCH
    call: dict[str, Any] = {"input_ids": torch.zeros(2, size, dtype=torch.long)}
    labels: list[tuple[str | None, ...]] = [(batch, length)]
    for name, dim in (("keys", "key_dim"), ("values", "value_dim")):
        call[name] = [
            torch.zeros(2, each.heads, 4, getattr(each, dim), dtype=each.dtype) for each in layers
        ]
        labels += [(batch, None, capacity, None)] * len(layers)
    if accepted.attention_mask:
        call["attention_mask"] = torch.ones(2, 4, dtype=torch.long)
        labels.append((batch, capacity))
    if accepted.position_ids:
        call["position_ids"] = torch.zeros(2, size, dtype=torch.long)
        labels.append((batch, length))
    if not prompt:
        call["reach"] = torch.zeros(3, dtype=torch.bool)
        labels.append((shapes.REACH,))
    return capture(step, (), call, labels=labels)
