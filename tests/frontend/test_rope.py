"""Rotary positions whose frequencies follow from the length of a call."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

import tc
from tests.models import text_inputs

pytestmark = pytest.mark.usefixtures("plain")

SIZES: dict[str, Any] = {
    "vocab_size": 101, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 12,
    "pad_token_id": 0, "eos_token_id": None,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 2.5, 3.0, 3.5],
    "original_max_position_embeddings": 12,
}


def dynamic() -> Any:
    return LlamaModel(LlamaConfig(**SIZES, rope_parameters=DYNAMIC)).eval()


def of_layers() -> Any:
    config = Gemma3TextConfig(**(SIZES | {"num_hidden_layers": 2}), head_dim=8, sliding_window=8)
    config.rope_parameters = {"sliding_attention": LONG, "full_attention": DYNAMIC}
    config.layer_types = list(config.rope_parameters)
    return Gemma3TextModel(config).eval()


@pytest.mark.parametrize("make", [dynamic, of_layers])
@torch.no_grad()
def test_short_and_long_calls_have_frequencies_of_their_own(make: Any) -> None:
    model = make()
    made = tc.compile(model, threads=1, fallback="error")
    for batch, length in ((2, 7), (1, 12), (2, 13), (3, 40), (1, 5)):
        given = text_inputs(batch, length)
        found = made(**given).last_hidden_state
        torch.testing.assert_close(found, model(**given).last_hidden_state)
    assert made.stats()["compilations"] == 1


def test_texts_are_continued_as_by_a_model_that_has_seen_no_longer_one() -> None:
    """Eager keeps the frequencies of the longest text so far, so that its tokens depend on it."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=DYNAMIC)).eval()
    made: Any = tc.compile(copy.deepcopy(model), threads=1, fallback="error")
    settings: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}
    for length in (5, 24, 16):
        ids = torch.randint(3, 100, (1, length))
        wanted = copy.deepcopy(model).generate(ids, **settings)
        assert torch.equal(made.generate(ids, **settings), wanted)
