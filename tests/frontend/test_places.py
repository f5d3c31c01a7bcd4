"""Places in tensors that a model computes: read right, and never outside of what is there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tc


class Neighbours(nn.Module):
    """Reads around a place that it works out once, whose value several reads share."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        place = torch.floor(t * t * 4.0 + 0.5).long()
        return x[place] * 2.0 + x[place - 1] * t + x[place - 2]


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_place_that_reads_share_is_checked(dynamic: bool) -> None:
    model, x = Neighbours(), torch.arange(40.0)
    t = torch.tensor([0.9, 1.5, 2.0, 2.5, 1.0, 1.1, 1.2, 1.3, 3.1])
    compiled = tc.compile(model, dynamic=dynamic, example_inputs=(x, t), threads=1)
    torch.testing.assert_close(compiled(x, t), model(x, t))
    with pytest.raises(tc.TcError, match="index out of range in dim 0"):
        compiled(x, t * 100)
    torch.testing.assert_close(compiled(x, t), model(x, t))


class Span(nn.Module):
    """Keeps a size in a tensor, reckons with it, and cuts a table by it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(32.0).reshape(16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        span = torch.tensor(min(max(x.size(1), x.size(0)), 8))
        rows = self.table[8 - span : 8 + span, :]
        place = torch.arange(x.size(1)) - torch.arange(x.size(1)).unsqueeze(1)
        near = torch.clamp(place + span, 0, span * 2 - 1)
        return rows.flip(0)[near] + x.unsqueeze(-1) * (-span).to(torch.float64).float()


def test_a_size_that_is_kept_in_a_tensor_cuts_a_table() -> None:
    model = Span()
    compiled = tc.compile(model, fallback="error", threads=1)
    for shape in ((2, 5), (3, 17), (7, 3)):
        x = torch.randn(*shape, 1)
        torch.testing.assert_close(compiled(x), model(x))
    assert compiled.stats()["compilations"] == 1


def test_a_size_that_is_data_is_refused() -> None:
    class Cut(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            return x[: (n + 1).sum()]

    compiled = tc.compile(Cut(), threads=1, fallback="error")
    with pytest.raises(tc.TcError, match="run (it|the model) eagerly"):
        compiled(torch.zeros(5), torch.ones(1, dtype=torch.long))
