"""Sorts and the search for many of the greatest, as models: any length, as eager gives them."""

from __future__ import annotations

import pytest
import torch

import tc
from tc.graph.sorting import MOST_COUNTED

SHAPES = ((2, 40), (3, MOST_COUNTED + 1), (1, 1500))


class Sorts(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, order = torch.sort(x, dim=-1, stable=True)
        back = torch.argsort(x, dim=-1, descending=True, stable=True)
        return values, order, back, *torch.sort(x, dim=0, stable=True)


class Greatest(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.topk(x, 33, -1)[0], torch.topk(x, 35, -1, largest=False)[0]


def numbers(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """Many are equal; NaN, infinity and both zeros are among them."""
    draw = torch.Generator().manual_seed(shape[1])
    x = torch.randint(-50, 50, shape, generator=draw).to(dtype)
    if dtype.is_floating_point:
        for value in (float("nan"), float("-inf"), -0.0, 0.0):
            x[torch.rand(shape, generator=draw) < 0.1] = value
    return x


@pytest.mark.parametrize(
    ("model", "dtype", "codegen"),
    [
        (Sorts, torch.float32, "llvm"),
        (Sorts, torch.float32, "c"),
        (Sorts, torch.int64, "llvm"),
        (Greatest, torch.float32, "llvm"),
    ],
)
def test_as_eager(model: type[torch.nn.Module], dtype: torch.dtype, codegen: str) -> None:
    plain = model()
    compiled = tc.compile(
        plain, example_inputs=(numbers((2, 50), dtype),), fallback="error", codegen=codegen
    )
    for shape in SHAPES:
        x = numbers(shape, dtype)
        for found, wanted in zip(compiled(x), plain(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
    assert compiled.stats()["compilations"] == 1
