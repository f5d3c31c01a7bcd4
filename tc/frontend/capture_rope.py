"""Rotary positions whose frequencies follow from the length, while a model is traced.

transformers keeps in the module what it computed for the longest call so far, and asks the
positions whether a call is longer: a trace holds neither the question nor the keeping. While a
model is traced the frequencies follow from the positions of the call alone, as they do in a model
that was not called before. This module must not change the model that was given.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

import torch

_MODULE: Final = "transformers.modeling_rope_utils"
_LONG: Final = "longrope"  # long sequences have frequencies of their own, which are one set
_GROWING: Final = "dynamic"  # and here they follow from the length
_PLAIN: Final = "default"
_KEPT: Final = ("max_seq_len_cached", "long_inv_freq", "original_inv_freq", "attention_scaling")


def settle_frequencies(model: torch.nn.Module) -> list[str]:
    """Let the modules of a model that is to be traced compute their frequencies in each call.

    Gives the paths of what eager keeps there instead.
    """
    kept: list[str] = []
    for path, module in model.named_modules():
        kinds: Any = getattr(module, "rope_type", None)
        named: dict[str | None, str] = kinds if isinstance(kinds, dict) else {None: kinds}
        found = {layer: kind for layer, kind in named.items() if _follows(kind)}
        if found and _updates(type(module).forward):
            module.__dict__["forward"] = partial(_forward, module, found)
            # Which asks and keeps nothing.
            plain = dict.fromkeys(named, _PLAIN)
            module.__dict__["rope_type"] = plain if isinstance(kinds, dict) else _PLAIN
            kept += [f"{path}.{_named(n, layer)}" for n in _KEPT for layer in {None, *found}]
    return kept


def _follows(kind: object) -> bool:
    return isinstance(kind, str) and (kind == _LONG or _GROWING in kind)


def _updates(function: Any) -> bool:
    """Whether the library's updating of frequencies is around a forward."""
    while function is not None:
        if getattr(function, "__globals__", {}).get("__name__") == _MODULE:
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def _forward(
    module: Any,
    kinds: dict[str | None, str],
    x: torch.Tensor,
    position_ids: torch.Tensor,
    layer_type: str | None = None,
) -> Any:
    """The module's own forward over the frequencies of this call."""
    given = () if layer_type is None else (layer_type,)
    forward = partial(type(module).forward, module, x, position_ids, *given)
    if layer_type not in kinds:
        return forward()
    buffers, name = module._buffers, _named("inv_freq", layer_type)
    kept = buffers[name]
    buffers[name] = _frequencies(module, kinds[layer_type], position_ids, layer_type)
    try:
        return forward()
    finally:
        buffers[name] = kept


def _frequencies(
    module: Any, kind: str, positions: torch.Tensor, layer_type: str | None
) -> torch.Tensor:
    """The original ones, or those of more positions than the model was made for."""
    length: Any = positions.max() + 1
    original = getattr(module, _named("original_inv_freq", layer_type)).to(positions.device)
    limit, reached = module.original_max_seq_len, length
    if kind == _LONG:
        parameters = module.config.rope_parameters
        named = parameters if layer_type is None else parameters[layer_type]
        limit = named["original_max_position_embeddings"]
        reached = limit + 1
    find = sys.modules[_MODULE].ROPE_INIT_FUNCTIONS[kind]
    more, _ = find(module.config, positions.device, seq_len=reached, layer_type=layer_type)
    return torch.where(length > limit, more, original)


def _named(buffer: str, layer_type: str | None) -> str:
    return buffer if layer_type is None else f"{layer_type}_{buffer}"
