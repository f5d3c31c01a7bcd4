"""Compiled models with heads in pipelines of transformers: what the model itself gives there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    pipeline,
)

import tc
from tests.models import minilm_folder

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")

TOKENIZER = AutoTokenizer.from_pretrained(minilm_folder())
SMALL: dict[str, Any] = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": 3,
}
TEXTS = ["a fine day in Rome", "no, it rained all the way to the station and back"]


def decoder() -> PreTrainedModel:
    ids = {"bos_token_id": TOKENIZER.cls_token_id, "eos_token_id": TOKENIZER.sep_token_id}
    sizes = {"vocab_size": len(TOKENIZER), "n_positions": 64, "n_embd": 16}
    return GPT2LMHeadModel(GPT2Config(**sizes, n_layer=1, n_head=2, pad_token_id=0, **ids))


TASKS: dict[str, tuple[Any, list[str], dict[str, Any]]] = {
    "text-classification": (
        lambda: BertForSequenceClassification(BertConfig(**SMALL)), TEXTS, {"top_k": None},
    ),
    "token-classification": (lambda: BertForTokenClassification(BertConfig(**SMALL)), TEXTS, {}),
    "fill-mask": (
        lambda: BertForMaskedLM(BertConfig(**SMALL)), [f"a {TOKENIZER.mask_token} day"], {},
    ),
    "text-generation": (decoder, TEXTS, {"max_new_tokens": 5, "do_sample": False}),
}  # fmt: skip


def same(found: Any, wanted: Any) -> None:
    """Equal but for rounding."""
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list):
        for ours, theirs in zip(found, wanted, strict=True):
            same(ours, theirs)
    else:
        assert found == (wanted if isinstance(wanted, str | int) else pytest.approx(wanted, 1e-4))


@pytest.mark.parametrize("task", TASKS)
def test_a_pipeline_gives_what_the_model_gives(task: str) -> None:
    build, texts, settings = TASKS[task]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build().eval()
    made = tc.compile(model, threads=1, fallback="error")
    ours, theirs = (pipeline(task, model=each, tokenizer=TOKENIZER) for each in (made, model))
    same(ours(texts, **settings), theirs(texts, **settings))
