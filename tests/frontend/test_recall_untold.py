"""What cannot be told exactly has no key, and is compiled each time."""

from __future__ import annotations

import enum
import os
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tc.frontend.captured import Request
from tc.frontend.recall_key import description_of
from tc.frontend.recall_walk import IndescribableError
from tests.frontend.recalls import X, hits, small

pytestmark = pytest.mark.usefixtures("programs")


class Custom:
    factor = 2.0


class Holder(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


def _hooked(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = small()
        if kind == "pre":
            model[1].register_forward_pre_hook(lambda _m, args: (args[0] * 2,))
        else:
            model[0].register_forward_hook(lambda _m, _a, out: out * 2)  # type: ignore[index, operator, union-attr]
        return model

    return make


def _patched() -> nn.Module:
    model = small()
    inner: nn.Linear = model[0]  # type: ignore[index]
    inner.forward = lambda x: torch.nn.functional.linear(x, inner.weight) * 3  # type: ignore[method-assign]
    return model


SCALES = torch.ones(4)


class ReadsTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * SCALES


class ReadsEnvironment(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(os.environ.get("TEST_RECALL_SCALE", "1"))


def _local_result() -> nn.Module:
    class Result(NamedTuple):
        y: torch.Tensor

    class Gives(nn.Module):
        def forward(self, x: torch.Tensor) -> Result:
            return Result(x * 2.0)

    return Gives()


# How it is made, and what the message says of it.
UNTOLD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "hook": (_hooked("post"), "^0: hooks"),
    "pre-hook": (_hooked("pre"), "^1: hooks"),
    "forward of its own": (_patched, "^0: a forward of its own"),
    "lambda": (lambda: Holder(lambda x: x), "value: a function that no module names"),
    "object": (lambda: Holder(Custom()), "value: a value of type .*Custom"),
    "tensor": (lambda: Holder(torch.ones(4)), "value: a tensor"),
    "tensor in a list": (lambda: Holder([torch.ones(4)]), "value: a tensor"),
    "bound method": (lambda: Holder(small().forward), "value: a method"),
    "parametrization": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
        "^0: parametrizations",
    ),
    "environment": (ReadsEnvironment, "forward uses environ"),
    "global tensor": (ReadsTensor, "a value of type torch.Tensor"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_a_model_that_cannot_be_told_exactly_has_no_key(name: str) -> None:
    make, said = UNTOLD[name]
    with pytest.raises(IndescribableError, match=said):
        description_of(Request.of(make().eval(), (X,), {}))


@pytest.mark.parametrize("name", ["hook", "forward of its own", "tensor", "global tensor"])
def test_a_model_without_a_key_is_compiled_each_time(name: str) -> None:
    make, _ = UNTOLD[name]
    assert [hits(make().eval()), hits(make().eval())] == [0, 0]


def test_a_result_whose_class_has_no_name_is_compiled_each_time() -> None:
    assert [hits(_local_result()), hits(_local_result())] == [0, 0]


def test_hooks_of_all_modules_leave_no_key() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda _m, _a, out: out)
    try:
        with pytest.raises(IndescribableError, match="hooks of all modules"):
            description_of(Request.of(small(), (X,), {}))
    finally:
        handle.remove()


class Methods(nn.Module):
    """What its forward does not reach may be anything."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = os.environ.get("HOME")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.0

    def report(self) -> object:
        return open(os.devnull).read(), Custom()


class Computed(Methods):
    """Reaches a method by a name that it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        getattr(self, "re" + "port")()
        return x * 3.0


def test_only_what_a_call_reaches_need_be_told() -> None:
    assert [hits(Methods()), hits(Methods())] == [0, 1]
    assert [hits(Computed()), hits(Computed())] == [0, 0]


@dataclass
class Settings:
    scale: float


class Colour(enum.Enum):
    RED = 1


TOLD: dict[str, Any] = {
    "enum": Colour.RED,
    "dataclass": Settings(2.0),
    "namespace": types.SimpleNamespace(a=1, b=[2.0]),
    "dict": {"a": (1, None), "b": torch.float32},
    "function": _hooked,
    "class": nn.GELU,
    "set": {"x", "y", "z"},
}


@pytest.mark.parametrize("name", TOLD)
def test_plain_attributes_can_be_told(name: str) -> None:
    assert [hits(Holder(TOLD[name])), hits(Holder(TOLD[name]))] == [0, 1]
