"""The two programs of a generation: over a prompt, and over one new token for each sequence.

Both trace the model's own forward with a cache whose memory is given: buffers of shape
[batch, heads, capacity, dim] for the keys and for the values of each layer. The rows of new
positions are written to them in place (see `tc.graph.in_place`), and one step attends over the
first `reach` rows, so that no row is ever copied. Of a model with an encoder these are the
programs of its decoder: the prompt's program also gives the keys and values of the encoder's
states, which the step's program reads. This module must not run a compiled program.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    EncoderDecoderCache,
)
from transformers.modeling_outputs import BaseModelOutput

from tc.errors import UnsupportedError, describe
from tc.frontend import capture_shapes as shapes
from tc.frontend.captured import Request
from tc.frontend.copies import twin
from tc.frozen import frozen

_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


@frozen
class LayerShape:
    """One layer's part of a cache: heads of the keys and values, the dim of each, its element type.

    `sliding`: the layer attends over a window; its rows are kept all the same, and masked.
    """

    heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    sliding: bool


@frozen
class Decoder:
    """What a generation must know of a model.

    Attributes:
        layers: of the cache of what was generated.
        cross: of the cache of the encoder's states; empty without an encoder.
        states: elements of one state of the encoder.
        dtype: of those.
        attention_mask, position_ids, logits_to_keep: whether forward takes them.
    """

    layers: tuple[LayerShape, ...]
    cross: tuple[LayerShape, ...]
    states: int
    dtype: torch.dtype
    attention_mask: bool
    position_ids: bool
    logits_to_keep: bool

    @staticmethod
    def of(model: Any) -> Decoder:
        """Found by running the model eagerly on one token.

        Raises:
            UnsupportedError: a model that begins with other than ids, or a cache of another kind
                than keys and values for each position.
        """
        known = inspect.signature(model.forward).parameters
        if (first := getattr(model, "main_input_name", "input_ids")) != "input_ids":
            raise UnsupportedError(
                describe(
                    f"{type(model).__name__}.generate",
                    why=f"it begins with {first}, not with ids",
                    way_out="generate with the model itself",
                )
            )
        cache, cross = DynamicCache(config=model.config), DynamicCache(config=model.config)
        ids = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
        given: dict[str, Any] = {"input_ids": ids, "past_key_values": cache, "use_cache": True}
        if "attention_mask" in known:
            given["attention_mask"] = torch.ones_like(ids)
        encodes = bool(model.config.is_encoder_decoder)
        if encodes:
            given |= {
                "decoder_input_ids": ids,
                "past_key_values": EncoderDecoderCache(cache, cross),
            }
        with torch.no_grad():
            out = twin(model)(**given)
        states = out.encoder_last_hidden_state if encodes else ids
        return Decoder(
            tuple(_layer_shape(layer, number) for number, layer in enumerate(cache.layers)),
            tuple(_layer_shape(layer, n) for n, layer in enumerate(cross.layers) if encodes),
            states.shape[-1],
            states.dtype,
            "attention_mask" in known,
            "position_ids" in known and not encodes,
            "logits_to_keep" in known,
        )


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


class _Rows(CacheLayerMixin):  # type: ignore[misc]  # its types are not read
    """A layer of a cache over given memory, while a step is traced."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, past: Any, sliding: bool) -> None:
        super().__init__()
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
    """The model as a function of ids and cache memory that gives the last position's logits.

    Over a prompt of a model with an encoder it gives the keys and values of its states as well.
    """

    def __init__(self, model: torch.nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder

    def forward(
        self,
        input_ids: torch.Tensor,
        keys: list[torch.Tensor],
        values: list[torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
        cross_keys: list[torch.Tensor] | None = None,
        cross_values: list[torch.Tensor] | None = None,
        reach: torch.Tensor | None = None,
    ) -> Any:
        length = input_ids.shape[1]
        past = 0 if reach is None else reach.shape[0] - length
        rows = [
            _Rows(k, v, past, layer.sliding)
            for k, v, layer in zip(keys, values, self.decoder.layers, strict=True)
        ]
        given: dict[str, Any] = {"use_cache": True, "return_dict": True}
        if position_ids is not None:
            given["position_ids"] = position_ids
        if self.decoder.logits_to_keep:
            given["logits_to_keep"] = 1
        cross = _cache_over(_filled(cross_keys or [], cross_values or []))
        if states is None:
            given |= {"input_ids": input_ids, "past_key_values": _cache_over(rows)}
            if attention_mask is not None:
                given["attention_mask"] = attention_mask[:, : past + length]
        else:
            pair = EncoderDecoderCache(_cache_over(rows), cross)
            pair.is_updated = dict.fromkeys(range(len(rows)), reach is not None)
            given |= {
                "decoder_input_ids": input_ids,
                "past_key_values": pair,
                "attention_mask": attention_mask,
                "encoder_outputs": BaseModelOutput(last_hidden_state=states),
            }
        logits = self.model(**given).logits[:, -1:]
        for row in rows:
            row.write()
        if states is None or reach is not None:
            return logits
        made: list[Any] = cross.layers
        return logits, [layer.keys for layer in made], [layer.values for layer in made]


def _cache_over(layers: list[Any]) -> DynamicCache:
    cache = DynamicCache()
    if layers:
        cache.layers = list(layers)
        cache.layer_class_to_replicate = None
    return cache


def _filled(keys: list[torch.Tensor], values: list[torch.Tensor]) -> list[Any]:
    """Layers of a cache that is not added to."""
    layers = []
    for k, v in zip(keys, values, strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values = k, v
        layer.dtype, layer.device, layer.is_initialized = k.dtype, k.device, True
        layers.append(layer)
    return layers


def _request(step: torch.nn.Module, decoder: Decoder, prompt: bool) -> Request:
    """The call of the program over a whole prompt, or over one new token for each sequence.

    Its inputs are, in order, those of them that the model takes:
        input_ids [batch, length or 1];
        keys and values of every layer [batch, heads, capacity, dim];
        attention_mask [batch, capacity], or over the encoder's states [batch, states];
        position_ids [batch, length or 1];
        the encoder's states [batch, states, dim];
        for one token, the keys and values of those states [batch, heads, states, dim];
        for one token `reach`, whose length alone is read: how many rows are used afterwards.
    It gives logits [batch, 1, vocabulary]; over a prompt also keys and values of the states.
    """
    batch, capacity, encoder = shapes.BATCH, shapes.CAPACITY, shapes.ENCODER
    length = shapes.LENGTH if prompt else None
    size = 2 if prompt else 1
    call: dict[str, Any] = {"input_ids": torch.zeros(2, size, dtype=torch.long)}
    labels: list[tuple[str | None, ...]] = [(batch, length)]

    def add(names: tuple[str, str], layers: tuple[LayerShape, ...], label: str) -> None:
        for name, dim in zip(names, ("key_dim", "value_dim"), strict=True):
            call[name] = [
                torch.zeros(2, each.heads, 4, getattr(each, dim), dtype=each.dtype)
                for each in layers
            ]
            labels.extend([(batch, None, label, None)] * len(layers))

    add(("keys", "values"), decoder.layers, capacity)
    if decoder.attention_mask:
        call["attention_mask"] = torch.ones(2, 4, dtype=torch.long)
        labels.append((batch, encoder if decoder.cross else capacity))
    if decoder.position_ids:
        call["position_ids"] = torch.zeros(2, size, dtype=torch.long)
        labels.append((batch, length))
    if decoder.cross:
        call["states"] = torch.zeros(2, 4, decoder.states, dtype=decoder.dtype)
        labels.append((batch, encoder, None))
        if not prompt:
            add(("cross_keys", "cross_values"), decoder.cross, encoder)
    if not prompt:
        call["reach"] = torch.zeros(3, dtype=torch.bool)
        labels.append((shapes.REACH,))
    return Request.of(step, (), call, labels=labels)


@frozen
class Calls:
    """The calls that become the programs of a generation.

    Attributes:
        decoder: of the model.
        module: what both are traced from; it shares the model's parameters.
        prompt, step: over a whole prompt, and over one new token for each sequence.
    """

    decoder: Decoder
    module: torch.nn.Module
    prompt: Request
    step: Request

    @staticmethod
    def of(model: Any) -> Calls:
        """Those of a model. Raises as `Decoder.of`."""
        decoder = Decoder.of(model)
        module = _Step(model, decoder)
        requests = [_request(module, decoder, prompt) for prompt in (True, False)]
        return Calls(decoder, module, *requests)
