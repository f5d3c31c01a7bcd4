"""What a model's Python reads beside its weights may change: that is noticed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tc
from tc.errors import CompileError
from tc.frontend import hf_weights
from tc.frontend.settings import Settings


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0
        self.dims = [1]
        self.act = torch.tanh
        self.norm = nn.Identity()
        self.config = SimpleNamespace(shift=1.0, inner=SimpleNamespace(bias=0.5))
        self.calls = 0
        self.linear = nn.Linear(3, 3)
        self.hook = self.linear.register_forward_hook(lambda _module, _args, y: y * 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = self.norm(self.act(self.linear(x))) * self.scale + self.config.shift
        return y.sum(self.dims) + self.config.inner.bias


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.gain = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.gain


Change = Callable[[Inner], object]
CHANGES: dict[str, Change] = {
    "number": lambda m: setattr(m, "scale", 3.0),
    "type of a number": lambda m: setattr(m, "scale", 2),
    "list": lambda m: setattr(m, "dims", [0]),
    "function": lambda m: setattr(m, "act", torch.sigmoid),
    "module": lambda m: setattr(m, "norm", nn.ReLU()),
    "another attribute": lambda m: setattr(m, "other", 1),
    "settings": lambda m: setattr(m.config, "shift", 2.0),
    "settings in settings": lambda m: setattr(m.config.inner, "bias", 2.0),
    "other settings": lambda m: setattr(m, "config", SimpleNamespace(shift=1.0, inner=m.config)),
    "hook": lambda m: m.norm.register_forward_hook(lambda _module, _args, y: -y),
    "hook before": lambda m: m.linear.register_forward_pre_hook(lambda _module, x: None),
    "hook removed": lambda m: m.hook.remove(),
}
NO_CHANGES: dict[str, Change] = {
    "the same again": lambda m: setattr(m, "scale", float("2")),
    "training": lambda m: m.train(),
    "a weight": lambda m: m.linear.weight.data.zero_(),
    "a module of its kind": lambda m: setattr(m, "norm", nn.Identity()),
    "a private note": lambda m: setattr(m, "_note", 1),
    "another model's hook": lambda _: nn.ReLU().register_forward_hook(print),
}


@pytest.mark.parametrize("tag", [True, False])
def test_changes_are_noticed_once(tag: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not tag:
        monkeypatch.setattr(hf_weights, "dict_tag", lambda: None)
    for change in (*CHANGES.values(), *NO_CHANGES.values()):
        model = Outer()
        settings = Settings(model)
        assert settings.version() == 0
        change(model.inner)
        for _ in range(2):
            assert settings.version() == int(change in CHANGES.values()), change


def test_a_change_is_followed_and_what_forward_writes_is_none() -> None:
    model = Outer().eval().requires_grad_(False)
    made, x = tc.compile(model, threads=1, fallback="error"), torch.randn(4, 3)
    for made_anew, change in enumerate((lambda: None, lambda: setattr(model.inner, "scale", 3.0))):
        change()
        for _ in range(3):
            torch.testing.assert_close(made(x), model(x))  # which counts its calls
            assert made.stats()["compilations"] == 1 + made_anew
    assert made.stats()["calls"] == 6


def test_what_is_set_on_the_copy() -> None:
    model = Outer().eval().requires_grad_(False)
    made, x = tc.compile(model, threads=1, fallback="error"), torch.randn(4, 3)
    want = model(x)
    made(x)
    made.gain = 3
    torch.testing.assert_close(made(x), want * 3)
    torch.testing.assert_close(model(x), want)
    made.inner = Inner()
    for _ in range(2):
        with pytest.raises(CompileError, match="inner of the compiled Outer: was set on the comp"):
            made(x)
