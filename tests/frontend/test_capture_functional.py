"""In-place operators and the views that see what they write, against eager."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tc


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    values, places = x.topk(2)
    values /= values.sum(-1, keepdim=True)
    y = x * 2
    a, b = y.split(2, 1)
    a.mul_(2)
    b.copy_(a)
    return values, places, y, *y.unbind(1)


def _views(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = x * 2
    first, turned = y[0], y.t()
    y[1] = 7.0
    first.add_(1)
    y[:, 1:3].transpose(0, 1)[0] += 5
    y.flatten(0, 1).view(y.shape).relu_()
    return y, first, turned


def _same_memory(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = x.relu()
    z = nn.functional.dropout(y, 0.1, training=False)
    z.add_(1)
    w = torch.empty(3, 4)
    w.copy_(x)
    w.add_(1)
    return y, z, w, x


def _its_input(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x.add_(1)
    row = x[1]
    x[:, 0] = 3
    x.mul_(2)
    return row, x.sum()


def _other_types_and_ranks(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = x.half()
    y.add_(x)
    z = y.to(torch.float16)
    z.mul_(2)
    w = x * 1
    w.unsqueeze_(0)
    w.add_(1)
    return y, z, w


class _Calls(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(x)


@pytest.mark.parametrize(
    "function", [_parts, _views, _same_memory, _its_input, _other_types_and_ranks]
)
def test_writes_are_seen_through_every_view(function: Callable[..., object]) -> None:
    module = tc.compile(_Calls(function))
    x = torch.arange(-6.0, 6.0).reshape(3, 4)
    ours, theirs = x.clone(), x.clone()
    with torch.no_grad():
        torch.testing.assert_close(module(ours), function(theirs))
    torch.testing.assert_close(ours, theirs)


class _Counts(nn.Module):
    """A module with a state of its own, written in place or given anew."""

    calls: torch.Tensor

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(3))
        self.anew = anew

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.anew:
            self.calls = self.calls + 1
        else:
            self.calls.add_(1)
        return x + self.calls


@pytest.mark.parametrize("anew", [False, True])
def test_a_buffer_that_forward_writes_to_is_refused(anew: bool) -> None:
    module = tc.compile(_Counts(anew), fallback="error")
    with torch.no_grad(), pytest.raises(tc.UnsupportedError, match="buffer calls: .* writes to it"):
        module(torch.ones(2, 3))
    assert module.stats()["compilations"] == 0


class _Fills(nn.Module):
    scale: torch.Tensor

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = 0 if self.first else self.scale.sum()
        self.scale.copy_(torch.where(x.sum() > 0, x[0] + 1, x[1]))
        return x * self.scale + before


def test_a_buffer_that_forward_fills_before_it_reads_it() -> None:
    """Nothing of it lives from call to call."""
    model = _Fills(first=True).eval()
    made = tc.compile(model, threads=1, fallback="error")
    for x in (torch.ones(2, 3), -torch.ones(3, 3)):
        before = model.scale.clone()
        assert torch.equal(made(x), _Fills(first=True)(x))
        assert torch.equal(model.scale, before)


def test_a_buffer_that_forward_reads_before_it_fills_it_is_refused() -> None:
    with torch.no_grad(), pytest.raises(tc.UnsupportedError, match="buffer scale: .* writes to it"):
        tc.compile(_Fills(first=False).eval(), example_inputs=(torch.ones(2, 3),), fallback="error")
