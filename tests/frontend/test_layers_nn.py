"""Layers of torch.nn at several sizes, by compiled programs alone: what was once wrong or eager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import tc


def check(
    model: nn.Module, calls: Sequence[Sequence[Any]], programs: int = 1, within: float = 1e-5
) -> None:
    """Every call gives what eager does; so many programs were made for all of them."""
    made = tc.compile(model.eval(), threads=1, fallback="error")
    for args in calls:
        with torch.no_grad():
            ours, theirs = made(*args), model(*args)
        torch.testing.assert_close(ours, theirs, rtol=within, atol=within)
    assert made.stats()["compilations"] == programs


@pytest.mark.parametrize("scale", [2, 1.7])
def test_a_size_that_is_rounded_from_another(scale: float) -> None:
    """PyTorch asks for the number in one dim, and traces on with it."""
    model = nn.Upsample(scale_factor=scale, mode="area")
    check(model, [(torch.randn(2, 3, n),) for n in (7, 8)], programs=2)


class ByRemainder(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[1] % 2 == 0 else x + 1


def test_a_branch_by_a_remainder() -> None:
    check(ByRemainder(), [(torch.randn(2, n),) for n in (4, 5)], programs=2)


def test_products_over_nothing() -> None:
    """Clusters of the adaptive softmax have an eighth of the features, then a 64th: here none."""
    torch.manual_seed(0)
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8])

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer.log_prob(x)  # type: ignore[no-any-return]

    check(Logits(), [(torch.randn(n, 8),) for n in (2, 3)])
