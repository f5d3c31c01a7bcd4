"""A model that cannot be traced for free sizes has a program for each set of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sympy import Eq, Symbol
from torch import nn
from torch.utils._sympy.functions import Mod

import tc
from tc.frontend import capture, capture_ones


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
    with pytest.raises(tc.CompileError, match="model Tanh: .*cannot trace it: free sizes"):
        tc.compile(nn.Tanh(), threads=1)(torch.ones(2))


def test_what_the_model_refuses_itself_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    usual = capture._traced

    def traced(*given: Any) -> Any:
        tried.append(given)
        return usual(*given)

    monkeypatch.setattr(capture, "_traced", traced)
    with pytest.raises(tc.CompileError, match="the model itself refuses it"):
        tc.compile(nn.Linear(3, 5), threads=1)(torch.ones(2, 4))
    assert len(tried) == 1


def test_a_remainder_of_what_is_no_size() -> None:
    """For torch there is none of a negative number, which a guard may be asked of."""
    size = Symbol("s", integer=True, positive=True)
    assert capture_ones._decided(Eq(Mod(size - 3, 7), 4)) == set()
    assert capture_ones._decided(Eq(Mod(size + 1, 3), 0)) == {"s"}
