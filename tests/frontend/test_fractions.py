"""Sizes that follow from others by a fraction: numbers in the program, one for each size given."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as everyone calls it)
from torch import nn

import tc


class Resize(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.interpolate(image * 2, scale_factor=self.factor)


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_interpolation_by_a_fraction(factor: float) -> None:
    model = Resize(factor)
    made = tc.compile(model, threads=1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eager resizes
        for shape in ((2, 3, 10, 6), (5, 3, 10, 6), (1, 3, 9, 7)):
            image = torch.randn(shape)
            assert torch.equal(made(image), model(image))
    assert made.stats()["compilations"] == 2  # batches are free
