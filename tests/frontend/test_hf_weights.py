"""Every way to change a model's weights is noticed, with a glance at memory and without."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from tc.codegen.llvm import watch
from tc.errors import CompileError
from tc.frontend import hf_weights
from tc.frontend.capture_result import _maker
from tc.frontend.captured import Weight
from tc.frontend.hf_weights import WeightWatch
from tc.frontend.tensor_layout import dict_tag, layout
from tc.target import Target

Change = Callable[[nn.Linear], object]


@pytest.fixture(params=["glance", "no layout", "no tag"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> nn.Linear:
    """A model, watched in each of the ways there are."""
    if request.param != "glance":
        name = {"no layout": "layout", "no tag": "dict_tag"}[request.param]
        monkeypatch.setattr(hf_weights, name, lambda: None)
    made = nn.Linear(3, 4)
    made.register_buffer("scale", torch.ones(2)[1:])
    return made.requires_grad_(False)


def watching(model: nn.Module) -> WeightWatch:
    named = [*model.named_parameters(), *model.named_buffers()]
    return WeightWatch(model, [Weight(name, tensor, False) for name, tensor in named])


def fresh(shape: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape), requires_grad=False)


CHANGES: dict[str, Change] = {
    "in place": lambda m: m.weight.mul_(2),
    "a part": lambda m: m.weight[1].zero_(),
    "through detach": lambda m: m.bias.detach().add_(1),
    "buffer": lambda m: m.scale.add_(1),
    "state": lambda m: m.load_state_dict(nn.Linear(3, 4).state_dict(), strict=False),
    "through data, which no version tells": lambda m: m.weight.data.mul_(2),
    "through numpy": lambda m: m.bias.numpy().fill(7),
    "a scalar through data": lambda m: m.scale.data.fill_(3),
    "data": lambda m: setattr(m.weight, "data", torch.ones(4, 3)),
    "data elsewhere in the same memory": lambda m: setattr(m.scale, "data", _before(m.scale)),
    "another view of the same memory": lambda m: setattr(m.weight, "data", _turned(m.weight)),
    "fewer rows of it": lambda m: setattr(m.weight, "data", m.weight.data[:2]),
    "another parameter": lambda m: setattr(m, "weight", fresh((4, 3))),
    "dtype": lambda m: m.half(),
    "set": lambda m: m.bias.set_(torch.ones(4)),
    "another, and back in the same place": lambda m: m.register_parameter("bias", fresh((4,))),
}


def _before(tensor: torch.Tensor) -> torch.Tensor:
    return torch.as_strided(tensor.detach(), (1,), (1,), 0)


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    return torch.as_strided(tensor.detach(), tensor.shape, (1, tensor.shape[0]), 0)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed_once(model: nn.Linear, change: Change) -> None:
    watched = watching(model)
    assert not watched.changed()
    change(model)
    assert watched.changed()
    assert not watched.changed()
    now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(weight.tensor is now[weight.name] for weight in watched.weights)


def test_a_glance_is_at_no_value_that_is_read_where_it_is() -> None:
    model = nn.Linear(3, 4).requires_grad_(False)
    weights = [Weight(name, tensor, False) for name, tensor in model.named_parameters()]
    looks = [WeightWatch(model, weights, copied=which).glance for which in ((0, 1), (0,), ())]
    glances = [glance for glance in looks if glance is not None]
    assert len(glances) == 3

    def seen(change: Callable[[], object]) -> list[bool]:
        before = [glance.same() for glance in glances]
        change()
        return [a and not glance.same() for a, glance in zip(before, glances, strict=True)]

    assert seen(lambda: model.bias.data.fill_(9)) == [True, False, False]
    assert seen(lambda: model.weight.mul_(2)) == [False, True, False]
    assert seen(lambda: setattr(model.bias, "data", torch.ones(4))) == [False, False, True]
    turned = nn.Linear(3, 4).requires_grad_(False)
    turned.weight.data = _turned(turned.weight)
    named = [Weight(name, tensor, False) for name, tensor in turned.named_parameters()]
    copied = WeightWatch(turned, named, copied=()).glance
    assert copied is not None
    turned.weight.data.mul_(2)  # which is no dense memory, so a program reads a copy
    assert not copied.same()


def nested() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    return nn.Sequential(inner, nn.Linear(4, 2)).requires_grad_(False)


@pytest.mark.parametrize("at", ["0", "0.0", "1"])
@pytest.mark.parametrize("glance", [True, False])
def test_a_replaced_module_is_noticed(
    at: str, glance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not glance:
        monkeypatch.setattr(hf_weights, "layout", lambda: None)
    model = nested()
    watched = watching(model)
    assert not watched.changed()
    model.set_submodule(at, nested().get_submodule(at))
    assert watched.changed()
    assert not watched.changed()
    now = dict(model.named_parameters())
    assert all(weight.tensor is now[weight.name] for weight in watched.weights)


def test_a_module_of_another_kind_is_refused() -> None:
    model = nested()
    watched = watching(model)
    model[1] = nn.Identity()
    with pytest.raises(CompileError, match="was Linear.*is now Identity.*compile the model again"):
        watched.changed()


@pytest.mark.parametrize("way", [lambda m: setattr(m, "bias", None), lambda m: delattr(m, "bias")])
def test_a_weight_that_is_gone_is_refused(
    model: nn.Linear, way: Callable[[nn.Linear], object]
) -> None:
    watched = watching(model)
    way(model)
    for _ in range(2):
        with pytest.raises(CompileError, match="weight bias of Linear: is there no more"):
            watched.changed()


def test_what_is_no_weight_is_no_change(model: nn.Linear) -> None:
    watched = watching(model)
    model.register_parameter("other", fresh((1,)))
    assert not watched.changed()
    model.__dict__["note"] = 1
    model.weight.sum()
    model.weight.clone().zero_()
    assert not watched.changed()
    model.weight.zero_()
    assert watched.changed()


def test_tensors_of_inference_mode(model: nn.Linear) -> None:
    with torch.inference_mode():
        weight = torch.ones(4, 3)
    model.weight = nn.Parameter(weight, requires_grad=False)
    watched = watching(model)
    assert not watched.changed()
    model.bias.zero_()
    assert watched.changed()


def test_there_is_a_layout_here() -> None:
    # Without one every call pays for asking each weight: right, but slow.
    assert layout() is not None
    assert dict_tag() is not None


def test_the_loop_stops_at_the_first_word_that_changed() -> None:
    first = watch.first_changed(Target.parse("host"))
    words = (ctypes.c_uint64 * 4)(5, 6, 7, 8)
    start = ctypes.addressof(words)
    # The last pair is nowhere: it may only be read if those before it hold.
    table = watch.pairs([*((start + 8 * i, words[i]) for i in range(4)), (8, 0)])
    for i in reversed(range(4)):
        words[i] += 1
        assert first(ctypes.addressof(table), 5) == i
    assert first(ctypes.addressof(table), 0) == 0


def test_results_made_quickly_are_those_made_slowly() -> None:
    names = ("last_hidden_state", "pooler_output", "attentions")
    parts = [torch.ones(2), torch.zeros(3), (torch.ones(1),)]
    quick = _maker(BaseModelOutputWithPooling, names)(parts)
    slow = BaseModelOutputWithPooling(**dict(zip(names, parts, strict=True)))
    assert type(quick) is type(slow)
    assert list(quick) == list(slow) and list(vars(quick)) == list(vars(slow))
    assert all(quick[name] is slow[name] for name in names)
    assert quick.hidden_states is None and quick[1] is parts[1]
    assert quick.to_tuple() == slow.to_tuple()
    quick.hidden_states = (torch.ones(1),)
    assert "hidden_states" in quick


def test_a_result_class_with_work_of_its_own_does_it() -> None:
    @dataclass
    class Doubled(ModelOutput):
        one: object = None
        twice: object = None

        def __post_init__(self) -> None:
            super().__post_init__()
            self["twice"] = 2

    assert dict(_maker(Doubled, ("one",))((1,))) == {"one": 1, "twice": 2}
