"""The natural inputs of a Hugging Face model: what its tokenizer or image processor would give.

Found from the model's config and forward signature and from what tokenizers of its kind give, not
from a tokenizer: most models are compiled without one at hand. This module must not run the model.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import torch

# Sizes of the sample; a capture replaces them by sizes of its own, and looks at no value.
_BATCH, _LENGTH, _TARGET = 2, 8, 6
_SEED = 0


def natural_inputs(model: torch.nn.Module, length: int = _LENGTH) -> dict[str, torch.Tensor] | None:
    """Sample inputs by name on the model's device, or None where the config does not tell.

    Values are drawn at random, always the same: any token of the vocabulary, pixels as a processor
    normalises them.
    """
    config = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if config is None or main is None:
        return None
    parameters = inspect.signature(model.forward).parameters
    device = next(iter(model.parameters())).device
    if main == "pixel_values":
        image = _image(model, config, device)
        return None if image is None else {main: image}
    if main != "input_ids" or main not in parameters:
        return None
    ids = _ids(model, length).to(device)
    inputs = {"input_ids": ids}
    if "token_type_ids" in parameters and _tells_segments(config):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    if "attention_mask" in parameters:
        inputs["attention_mask"] = torch.ones_like(ids)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        inputs["decoder_input_ids"] = ids[:, :_TARGET].clone()
    # A model of several kinds of input, such as text and images, asks for more than a tokenizer.
    more = (n for n, p in parameters.items() if p.default is p.empty and n not in inputs)
    needed = any(parameters[n].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for n in more)
    return None if needed else inputs


def _tells_segments(config: Any) -> bool:
    """Whether the model tells kinds of tokens apart and its tokenizer says which is which.

    RoBERTa's successors have the one by default, and tokenizers without the other.
    """
    if (getattr(config, "type_vocab_size", None) or 0) < 2:
        return False
    from transformers.models.auto import tokenization_auto as known

    name = known.TOKENIZER_MAPPING_NAMES.get(getattr(config, "model_type", None))
    try:
        tokenizer = known.tokenizer_class_from_name(name) if name else None
    except (ImportError, AttributeError):  # of a package that is not installed
        return True
    return "token_type_ids" in getattr(tokenizer, "model_input_names", ("token_type_ids",))


def _ids(model: Any, length: int) -> torch.Tensor:
    """Tokens of the vocabulary; the second of it, where its size is not known."""
    table = None
    with contextlib.suppress(Exception):  # models of other libraries raise what they like
        table = model.get_input_embeddings().weight
    size = 2 if table is None else len(table)
    draw = torch.Generator().manual_seed(_SEED)
    return torch.randint(min(1, size - 1), max(size, 1), (_BATCH, length), generator=draw)


def _image(model: Any, config: Any, device: torch.device) -> torch.Tensor | None:
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    draw = torch.Generator().manual_seed(_SEED)
    pixels = torch.randn(_BATCH, channels, height, width, generator=draw)
    return pixels.to(device, model.dtype)
