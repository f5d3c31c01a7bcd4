"""What the tests of the command line compile: a small module, and functions that go wrong."""

from __future__ import annotations

import torch


class Small(torch.nn.Module):
    """A linear layer and an activation."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


def small() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Small(), (torch.ones(3, 8),)


def named() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    return Small(), {"x": torch.ones(3, 8)}


def alone() -> torch.nn.Module:
    from tests.models import entry

    return entry("bert").build()


def wrong() -> int:
    return 7


def raising() -> None:
    raise ValueError("no model today")


def interrupted() -> None:
    raise KeyboardInterrupt
