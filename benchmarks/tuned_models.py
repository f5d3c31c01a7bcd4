"""The models whose kernels are tuned for `tuning_db/`: MODEL for `tensorc tune`.

    tensorc tune benchmarks.tuned_models:bert_base --trials 256 --db shipped.db
    tensorc db export tuning_db/x86-64-v3/transformers.jsonl --db shipped.db

Each has two layers of the real model: the others have the same kernels. Weights are random.
"""

from __future__ import annotations

from typing import Any

from benchmarks.zoo import GENERATIVE, from_config, pixels, tokens

Example = tuple[Any, dict[str, Any]]
_LAYERS = 2


def _torch(inputs: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def bert_base(length: int = 128) -> Example:
    build = from_config("BertModel", "BertConfig", num_hidden_layers=_LAYERS)
    return build(), _torch(tokens(30522, True)(1, length))


def bert_base_short() -> Example:
    return bert_base(16)


def minilm(length: int = 128) -> Example:
    build = from_config(
        "BertModel",
        "BertConfig",
        num_hidden_layers=_LAYERS,
        hidden_size=384,
        intermediate_size=1536,
        num_attention_heads=12,
    )
    return build(), _torch(tokens(30522, True)(1, length))


def minilm_short() -> Example:
    return minilm(16)


def gpt2() -> Example:
    build = from_config("GPT2LMHeadModel", "GPT2Config", n_layer=_LAYERS, use_cache=False)
    return build(), _torch(tokens(50257, False)(1, 128))


def vit_base() -> Example:
    build = from_config("ViTModel", "ViTConfig", num_hidden_layers=_LAYERS)
    return build(), _torch(pixels(1, 224))


def llama_short() -> Example:
    return llama(16)


def llama(length: int = 128) -> Example:
    """The shapes of SmolLM-135M."""
    known = GENERATIVE["SmolLM-135M"]
    options = {**known.options, "num_hidden_layers": _LAYERS, "use_cache": False}
    build = from_config(known.name, known.config, **options)
    return build(), _torch(tokens(known.vocabulary, False)(1, length))


def gpt2_decode() -> Example:
    """One token after 127 others."""
    return _decode(gpt2()[0], 50257)


def llama_decode() -> Example:
    """One token after 127 others."""
    return _decode(llama()[0], GENERATIVE["SmolLM-135M"].vocabulary)


def _decode(model: Any, vocabulary: int) -> Example:
    import torch

    model.config.use_cache = True
    ids = torch.from_numpy(tokens(vocabulary, False)(1, 128)["input_ids"])
    with torch.no_grad():
        past = model(ids[:, :127], use_cache=True).past_key_values
    return model, {"input_ids": ids[:, 127:], "past_key_values": past, "use_cache": True}


MODELS = (
    bert_base, bert_base_short, minilm, minilm_short, gpt2, gpt2_decode, vit_base, llama,
    llama_short, llama_decode,
)  # fmt: skip
