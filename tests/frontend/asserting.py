"""Models that refuse data, each in another way; pytest does not rewrite what is asserted here."""

from __future__ import annotations

import torch
from torch import nn
from transformers.utils import torch_compilable_check


class Asynchronous(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert_async((x > 0).all(), "it must be positive")
        return x + 1


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert_async((x > 0).all(), "it must be positive")
        y = x + 1
        torch._assert_async((y > -4).all(), "it must not be far below")
        return y


class Untold(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert_async((x > 0).all())
        return x + 1


class Statement(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            assert not (x <= 0).any() and x.shape[0] < 50
        return x + 1


class Number(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert -x.long().min().item() < x.shape[1]
        return x + 1


class Function(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert((x > 0).all(), "it must be positive")
        return x + 1


class Raised(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x < 0).any():
            message = "it must be positive"
            raise ValueError(message)
        return x + 1


class Checked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._check(x.min().item() > 0.1, lambda: "it must be positive")
        return x + 1


class Counted(nn.Module):
    """As models check that there are as many places for images as there are images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch_compilable_check(
            x[x > 0].numel() == x.numel(), "it must be positive"
        )  # fmt: skip
        return x + 1


class Alike(nn.Module):
    """As models check that all sequences have equally many ends, and enough."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positive = x > 0
        assert x[positive].shape[0] // x.shape[0] >= 1
        torch_compilable_check(torch.unique_consecutive(positive.sum(1)).numel() == 1, "unlike")
        return x + 1


class Caught(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Raised()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            with torch.no_grad():
                made: torch.Tensor = self.inner(x)
                return made
        except ValueError:
            return x - 1


class Either(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.sum() > 0 or x.shape[0] > 5
        return x + 1
