"""Programs that processes make ahead of the call that asks for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tc.device.artifact import Artifact
from tc.errors import TcError
from tc.frontend import recall
from tc.frontend.captured import Request
from tc.frontend.model import _encoder, compile_model, pipeline
from tc.frontend.options import Options
from tc.frontend.recall import Builder
from tests.frontend.recalls import X, small
from tests.models import shallow

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(autouse=True)
def one_more_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "spare_cores", lambda: 1)
    monkeypatch.setattr(recall, "_TRACES", recall.Traces())


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What this very process traces."""
    seen: list[Request] = []
    own = recall._trace

    def trace(request: Request, description: str | None) -> recall.Trace:
        seen.append(request)
        return own(request, description)

    monkeypatch.setattr(recall, "_trace", trace)
    return seen


def artifact(builder: Builder, request: Request) -> Artifact:
    built = builder(request)
    assert not built.recalled
    return built.artifact


def test_a_program_made_ahead_is_the_same_and_is_kept(
    programs: Path, traced: list[Request]
) -> None:
    request = Request.of(small(), (X,), {})
    builder = Builder(Options.of(), pipeline)
    builder.ahead(request)
    made = artifact(builder, request)
    assert not traced
    assert builder(request).recalled
    for entry in programs.rglob("*"):
        if entry.is_file():
            entry.unlink()
    assert artifact(builder, request) == made
    assert len(traced) == 1


class Odd(nn.Module):
    """Traced in the process that it was made in alone."""

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if os.getpid() != self.home:
            raise ValueError("away from home")
        return x + 1


def test_what_fails_there_is_made_here(traced: list[Request]) -> None:
    request = Request.of(Odd(), (X,), {})
    builder = Builder(Options.of(), pipeline)
    builder.ahead(request)
    assert artifact(builder, request).outputs
    assert len(traced) == 1


def test_what_cannot_be_compiled_is_said_where_it_is_asked_for() -> None:
    module = Odd()
    module.home = 0
    request = Request.of(module, (X,), {})
    builder = Builder(Options.of(), pipeline)
    builder.ahead(request)
    with pytest.raises(TcError, match="away from home"):
        builder(request)


@pytest.mark.usefixtures("plain")
def test_a_generation_made_ahead_generates_as_ever(traced: list[Request]) -> None:
    each = shallow("gpt2-lm")
    model: Any = each.build()
    prompt = each.inputs(2, 7)
    made: Any = compile_model(model, natural=False, ahead=True)
    kept = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(made.generate(**prompt, **kept), model.generate(**prompt, **kept))
    assert not traced
    assert made.stats()["compilations"] == 2
    assert made.stats()["program_hits"] == 0


@pytest.mark.usefixtures("plain")
def test_the_encoder_of_an_export_is_made_ahead(traced: list[Request]) -> None:
    made = compile_model(shallow("t5").build(), target="arm-neon", natural=False, ahead=True)
    assert _encoder(made).ids
    assert not traced
