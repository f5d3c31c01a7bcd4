"""A GPT-2 or Llama of transformers as a GGUF file, for llama.cpp.

Names and layouts as in llama.cpp's own converter: matrices are [out, in], GPT-2's are transposed
for that, and the rows of Llama's queries and keys are reordered for its rotary embedding. As there,
vectors and position embeddings stay fp32 in every kind of file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.protocol import Array

FILE_TYPES = {"f32": "ALL_F32", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_GPT2 = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_LLAMA = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tensors(model: Any) -> Iterator[tuple[str, Array]]:
    """The weights by their names in the file."""
    weights: dict[str, Array] = {
        name: value.detach().float().numpy() for name, value in model.state_dict().items()
    }
    if model.config.model_type == "gpt2":
        yield "token_embd.weight", weights["transformer.wte.weight"]
        yield "position_embd.weight", weights["transformer.wpe.weight"]
        yield from _blocks(weights, "transformer.h", _GPT2, model.config)
        for end in ("weight", "bias"):
            yield f"output_norm.{end}", weights[f"transformer.ln_f.{end}"]
    else:
        yield "token_embd.weight", weights["model.embed_tokens.weight"]
        yield from _blocks(weights, "model.layers", _LLAMA, model.config)
        yield "output_norm.weight", weights["model.norm.weight"]


def _blocks(
    weights: Mapping[str, Array], prefix: str, names: Mapping[str, str], config: Any
) -> Iterator[tuple[str, Array]]:
    for layer in range(config.num_hidden_layers):
        for name, other in names.items():
            for end in ("weight", "bias"):
                array = weights.get(f"{prefix}.{layer}.{name}.{end}")
                if array is None:
                    continue
                if config.model_type == "gpt2" and array.ndim == 2:
                    array = array.T
                if other in ("attn_q", "attn_k"):
                    key = other == "attn_k"
                    array = rotary_order(
                        array, config.num_key_value_heads if key else config.num_attention_heads
                    )
                yield f"blk.{layer}.{other}.{end}", np.ascontiguousarray(array)


def rotary_order(array: Array, heads: int) -> Array:
    """Rows of each head from (first half, second half) to pairs that lie side by side."""
    rows, columns = array.shape
    halves = array.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(model: Any, kind: str, path: Path) -> None:
    """Write the model; `kind` is one of FILE_TYPES."""
    import gguf

    config = model.config
    llama = config.model_type == "llama"
    writer = gguf.GGUFWriter(str(path), config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_feed_forward_length(config.intermediate_size if llama else 4 * config.hidden_size)
    if llama:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_vocab_size(config.vocab_size)
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[kind]])
    _add_vocabulary(writer, config.vocab_size)
    quantised = gguf.GGMLQuantizationType[kind.upper()]
    for name, array in tensors(model):
        if array.ndim == 2 and not name.startswith("position_embd"):
            writer.add_tensor(name, gguf.quantize(array, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, count: int) -> None:
    """Made-up words: nothing that is measured reads text."""
    import gguf

    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{token}" for token in range(count)])
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([gguf.TokenType.NORMAL] * count)
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id):
        add(0)
