"""Mixtures of experts: each row with its expert's matrices, compiled once for all sizes."""

from __future__ import annotations

import pytest
import torch
from transformers import GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM

import tc
from tests.models import VOCABULARY

# The rest of a decoder is that of the zoo's Llama, whose kernels need not be made anew.
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


class Products(torch.nn.Module):
    """Rows in groups, each group with its matrix; the last rows are in none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 20, 16))

    def forward(self, x: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        product = torch.ops.transformers.grouped_mm_fallback(x, self.weight.transpose(1, 2), ends)
        return torch.relu(product)


@pytest.mark.parametrize("codegen", ["llvm", "c"])
def test_products_of_rows_in_groups(codegen: str) -> None:
    torch.manual_seed(0)
    model = Products().eval()
    compiled = tc.compile(model, fallback="error", codegen=codegen)
    for ends in ([4, 8, 11], [0, 0, 1], [3, 3, 8], [17, 29, 40]):
        x, ints = torch.randn(ends[-1] + 2, 16), torch.tensor(ends, dtype=torch.int32)
        torch.testing.assert_close(compiled(x, ints), model(x, ints), rtol=1e-5, atol=1e-5)
    assert compiled.stats()["compilations"] == 1


def decoder(form: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if form == "biased":
        model = GptOssForCausalLM(GptOssConfig(**SMALL, head_dim=8))
    else:
        model = MixtralForCausalLM(MixtralConfig(**SMALL))
        model.set_experts_implementation(form)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


@pytest.mark.parametrize("form", ["biased", "eager"])
def test_a_decoder(form: str) -> None:
    model = decoder(form)
    compiled = tc.compile(model, fallback="error")
    for shape in ((1, 1), (2, 5), (3, 17)):
        ids = torch.randint(0, VOCABULARY, shape)
        call = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            found, wanted = compiled(**call).logits, model(**call).logits
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert compiled.stats()["compilations"] == 1
