"""Rows that a mask picks: losses of some tokens, layers for samples of some kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from transformers import ElectraConfig, ElectraForPreTraining, XmodConfig, XmodModel

import tc
from tc.errors import TcError

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 40,
}  # fmt: skip
SHAPES = ((2, 7), (1, 5), (4, 12))


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def tokens(batch: int, length: int) -> dict[str, torch.Tensor]:
    """Each sequence a token shorter than the one before."""
    ids = torch.randint(3, 40, (batch, length))
    mask = (torch.arange(length) < length - torch.arange(batch)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def test_a_loss_of_the_tokens_that_are_no_padding() -> None:
    model = ElectraForPreTraining(ElectraConfig(**SIZES, embedding_size=16)).eval()
    made = tc.compile(model, threads=1, fallback="error")
    for batch, length in SHAPES:
        given = tokens(batch, length)
        labels = torch.randint(0, 2, (batch, length))
        for mask in (given["attention_mask"], torch.zeros_like(labels)):
            call = {**given, "attention_mask": mask, "labels": labels}
            found, wanted = made(**call), model(**call)
            assert type(found) is type(wanted)
            torch.testing.assert_close(found.loss, wanted.loss, equal_nan=True)
            torch.testing.assert_close(found.logits, wanted.logits)
    assert made.stats()["compilations"] == 2  # with labels and without


def test_a_layer_for_each_language() -> None:
    languages = ["en_XX", "de_DE", "fr_XX"]
    config = XmodConfig(**SIZES, languages=languages, default_language="de_DE")
    model = XmodModel(config).eval()
    made = tc.compile(model, threads=1, fallback="error")
    for batch, length in SHAPES:
        call = tokens(batch, length)
        of_each = torch.tensor([2, 0, 1, 5])[:batch]  # for the last there is none
        for more in ({}, {"lang_ids": of_each}, {"lang_ids": of_each.flip(0)}):
            found, wanted = made(**call, **more), model(**call, **more)
            torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state)
    assert made.stats()["compilations"] == 2


class Losses(nn.Module):
    """Losses of rows in several forms."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5), nn.GELU())
        self.weight = nn.Parameter(torch.rand(5))

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        logits = self.head(x[mask])
        kept = labels[mask]
        flat = mask.view(-1)
        return {
            "classes": nn.functional.cross_entropy(logits, kept),
            "weighed": nn.functional.cross_entropy(logits, kept, self.weight, ignore_index=3),
            "flat": nn.functional.cross_entropy(
                x.view(-1, x.shape[2])[flat], labels.view(-1)[flat], reduction="sum"
            ),
            "squares": nn.functional.mse_loss(logits.softmax(-1), logits.tanh()),
            "terms": nn.functional.l1_loss(logits, logits * 2, reduction="none").sum(),
            "mean": (logits[:, None].view(-1, 5) / 2 + kept.float().mean()).mean(),
        }


def test_losses_of_rows() -> None:
    model = Losses().eval()
    made = tc.compile(model, threads=1, fallback="error")
    for batch, length in SHAPES:
        x, labels = torch.randn(batch, length, 6), torch.randint(0, 5, (batch, length))
        mask = torch.rand(batch, length) > 0.5
        labels[~mask] = 77  # of no class
        torch.testing.assert_close(made(x, mask, labels), model(x, mask, labels))
    assert made.stats()["compilations"] == 1


class _Meeting(nn.Module):
    """Rows that decide on each other."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows = x[mask]
        return (rows - rows.mean(0)).sum() + (rows * rows.softmax(0)).sum()


class _Kinds(nn.Module):
    """So many kinds of rows that computing each for all would take too long."""

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        for n in range(9):
            out[kind == n] = x[kind == n] * n
        return out


@pytest.mark.parametrize("model", [_Meeting(), _Kinds()])
def test_other_rows_are_refused_as_ever(model: nn.Module) -> None:
    x, mask = torch.randn(6, 3), torch.tensor([True, False] * 3)
    with pytest.raises(TcError):
        tc.compile(model.eval(), example_inputs=(x, mask), fallback="error")
