"""Models that classify a sequence by the state at its last end token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BartConfig, BartForSequenceClassification

import tc
from tc.errors import TcError

END = 1


def model() -> Any:
    torch.manual_seed(0)
    ends = {"vocab_size": 60, "eos_token_id": END, "pad_token_id": 0, "num_labels": 3}
    sides = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 24))
    }
    return BartForSequenceClassification(
        BartConfig(**ends, **sides, d_model=16, max_position_embeddings=40)
    ).eval()


def sequences(batch: int, length: int) -> dict[str, torch.Tensor]:
    """Two end tokens in each, the last of them followed by padding."""
    ids = torch.randint(3, 60, (batch, length), generator=torch.Generator().manual_seed(length))
    ids[:, 0] = END
    for row in range(batch):
        last = length - 1 - row % 3
        ids[row, last], ids[row, last + 1 :] = END, 0
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.usefixtures("plain")
def test_classes_of_sequences() -> None:
    eager = model()
    made = tc.compile(eager, fallback="error", threads=1)
    with torch.no_grad():
        for batch, length in ((2, 7), (1, 5), (4, 12)):
            given = sequences(batch, length)
            torch.testing.assert_close(made(**given).logits, eager(**given).logits)
        assert made.stats()["compilations"] == 1
        for wrong in (given["input_ids"].masked_fill(given["input_ids"] == END, 5), None):
            given["input_ids"][0, 0] = 7  # one end token fewer than the others
            ids = given["input_ids"] if wrong is None else wrong
            with pytest.raises(TcError, match="<eos> token"):  # in the model's own words
                made(**{**given, "input_ids": ids})


class _Rows(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x[mask].view(x.shape[0], -1, x.shape[2])[:, 0]


def test_other_rows_are_refused_as_ever() -> None:
    x, mask = torch.randn(2, 4, 3), torch.tensor([[True, False] * 2] * 2)
    with pytest.raises(TcError):
        tc.compile(_Rows().eval(), example_inputs=(x, mask), fallback="error")
