"""Traces that several programs of a process share."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tc.frontend import recall
from tc.frontend.captured import Request
from tc.frontend.recall_key import description_of
from tc.frontend.recall_traces import Trace, Traces
from tests.frontend.recalls import X, hits, small


class Traced:
    """How often PyTorch was asked to trace."""

    def __init__(self) -> None:
        self.count = 0


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Traced]:
    """Counts; nothing is known at first, neither of traces nor of programs."""
    seen, export = Traced(), torch.export.export

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.count += 1
        return export(*args, **kwargs)

    monkeypatch.setattr(torch.export, "export", counted)
    monkeypatch.setattr(recall, "_TRACES", Traces())
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path))
    return seen


def test_one_trace_serves_every_precision_and_target(traced: Traced) -> None:
    model = small()
    assert hits(model) == 0
    first = traced.count
    assert first > 0
    for options in ({"precision": "bf16"}, {"precision": "int8"}, {"target": "generic"}):
        assert hits(model, **options) == 0
    assert traced.count == first


def test_models_alike_share_one_and_keep_their_weights(traced: Traced) -> None:
    assert hits(small(0)) == 0
    first = traced.count
    assert hits(small(1), precision="bf16") == 0  # compared with this model's own results
    assert traced.count == first


class Scaled(nn.Module):
    """Has a plain attribute, and makes a constant in its forward."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.inner = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.factor + torch.tensor([1.0, 2.0, 4.0])


def test_what_a_trace_read_is_compared(traced: Traced) -> None:
    model = Scaled(2.0).eval()
    hits(model)
    first = traced.count
    hits(model, precision="bf16")
    assert traced.count == first
    model.factor = 3.0
    hits(model, precision="bf16")
    assert traced.count > first


def test_other_sizes_to_be_baked_are_another_trace(traced: Traced) -> None:
    model = small()
    hits(model, dynamic=False)
    first = traced.count
    hits(model, torch.ones(5, 4), dynamic=False)
    assert traced.count > first


def test_no_weight_is_kept_alive(traced: Traced) -> None:
    model = small()
    hits(model)
    assert traced.count > 0
    weight = weakref.ref(next(model.parameters()))
    del model
    gc.collect()
    assert weight() is None


def test_the_one_not_asked_for_longest_goes() -> None:
    model, traces = small(), Traces(most=2)
    request = Request.of(model, (X,), {})
    trace = recall._trace(request, description_of(request))
    assert isinstance(trace, Trace)
    for name in "ab":
        traces.keep(name, trace)
    assert traces.find("a", request) is not None
    traces.keep("c", trace)
    assert traces.find("b", request) is None
    for name in "ac":
        found = traces.find(name, request)
        assert found is not None
        assert found.graph is trace.graph
        assert [w.tensor for w in found.interface.weights] == list(model.parameters())
