"""Real parts of Fourier transforms, of any length."""

from __future__ import annotations

import torch
from transformers import FNetConfig, FNetModel

import tc
from tc.frontend.hf_natural import natural_inputs


class Mixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        apart = torch.fft.fft(torch.fft.fft(x, dim=-1), dim=1)
        return apart.real, torch.fft.fft(x).real


def test_of_all_lengths() -> None:
    compiled = tc.compile(Mixed(), fallback="error")
    for shape in ((2, 7, 6), (1, 1, 6), (3, 64, 6)):
        x = torch.randn(shape)
        for found, wanted in zip(compiled(x), Mixed()(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    assert compiled.stats()["compilations"] == 1


def test_an_encoder_that_mixes_tokens_so() -> None:
    torch.manual_seed(0)
    config = FNetConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, intermediate_size=24)
    model = FNetModel(config).eval()
    compiled = tc.compile(model, fallback="error")
    natural = natural_inputs(model)
    assert natural is not None
    for shape in ((1, 1), (2, 5), (3, 17)):
        given = {name: torch.zeros(shape, dtype=torch.int64) for name in natural}
        given["input_ids"] = torch.randint(0, 50, shape)
        with torch.no_grad():
            wanted = model(**given)
        found = compiled(**given)
        torch.testing.assert_close(found.pooler_output, wanted.pooler_output, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-4)
    assert compiled.stats()["compilations"] == 1
