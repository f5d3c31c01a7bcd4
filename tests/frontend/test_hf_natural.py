"""The natural inputs are those that tokenizers of a model's kind give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tc.frontend.hf_natural import natural_inputs

TEXT = ["input_ids", "attention_mask"]
SEGMENTS = ["input_ids", "token_type_ids", "attention_mask"]
SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.mark.parametrize(
    ("kind", "config", "names"),
    [
        ("BertModel", transformers.BertConfig(**SMALL), SEGMENTS),
        ("BertModel", transformers.BertConfig(**SMALL, type_vocab_size=1), TEXT),
        ("ElectraModel", transformers.ElectraConfig(**SMALL), SEGMENTS),
        # Their models tell kinds of tokens apart by default, their tokenizers do not.
        ("XLMRobertaModel", transformers.XLMRobertaConfig(**SMALL, type_vocab_size=2), TEXT),
        ("AlbertModel", transformers.AlbertConfig(**SMALL), TEXT),
        ("DistilBertModel", transformers.DistilBertConfig(vocab_size=50, dim=16, n_heads=2), TEXT),
    ],
)
def test_names(kind: str, config: Any, names: list[str]) -> None:
    with torch.device("meta"):
        model = getattr(transformers, kind)(config)
    found = natural_inputs(model)
    assert found is not None
    assert list(found) == names


def test_a_kind_without_a_known_tokenizer_is_asked_for_all() -> None:
    config = transformers.BertConfig(**SMALL)
    config.model_type = "of-my-own"
    with torch.device("meta"):
        found = natural_inputs(transformers.BertModel(config))
    assert found is not None
    assert list(found) == SEGMENTS
