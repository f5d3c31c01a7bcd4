"""Rows of several kinds, each kind with weights of its own, in loops over the kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    JetMoeConfig,
    JetMoeModel,
    SwitchTransformersConfig,
    SwitchTransformersEncoderModel,
)

import tc
from tc.errors import TcError

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")

KINDS = 9


class Mixture(nn.Module):
    """The two best experts of each token, as models of before their common form have them."""

    def __init__(self, hit: bool) -> None:
        super().__init__()
        self.hit = hit
        self.gate = nn.Linear(6, KINDS)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6, bias=False))
            for _ in range(KINDS)
        )
        self.scale = nn.Parameter(torch.rand(KINDS, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.view(-1, x.shape[-1])
        weights, chosen = self.gate(flat).softmax(-1).topk(2, dim=-1)
        out = torch.zeros_like(flat)
        mask = nn.functional.one_hot(chosen, num_classes=KINDS).permute(2, 1, 0)
        hits: Any = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
        for number in hits if self.hit else range(KINDS):
            place, token = torch.where(mask[number].squeeze(0) if self.hit else mask[number])
            if token.shape[0] == 0:
                continue
            rows = flat[None, token].reshape(-1, flat.shape[-1]) * self.scale[int(number)]
            found = self.experts[number](rows) * weights[token, place, None]
            out.index_add_(0, token, found.to(x.dtype))
        return out.view(x.shape)


class Adapters(nn.Module):
    """A layer for samples of each kind; those of no kind stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(KINDS))

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        for number, layer in enumerate(self.layers):
            rows = x[kind == number]
            out[kind == number] = torch.tanh(layer(rows)) + rows
        return out


@pytest.mark.parametrize("hit", [False, True])
@torch.no_grad()
def test_experts_in_a_loop(hit: bool) -> None:
    torch.manual_seed(0)
    model = Mixture(hit).eval()
    made = tc.compile(model, threads=1, fallback="error")
    for shape in ((2, 7, 6), (1, 5, 6), (4, 12, 6)):
        x = torch.randn(shape)
        torch.testing.assert_close(made(x), model(x), rtol=1e-5, atol=1e-5)
    assert made.stats()["compilations"] == 1


@torch.no_grad()
def test_layers_for_samples_of_a_kind() -> None:
    torch.manual_seed(0)
    model = Adapters().eval()
    made = tc.compile(model, threads=1, fallback="error")
    for batch, length in ((5, 7), (1, 4), (12, 3)):
        x, kind = torch.randn(batch, length, 6), torch.randint(0, KINDS + 2, (batch,))
        torch.testing.assert_close(made(x, kind), model(x, kind))
    assert made.stats()["compilations"] == 1


SWITCH = SwitchTransformersConfig(
    vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_sparse_encoder_layers=1,
    num_heads=2, num_experts=4, expert_capacity=3,
)  # fmt: skip


JET = JetMoeConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=1, num_key_value_heads=2, kv_channels=8,
    intermediate_size=24, num_local_experts=4, num_experts_per_tok=2,
)  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "jet": lambda: JetMoeModel(JET),
    "switch": lambda: SwitchTransformersEncoderModel(SWITCH),
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_models_with_such_loops(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    made = tc.compile(copy.deepcopy(model), threads=1, fallback="error")  # eager writes to it
    for batch, length in ((2, 7), (1, 5), (3, 12)):
        ids = torch.randint(3, 40, (batch, length))
        mask = (torch.arange(length) < length - 1).long().expand_as(ids)
        call = {"input_ids": ids, "attention_mask": mask}
        found, wanted = made(**call), model(**call)
        assert type(found) is type(wanted)
        torch.testing.assert_close(
            found.last_hidden_state, wanted.last_hidden_state, rtol=1e-4, atol=1e-4
        )
    assert made.stats()["compilations"] == 1


class _Together(nn.Module):
    """Rows of a kind that decide on each other, and kinds that a row may be of both."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.apart = apart

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        for number in range(KINDS):
            mask = kind == number if self.apart else kind > number
            rows = x[mask]
            out[mask] = rows - rows.mean(0) if self.apart else rows + number
        return out


@pytest.mark.parametrize("apart", [False, True])
def test_other_kinds_are_refused_as_ever(apart: bool) -> None:
    x, kind = torch.randn(6, 3), torch.arange(6)
    with pytest.raises(TcError):
        tc.compile(_Together(apart).eval(), example_inputs=(x, kind), fallback="error")
