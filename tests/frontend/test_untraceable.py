"""Models that cannot be traced for free sizes, or not at all.

The former have a program for each set of sizes; the latter run eagerly, and say so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sympy import Eq, Symbol
from torch import nn
from torch.utils._sympy.functions import Mod

import tc
from tc.frontend import capture, capture_ones, hf_dispatch
from tc.frontend.tensors import FallbackWarning

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")


def fails_where(free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace raises as torch.export does; where sizes are free alone, or always."""
    usual = capture._traced

    def traced(flat: Any, tensors: Any, dynamic: bool, branches: Any) -> Any:
        if dynamic or not free:
            raise RuntimeError("free sizes" if dynamic else "baked sizes")
        return usual(flat, tensors, dynamic, branches)

    monkeypatch.setattr(capture, "_traced", traced)


def test_it_has_a_program_for_each_set_of_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_where(True, monkeypatch)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh()).eval().requires_grad_(False)
    made = tc.compile(model, threads=1)
    for rows in (2, 7, 2):
        x = torch.randn(rows, 3)
        torch.testing.assert_close(made(x), model(x))
    assert made.stats()["compilations"] == 2


def test_the_first_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_where(False, monkeypatch)
    made = tc.compile(nn.Tanh(), threads=1, fallback="error")
    with pytest.raises(tc.CompileError, match="model Tanh: .*cannot trace it: free sizes"):
        made(torch.ones(2))


class ByValue(nn.Module):
    """Goes one way or another by what it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp() if x.sum() > 0 else -x


class Counting(nn.Module):
    """Gives the number of the call."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one for each trace."""
    found: list[Any] = []
    usual = capture._traced

    def traced(*given: Any) -> Any:
        found.append(given)
        return usual(*given)

    monkeypatch.setattr(capture, "_traced", traced)
    return found


def test_a_model_that_looks_at_values_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = tried(monkeypatch)
    made: Any = tc.compile(ByValue(), threads=1)
    given = [torch.ones(3), -torch.ones(3), torch.randn(5), torch.randn(7)]
    with pytest.warns(FallbackWarning, match=r"ByValue.forward runs eagerly: .*cannot trace") as w:
        found = [made(x) for x in given]
    assert len(w) == 1
    assert all(torch.equal(y, ByValue()(x)) for x, y in zip(given, found, strict=True))
    assert made.stats()["fallbacks"] == {"ByValue.forward": 4}
    assert len(traces) <= 3  # at the first call alone


def test_a_model_that_keeps_a_state_runs_eagerly() -> None:
    made: Any = tc.compile(Counting(), threads=1)
    with pytest.warns(FallbackWarning, match="forward writes to it"):
        assert [made(torch.zeros(())).item() for _ in range(3)] == [1, 2, 3]


class Applies(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


PARTS: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "a size that data decides": (lambda x: x[x > 0], "follows from data"),
    "complex numbers": (lambda x: torch.fft.fft(x).imag, "complex64"),
}


@pytest.mark.parametrize(("function", "reason"), PARTS.values(), ids=PARTS)
def test_what_has_no_form_in_tc_runs_eagerly(function: Any, reason: str, tmp_path: Path) -> None:
    made: Any = tc.compile(Applies(function), threads=1)
    given = [torch.randn(5), torch.randn(9)]
    with pytest.warns(FallbackWarning, match=reason):
        found = [made(x) for x in given]
    torch.testing.assert_close(found, [function(x) for x in given])
    with pytest.raises(tc.TcError, match=f"saving Applies: its calls run eagerly: .*{reason}"):
        made.save(tmp_path)
    with pytest.raises(tc.UnsupportedError, match=reason):
        tc.compile(Applies(function), threads=1, fallback="error")(given[0])


def test_what_has_a_form_for_known_sizes_alone() -> None:
    model = Applies(lambda x: nn.functional.leaky_relu(x, 1 / x.shape[0]))
    made: Any = tc.compile(model, threads=1, fallback="error")
    for size in (5, 9, 5):
        x = torch.randn(size)
        torch.testing.assert_close(made(x), model(x))
    assert made.stats()["compilations"] == 2


class Own:
    """A class that no program knows."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x


def test_what_no_program_gives() -> None:
    sized: Any = tc.compile(Applies(lambda x: (x + 1, x.shape[0])), threads=1, fallback="error")
    for size in (5, 9, 5):
        assert sized(torch.zeros(size))[1] == size
    made: Any = tc.compile(Applies(Own), threads=1)
    with pytest.warns(FallbackWarning, match="result: a value of type .*Own cannot be compiled"):
        assert torch.equal(made(torch.ones(2)).x, torch.ones(2))


def test_an_example_of_what_cannot_be_traced() -> None:
    with pytest.warns(FallbackWarning, match="ByValue.forward runs eagerly"):
        made: Any = tc.compile(ByValue(), example_inputs=(torch.ones(3),), threads=1)
    assert made.stats()["fallbacks"] == {}
    assert torch.equal(made(torch.ones(3)), torch.ones(3).exp())
    for settings in ({"fallback": "error"}, {"target": "arm-neon"}):
        with pytest.raises(tc.CompileError, match="cannot trace it"):
            tc.compile(ByValue(), example_inputs=(torch.ones(3),), **settings)


def test_sizes_beyond_what_there_are_programs_for_run_eagerly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hf_dispatch, "_MAX_PROGRAMS", 2)
    made: Any = tc.compile(nn.Tanh(), threads=1, dynamic=False)
    given = [torch.full((size,), 0.5) for size in (2, 3, 4, 2, 5)]
    with pytest.warns(FallbackWarning, match="2 programs exist for it already"):
        found = [made(x) for x in given]
    torch.testing.assert_close(found, [x.tanh() for x in given])
    assert made.stats()["fallbacks"] == {"Tanh.forward": 2}
    assert made.stats()["compilations"] == 2


def test_what_the_model_refuses_itself_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = tried(monkeypatch)
    with pytest.raises(tc.CompileError, match="the model itself refuses it"):
        tc.compile(nn.Linear(3, 5), threads=1)(torch.ones(2, 4))
    assert len(traces) == 1


def test_a_remainder_of_what_is_no_size() -> None:
    """For torch there is none of a negative number, which a guard may be asked of."""
    size = Symbol("s", integer=True, positive=True)
    assert capture_ones._decided(Eq(Mod(size - 3, 7), 4)) == set()
    assert capture_ones._decided(Eq(Mod(size + 1, 3), 0)) == {"s"}
