"""Arguments that look like others and are not: signs of zero, memory of two inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tc
from tc.frontend.hf_inputs import _share
from tc.frontend.tensors import FallbackWarning

pytestmark = pytest.mark.usefixtures("plain")


class Filled(nn.Module):
    def forward(self, x: torch.Tensor, value: float = 1.0) -> torch.Tensor:
        return torch.full_like(x, value)


def test_zero_has_two_signs() -> None:
    made, x = tc.compile(Filled(), threads=1, fallback="error"), torch.ones(3)
    for value in (0.0, -0.0, 0.0):
        assert torch.equal(torch.signbit(made(x, value)), torch.signbit(Filled()(x, value)))
    assert made.stats()["compilations"] == 2


def test_what_is_compiled_under_autocast_has_the_types_of_the_model() -> None:
    model, x = nn.Linear(4, 3).requires_grad_(False), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = tc.compile(model, threads=1, example_inputs=x, fallback="error")
        inside = made(x)
    torch.testing.assert_close((inside, made(x)), (model(x), model(x)))


class Writes(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return x * y


def test_a_write_is_seen_through_another_input() -> None:
    made = tc.compile(Writes(), threads=1)
    ours, theirs = torch.arange(8.0), torch.arange(8.0)
    made(torch.ones(6), torch.ones(6))
    with pytest.warns(FallbackWarning, match="input x: is written to, and shares memory with"):
        found = made(ours[:6], ours[2:])
    torch.testing.assert_close(found, Writes()(theirs[:6], theirs[2:]))
    torch.testing.assert_close(ours, theirs)
    before = made.stats()["fallbacks"]
    made(ours[:4].clone(), ours[:4])
    assert made.stats()["fallbacks"] == before


def test_which_elements_are_shared() -> None:
    x = torch.zeros(4, 6)
    assert _share(x, x)
    assert _share(x[:2], x[1:3])
    assert not _share(x[:2], x[2:])
    assert not _share(x[:, :3], x[:, 3:])
    assert _share(x[:, :3], x.t()[2])
    assert not _share(x, x.clone())
    assert not _share(x[:0], x)
    assert _share(x, x.view(torch.int16))
