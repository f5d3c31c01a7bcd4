"""Words of memory tell which tensors are alike, and whatever they do not tell is asked for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tc
from tc.frontend import shortcut, tensor_kind
from tc.frontend.hf_dispatch import Dispatcher
from tc.frontend.tensor_kind import is_like, kind_of

ALIKE: dict[str, Callable[[], torch.Tensor]] = {
    "another": lambda: torch.rand(3, 4),
    "of numpy": lambda: torch.from_numpy(torch.rand(3, 4).numpy().copy()),
    "written to": lambda: torch.zeros(3, 4).add_(1),
    "detached": lambda: torch.rand(3, 4, requires_grad=True).detach(),
    "a result": lambda: torch.rand(3, 4) * 2,
}
OTHERS: dict[str, Callable[[], Any]] = {
    "sizes": lambda: torch.rand(4, 3),
    "rank": lambda: torch.rand(3, 4, 1),
    "strides": lambda: torch.rand(4, 3).t(),
    "every second": lambda: torch.rand(3, 8)[:, ::2],
    "dtype": lambda: torch.rand(3, 4).bfloat16(),
    "device": lambda: torch.rand(3, 4, device="meta"),
    "gradient": lambda: torch.rand(3, 4, requires_grad=True),
    "gradient later": lambda: torch.rand(3, 4).requires_grad_(),
    "parameter": lambda: nn.Parameter(torch.rand(3, 4)),
    "of a function": lambda: torch.rand(3, 4, requires_grad=True) * 2,
    "negative": lambda: torch.rand(3, 4)._neg_view(),
    "sparse": lambda: torch.rand(3, 4).to_sparse(),
    "batched": lambda: torch._C._functorch._add_batch_dim(torch.rand(3, 4, 2), 2, 1),
    "no tensor": lambda: [[1.0] * 4] * 3,
}


@pytest.mark.parametrize("byte", [0, 0x55, 0xFF])
@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_tensors_alike(make: Callable[[], torch.Tensor], byte: int) -> None:
    # PyTorch writes some bits of a tensor never: what was in its memory before is still there.
    kind = kind_of(torch.zeros(3, 4))
    assert kind is not None
    sizes = range(176, 240, 16)
    blocks = [np.full(size, byte, np.uint8) for size in sizes for _ in range(200)]
    del blocks
    others = [make() for _ in range(100)]
    assert all(is_like(other, kind) for other in others)


def test_bits_that_are_never_written_are_found_in_any_state_of_the_memory() -> None:
    steady = tensor_kind._steady.__wrapped__  # a new finding each time
    random, wanted, kept = Random(0), steady(), []
    for _ in range(12):
        tensors = [torch.rand(random.randrange(1, 50)) for _ in range(random.choice([10, 3000]))]
        arrays = [np.empty(random.randrange(176, 240), np.uint8) for _ in range(1000)]
        del tensors[:: random.randrange(1, 4)], arrays[:: random.randrange(1, 4)]
        kept.append((tensors, arrays))
        assert steady() == wanted


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_others(make: Callable[[], Any]) -> None:
    kind = kind_of(torch.zeros(3, 4))
    assert kind is not None
    assert not is_like(make(), kind)


def test_a_function_that_takes_everything_tells_nothing_apart() -> None:
    assert not tensor_kind.tells_apart(lambda _: lambda _: True)
    assert not tensor_kind.tells_apart(lambda _: lambda _: False)


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2


@pytest.mark.parametrize("words", [True, False])
def test_what_words_do_not_tell_is_asked_for(words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not words:
        monkeypatch.setattr(shortcut, "kind_of", lambda _: None)
    made, long_ways = tc.compile(Double()), 0
    usual = Dispatcher.__call__

    def noted(self: Dispatcher, *given: Any) -> Any:
        nonlocal long_ways
        long_ways += 1
        return usual(self, *given)

    monkeypatch.setattr(Dispatcher, "__call__", noted)
    whole = torch.arange(-12.0, 12).view(6, 4)
    for _ in range(3):
        made(torch.zeros(3, 4))
    long_ways = 0
    for rows in (whole[:3], whole[3:], whole[1:4]):  # views: they say so in a word of their own
        torch.testing.assert_close(made(rows), torch.relu(rows) * 2)
    torch.testing.assert_close(made(whole[3:].clone()), torch.relu(whole[3:]) * 2)
    assert long_ways == 0
    torch.testing.assert_close(made(whole.t()[:3]), torch.relu(whole.t()[:3]) * 2)
    assert long_ways == 1
