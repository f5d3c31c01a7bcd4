"""Calls that were met before go the short way, and whatever may not is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.errors import TcError, UnsupportedError
from tc.frontend import machine_call
from tc.frontend.hf_dispatch import Dispatcher
from tests.models import VOCABULARY, entry


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x)) - self.linear(y)


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[Dispatcher]:
    """The dispatcher of each call that went the long way."""
    found: list[Dispatcher] = []
    usual = Dispatcher.__call__

    def noted(self: Dispatcher, *given: Any) -> Any:
        found.append(self)
        return usual(self, *given)

    monkeypatch.setattr(Dispatcher, "__call__", noted)
    return found


def warm(made: nn.Module, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
    """Call until the short way is known; the last result."""
    for _ in range(3):
        result = made(*args, **kwargs)
    return result


@pytest.fixture
def compiled() -> Iterator[tuple[nn.Module, nn.Module]]:
    """A model and what it was compiled to; nothing is trained here."""
    model = Plain().eval().requires_grad_(False)
    with torch.no_grad():
        yield model, tc.compile(model)


def test_a_call_met_before_goes_the_short_way(
    compiled: tuple[nn.Module, nn.Module], long_ways: list[Dispatcher]
) -> None:
    model, made = compiled
    for rows in (2, 7):
        x, y = torch.randn(rows, 5), torch.randn(rows, 5)
        warm(made, x, y)
        warm(made, y=y, x=x)
    long_ways.clear()
    calls = made.stats()["calls"]
    for rows in (2, 7):
        x, y = torch.randn(rows, 5), torch.randn(rows, 5)
        for result in (made(x, y), made(y=y, x=x), made(x=x, y=y)):
            torch.testing.assert_close(result, model(x, y))
    # The last order of names was not met before.
    assert len(long_ways) <= 2
    assert made.stats()["calls"] == calls + 6


def test_results_are_of_the_models_own_class_and_stay(long_ways: list[Dispatcher]) -> None:
    model = entry("bert").build()
    made = tc.compile(model)
    given = {
        "input_ids": torch.randint(VOCABULARY, (2, 9)),
        "attention_mask": torch.ones(2, 9).long(),
    }
    with torch.no_grad():
        first = warm(made, **given)
        kept = first.last_hidden_state.clone()
        long_ways.clear()
        other = {**given, "input_ids": torch.randint(VOCABULARY, (2, 9))}
        second, expected = made(**other), model(**other)
        assert not long_ways
    assert type(second) is type(expected) and list(second) == list(expected)
    assert second.attentions is None
    torch.testing.assert_close(second.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(first.last_hidden_state, kept, rtol=0, atol=0)


def test_a_flag_of_the_config_is_noticed() -> None:
    made = tc.compile(entry("bert").build())
    given = {"input_ids": torch.randint(VOCABULARY, (1, 4))}
    with torch.no_grad():
        assert warm(made, **given).hidden_states is None
        made.config.output_hidden_states = True
        assert warm(made, **given).hidden_states is not None
        made.config.output_hidden_states = False
        assert warm(made, **given).hidden_states is None


WEIGHTS: dict[str, Callable[[nn.Module], object]] = {
    "in place": lambda m: m.linear.weight.mul_(2),
    "state": lambda m: m.load_state_dict(Plain().state_dict()),
    "data": lambda m: setattr(m.linear.bias, "data", torch.ones(3)),
    "module": lambda m: setattr(m, "linear", nn.Linear(5, 3)),
    "strides": lambda m: setattr(
        m.linear.weight, "data", m.linear.weight.data.as_strided((3, 5), (1, 3))
    ),
}


@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS)
def test_changed_weights_are_noticed(
    compiled: tuple[nn.Module, nn.Module],
    change: Callable[[nn.Module], object],
    long_ways: list[Dispatcher],
) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    change(model)
    torch.testing.assert_close(made(x, y), model(x, y))
    warm(made, x, y)
    long_ways.clear()
    torch.testing.assert_close(made(x, y), model(x, y))
    assert not long_ways


WRITES: tuple[Callable[[torch.Tensor], object], ...] = (
    lambda bias: bias.add_(1),
    lambda bias: bias.data[1:2].mul_(-3),
    lambda bias: bias.detach().numpy().fill(7),
    lambda bias: setattr(bias, "data", torch.ones(3)),
    lambda bias: bias.data.mul_(2),
)


def test_what_is_read_where_it_is_has_its_values_of_now(
    compiled: tuple[nn.Module, nn.Module], long_ways: list[Dispatcher]
) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    long_ways.clear()
    for write in WRITES:
        write(model.linear.bias)
        torch.testing.assert_close(warm(made, x, y), model(x, y))
    assert len(long_ways) == 1  # it was other memory once


def test_weights_that_do_not_fit_are_refused_at_every_call(
    compiled: tuple[nn.Module, nn.Module],
) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    whole = model.linear.weight.data
    model.linear.weight.data = whole[:2]
    for _ in range(3):
        with pytest.raises(TcError, match=r"has shape \(2, 5\), was compiled with \(3, 5\)"):
            made(x, y)
    model.linear.weight.data = whole
    torch.testing.assert_close(warm(made, x, y), model(x, y))


def test_hooks_run_from_when_they_are_added_until_they_are_removed(
    compiled: tuple[nn.Module, nn.Module],
) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    expected = model(x, y)
    warm(made, x, y)
    own = made.register_forward_hook(lambda _module, _args, result: result + 1)
    torch.testing.assert_close(warm(made, x, y), expected + 1)
    own.remove()
    torch.testing.assert_close(warm(made, x, y), expected)
    seen: list[str] = []
    everywhere = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _args: seen.append(type(module).__name__)
    )
    try:
        made(x, y)
    finally:
        everywhere.remove()
    assert seen == ["Plain"]


@pytest.mark.usefixtures("plain")
def test_hooks_that_the_model_has_run_once() -> None:
    model = Plain().eval().requires_grad_(False)
    model.register_forward_hook(lambda _module, _args, result: result + 1)
    made, x = tc.compile(model), torch.randn(2, 5)
    torch.testing.assert_close(warm(made, x, -x), model(x, -x))


INPUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "transposed": lambda x: x.t().contiguous().t(),
    "strided": lambda x: torch.cat([x, x], 1)[:, ::2],
    "expanded": lambda x: x[:1].expand(2, 5),
    "negative": lambda x: (-x)._neg_view(),
    "offset": lambda x: torch.cat([x, x])[1:3],
    "empty": lambda x: x[:0],
    "one row": lambda x: x[:1],
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_inputs_of_another_layout_give_what_eager_gives(
    compiled: tuple[nn.Module, nn.Module], make: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    other = make(x)
    for _ in range(3):
        torch.testing.assert_close(made(other, y[: len(other)]), model(other, y[: len(other)]))
        torch.testing.assert_close(made(x, y), model(x, y))


def test_inputs_that_no_program_takes_are_refused_as_ever(
    compiled: tuple[nn.Module, nn.Module],
) -> None:
    _, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    with pytest.raises(TcError):
        made(x, torch.randn(2, 6))
    with pytest.raises(TcError):
        made(x)
    with torch.enable_grad(), pytest.raises(UnsupportedError, match="requires grad"):
        made(x, y.clone().requires_grad_())
    with torch.inference_mode():
        warm(made, x, torch.randn(2, 5))
    assert not made(x, y).is_inference()


def test_ids_out_of_range_are_named(long_ways: list[Dispatcher]) -> None:
    made = tc.compile(entry("bert").build())
    ids = torch.randint(VOCABULARY, (1, 4))
    with torch.no_grad():
        warm(made, input_ids=ids)
        long_ways.clear()
        with pytest.raises(TcError, match="input_ids"):
            made(input_ids=torch.full((1, 4), VOCABULARY))
        assert len(long_ways) == 1  # which says what is wrong
        made(input_ids=ids)
        assert len(long_ways) == 1


def test_without_torchs_function_the_long_way_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_call, "_code", lambda: None)
    model = Plain().eval().requires_grad_(False)
    made = tc.compile(model)
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(warm(made, x, y), model(x, y))


def test_torchs_function_tells_apart_what_it_has_to() -> None:
    assert machine_call._guard_works()
    accepts = machine_call.accepting([torch.zeros(2, 3)])
    assert accepts is not None and accepts(torch.ones(2, 3))
    for other in (torch.ones(6), torch.ones(2, 3).int(), torch.ones(2, 4), torch.ones(3, 2).t()):
        assert not accepts(other)
    assert not accepts(None)


# torch.compile looks inside as far as it can, and says where it cannot.
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_a_compiled_model_can_be_compiled_by_torch(compiled: tuple[nn.Module, nn.Module]) -> None:
    model, made = compiled
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    warm(made, x, y)
    again = torch.compile(made, backend="eager")
    torch.testing.assert_close(again(x, y), model(x, y))
