"""A small model, and how often the programs of a model were found."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import tc

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def hits(model: nn.Module, *args: torch.Tensor, **options: Any) -> int:
    """Compile, check the results against eager, and tell how many programs were found."""
    made = tc.compile(model, example_inputs=args or (X,), **options)
    with torch.no_grad():
        bound = 0.05 if options.get("precision", "fp32") != "fp32" else 1e-5
        for mine, theirs in zip(
            _flat(made(*(args or (X,)))), _flat(model(*(args or (X,)))), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=bound, rtol=bound)
    found = made.stats()["program_hits"]  # type: ignore[operator]
    assert isinstance(found, int)
    return found


def _flat(value: Any) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6)).eval()
