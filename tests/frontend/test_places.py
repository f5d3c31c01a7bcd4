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
