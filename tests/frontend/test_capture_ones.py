"""Sizes that decide how many pieces there are have programs of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tc


class _Cuts(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        parts = x.split(2) if self.how == "split" else getattr(x, self.how)(3)
        return [part * 2 for part in parts]


@pytest.mark.parametrize("how", ["chunk", "split", "tensor_split"])
def test_as_many_pieces_as_eager_gives(how: str) -> None:
    model = _Cuts(how)
    compiled = tc.compile(model, fallback="error")
    with torch.no_grad():
        for rows, columns in ((6, 2), (4, 2), (4, 3), (1, 2)):
            x = torch.randn(rows, columns)
            ours, theirs = compiled(x), model(x)
            assert [part.shape for part in ours] == [part.shape for part in theirs]
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert compiled.stats()["compilations"] == 3  # one for each number of rows
