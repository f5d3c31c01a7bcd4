"""Generate text with a compiled causal language model: the same tokens as eager.

    python examples/generation.py FOLDER "Once upon a time"

FOLDER is a Hugging Face model with its tokenizer. Without one a small GPT-2 with random weights
continues the bytes of the text, with nonsense.
"""

from __future__ import annotations

import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import tc

NEW_TOKENS = 24


def random_model() -> torch.nn.Module:
    """A GPT-2 of one layer whose tokens are bytes."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=256, n_positions=256, n_embd=64, n_layer=1, n_head=4,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def main(folder: str | None, text: str) -> None:
    if folder is None:
        model = random_model()
        ids = torch.tensor([list(text.encode())])
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(text, return_tensors="pt").input_ids
    compiled = tc.compile(model)
    tokens = {}
    for name, each in (("eager", model), ("tc", compiled), ("tc, again", compiled)):
        start = time.perf_counter()
        tokens[name] = each.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )
        made = tokens[name].shape[1] - ids.shape[1]
        print(f"{name:10} {made / (time.perf_counter() - start):7.1f} tokens/s")
    print("same tokens:", torch.equal(tokens["eager"], tokens["tc"]))
    new = tokens["tc"][0, ids.shape[1] :].tolist()
    print(text, bytes(new) if folder is None else tokenizer.decode(new))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], " ".join(sys.argv[2:]))
    else:
        main(None, " ".join(sys.argv[1:]) or "Once upon a time")
