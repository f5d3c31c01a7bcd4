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


def test_under_autocast_the_model_itself_runs() -> None:
    model, x = nn.Linear(4, 3).requires_grad_(False), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made, strict = (
            tc.compile(model, threads=1, example_inputs=x, fallback=how)
            for how in ("warn", "error")
        )
    for _ in range(3):  # the short way is known then
        torch.testing.assert_close((made(x), strict(x)), (model(x), model(x)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.warns(FallbackWarning, match="torch.autocast is on"):
            found = made(x)
        torch.testing.assert_close(found, model(x), rtol=0, atol=0)
        with pytest.raises(tc.UnsupportedError, match="compiled with precision='bf16'"):
            strict(x)
        with torch.autocast("cpu", enabled=False):
            torch.testing.assert_close(strict(x), model(x))
    torch.testing.assert_close(strict(x), model(x))
    assert (made.stats()["fallbacks"], strict.stats()["fallbacks"]) == ({"Linear.forward": 1}, {})


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


class Counts(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        y.add_(1)
        return x + 1


class Checks(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        torch._assert_async((y > 0).all(), "it must be positive")
        return x + 1


class Sums(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.sum(0) + y


@pytest.mark.parametrize("kind", [Counts, Checks, Sums])
def test_what_an_empty_call_does_beside_its_empty_results_is_not_left_out(
    kind: type[nn.Module],
) -> None:
    model, x = kind(), torch.ones(3)
    made, strict = (tc.compile(model, threads=1, fallback=how) for how in ("warn", "error"))
    made(x, torch.ones(1)), strict(x, torch.ones(1))
    ours, theirs = torch.ones(1), torch.ones(1)
    with pytest.warns(FallbackWarning, match=r"inputs of size 0 \(dim 0 of x\)"):
        found = made(x[:0], ours)
    torch.testing.assert_close((found, ours), (model(x[:0], theirs), theirs))
    with pytest.raises(tc.TcError, match=r"inputs of size 0 \(dim 0 of x\)"):
        strict(x[:0], torch.ones(1))
    if kind is Checks:
        with pytest.raises(RuntimeError):
            made(x[:0], -torch.ones(1))


def test_ids_of_an_empty_call_are_checked() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return x[:, None] + self.table(ids).sum(0)

    made = tc.compile(Looks().requires_grad_(False), threads=1)
    made(torch.ones(3), torch.arange(4))
    for rows in (3, 0):
        with pytest.raises(tc.TcError, match="input ids: holds id 7"):
            made(torch.ones(rows), torch.tensor([1, 7]))
