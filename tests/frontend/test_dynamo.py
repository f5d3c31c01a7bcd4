"""torch.compile(backend="tc"): shapes, graph breaks, options, weights, gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.autotune.database import Database
from tc.frontend import dynamo, tensors
from tc.frontend import model as front
from tc.frontend.model import pipeline as real_pipeline
from tests.frontend.plain_pipeline import compile_graph
from tests.models import shallow


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(front, "pipeline", compile_graph)
    torch._dynamo.reset()
    dynamo._WARNED.clear()
    yield
    torch._dynamo.reset()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.down(torch.relu(self.up(self.norm(x)))), -1)


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def counts() -> dict[str, Any]:
    return dict(tc.stats())


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_any_shape_through_one_compilation(guard: Any) -> None:
    model = net()
    compiled = torch.compile(model, backend="tc", dynamic=True)
    before = counts()
    with guard():
        for shape in ((3, 5, 8), (2, 9, 8), (31, 4, 8)):
            x = torch.randn(shape)
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)
    after = counts()
    assert after["compilations"] == before["compilations"] + 1
    assert after["calls"] == before["calls"] + 3
    assert after["fallbacks"] == before["fallbacks"]


def test_changed_weights_are_noticed() -> None:
    model = net()
    compiled = torch.compile(model, backend="tc")
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        compiled(x)
        for weight in (model.up.weight, model.down.weight.data):  # of which one moves no version
            weight.mul_(3)
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)
        model.down.weight = nn.Parameter(torch.randn(4, 16))
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)


def test_graph_breaks() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x) + 1
        if y.sum().item() > 0:
            y = y * 2
        return y.tanh()

    compiled = torch.compile(function, backend="tc")
    with torch.no_grad():
        for x in (torch.randn(5, 7), torch.full((3, 2), -9.0)):
            torch.testing.assert_close(compiled(x), function(x), rtol=1e-5, atol=1e-6)


def test_outputs_of_every_kind() -> None:
    def function(x: torch.Tensor, n: int) -> tuple[Any, ...]:
        y = x * n
        return y, x, x.shape[0] * 2, None, y, x.reshape(-1)

    compiled = torch.compile(function, backend="tc", dynamic=True)
    with torch.no_grad():
        for rows in (3, 6):
            x = torch.randn(rows, 4)
            found, wanted = compiled(x, rows), function(x, rows)
            torch.testing.assert_close(found[0], wanted[0])
            assert found[1] is x
            assert found[2] == wanted[2]
            assert found[3] is None
            assert torch.equal(found[4], wanted[4])
            assert torch.equal(found[5], wanted[5])


def test_views_of_an_input_lie_in_its_memory() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, *_ = x.split(2)
        return x.reshape(-1)[:2], x.t(), x[1:], first, x * 2

    def written(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x.mul_(3)
        return x[1:].t(), x + 1

    for each in (function, written):
        compiled = torch.compile(each, backend="tc", dynamic=True)
        with torch.no_grad():
            for rows in (4, 6):
                x = torch.randn(rows, 12)[:, ::2]  # of which reshape makes a view
                other = x.clone()
                found, wanted = compiled(x), each(other)
                torch.testing.assert_close(found, wanted)
                found[0].zero_()
                assert (x[1:, 0] if each is written else x[0, :2]).abs().max() == 0


def test_a_number_that_is_no_size_runs_eagerly() -> None:
    def function(x: torch.Tensor, n: int) -> torch.Tensor:
        return x * n

    compiled = torch.compile(function, backend="tc", dynamic=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in (5, 7, 11):
            x = torch.randn(3, 4)
            torch.testing.assert_close(compiled(x, n), function(x, n))


def test_a_number_that_changes_is_an_input() -> None:
    def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
        torch._assert_async((x > -1).all(), "too small")
        return x * by

    compiled, x = torch.compile(scaled, backend="tc", options={"fallback": "error"}), torch.ones(3)
    for by in (0.5, 1.5, 2.5):
        assert torch.equal(compiled(x, by), x * by)
    with pytest.raises(tc.TcError, match="too small"):
        compiled(-x, 2.5)


def test_gradients_are_right_warned_of_and_counted() -> None:
    model, same = net(), net()
    compiled = torch.compile(model, backend="tc")
    x = torch.randn(3, 5, 8)
    before = counts()["fallbacks"].get("eager graph", 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            compiled(x).square().sum().backward()
            same(x).square().sum().backward()
    for ours, theirs in zip(model.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    said = [w for w in caught if issubclass(w.category, tensors.FallbackWarning)]
    assert len(said) == 1 and "a graph that needs gradients" in str(said[0].message)
    assert counts()["fallbacks"]["eager graph"] == before + 4


def test_gradients_can_be_forbidden() -> None:
    compiled = torch.compile(net(), backend="tc", options={"fallback": "error"})
    with pytest.raises(Exception, match="a graph that needs gradients, and fallback='error'"):
        compiled(torch.randn(3, 5, 8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speed": 11}, "option 'speed': unknown; known: target, precision, threads"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"threads": -1}, "threads=-1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    compiled = torch.compile(net(), backend="tc", options=options)
    with torch.no_grad(), pytest.raises(Exception, match=said):
        compiled(torch.randn(3, 5, 8))


def test_writes_to_an_input_as_eager_does() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return x * 2

    compiled = torch.compile(function, backend="tc")
    with torch.no_grad():
        ours, theirs = torch.zeros(3, 4), torch.zeros(3, 4)
        torch.testing.assert_close(compiled(ours), function(theirs))
        torch.testing.assert_close(ours, theirs)


def test_a_decoder_has_no_fallback() -> None:
    # It holds tensors as constants, and AOTAutograd puts torch's own attention kernel in.
    causal = shallow("llama-lm")
    model, inputs = causal.build(), causal.inputs(2, 7)
    compiled = torch.compile(model, backend="tc", options={"fallback": "error"})
    with torch.no_grad():
        found, wanted = compiled(**inputs), model(**inputs)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-5, atol=1e-5)


def test_a_graph_is_tuned_at_its_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tuning.db"
    monkeypatch.setenv("TC_TUNING_DB", str(path))
    monkeypatch.setattr(front, "pipeline", real_pipeline)
    model = nn.Linear(8, 16)
    # One thread is timed by what it has of a core, whatever other work there is.
    options = {"tune": 2, "threads": 1}
    compiled = torch.compile(model, backend="tc", dynamic=True, options=options)
    with torch.no_grad():
        for rows in (3, 31):
            x = torch.randn(rows, 8)
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)
    with Database.open(path, readonly=True) as database:
        assert database.query("SELECT COUNT(*) AS n FROM trials") == [{"n": 2}]


@pytest.mark.parametrize(
    ("given", "trials"),
    [
        ({"mode": "max-autotune"}, [512]),
        ({"options": {"tune": 3}}, [3]),
        ({"mode": "default"}, []),
        ({"mode": "reduce-overhead"}, []),
    ],
)
def test_how_much_a_graph_is_tuned(
    given: dict[str, Any], trials: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(dynamo, "tune_graph", lambda *call: asked.append(call[3]))
    compiled = torch.compile(nn.Linear(8, 16), backend="tc", dynamic=True, **given)
    with torch.no_grad():
        assert compiled(torch.randn(3, 8)).shape == compiled(torch.randn(3, 8)).shape == (3, 16)
    assert asked == trials


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "reduce"}, "mode='reduce': no such value; use 'default' or 'reduce-overhead'"),
        ({"options": {"tune": -1}}, "option tune=-1: not a whole number of at least 0"),
        ({"options": {"tune": 2, "target": "arm-neon"}}, "this machine cannot run its code"),
    ],
)
def test_what_cannot_be_tuned(given: dict[str, Any], said: str) -> None:
    compiled = torch.compile(net(), backend="tc", **given)
    with torch.no_grad(), pytest.raises(Exception, match=said):
        compiled(torch.randn(3, 8))
