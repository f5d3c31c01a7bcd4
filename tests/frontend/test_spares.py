"""Results that were let go are handed out again, and only those, and only as they were made."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.frontend import spares
from tests.models import entry


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1


def warm_plain() -> Any:
    made = tc.compile(Plain())
    for _ in range(4):
        made(torch.ones(2, 3))
    return made


def test_all_that_may_happen_to_a_result_is_told() -> None:
    assert spares._told()


def test_a_result_that_was_let_go_is_used_again() -> None:
    made, x = warm_plain(), torch.ones(2, 3)
    known = {made(x).data_ptr() for _ in range(20)}
    assert len(known) == 1
    held = made(x)
    known |= {made(x).data_ptr() for _ in range(20)}
    assert len(known) == 2
    assert held.data_ptr() in known


@pytest.mark.parametrize(
    "hold",
    [
        lambda r: r,
        lambda r: r[1:],
        lambda r: r.detach(),
        lambda r: r.numpy(),
        lambda r: torch.from_dlpack(r),
        lambda r: torch.tensor([], dtype=torch.float32).set_(r.untyped_storage()),
        lambda r: torch.nn.Parameter(r),
    ],
)
def test_what_is_held_in_any_way_stays(hold: Callable[[torch.Tensor], Any]) -> None:
    made = warm_plain()
    held = [hold(made(torch.full((2, 3), float(n)))) for n in range(6)]
    for n, each in enumerate(held):
        assert torch.equal(torch.as_tensor(each), torch.full_like(torch.as_tensor(each), 2 * n + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda r: setattr(r, "mark", 1),
        lambda r: r.requires_grad_(),
        lambda r: r.t_(),
        lambda r: r.resize_(1),
        lambda r: r.set_(torch.zeros(3)),
        lambda r: setattr(r, "data", torch.zeros(7)),
    ],
)
def test_what_was_done_to_a_result_does_not_come_back(change: Callable[[Any], Any]) -> None:
    made, x = warm_plain(), torch.ones(2, 3)
    for _ in range(5):
        result = made(x)
        assert torch.equal(result, torch.full((2, 3), 3.0))
        assert result.shape == (2, 3)
        assert result.is_contiguous()
        assert not result.requires_grad
        assert not hasattr(result, "mark")
        change(result)
        del result


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.__setitem__("more", torch.zeros(1)),
        lambda r: setattr(r, "more", 1),
        lambda r: setattr(r, "last_hidden_state", None),
        lambda r: r.move_to_end("last_hidden_state"),
        lambda r: r.pooler_output.unsqueeze_(0),
    ],
)
def test_a_mapping_comes_as_the_model_gives_it(change: Callable[[Any], Any]) -> None:
    each = entry("bert")
    model, inputs = each.build(), each.inputs(2, 7)
    made, wanted = tc.compile(model), model(**inputs)
    for _ in range(6):
        result: Any = made(**inputs)
        assert type(result) is type(wanted)
        assert list(result) == list(wanted)
        assert vars(result).keys() == vars(wanted).keys()
        for name, value in wanted.items():
            torch.testing.assert_close(result[name], value, atol=1e-5, rtol=1e-5)
            assert getattr(result, name) is result[name]
        change(result)
        del result


def test_a_weak_reference_ends_with_the_result() -> None:
    made, x = warm_plain(), torch.ones(2, 3)
    result = made(x)
    known = weakref.ref(result)
    other = made(x)
    assert known() is result
    assert other is not result


def test_results_of_inference_mode_stay_there() -> None:
    made, x = warm_plain(), torch.ones(2, 3)
    with torch.inference_mode():
        assert all(made(x).is_inference() for _ in range(5))
    assert not any(made(x).is_inference() for _ in range(5))


def test_large_results_are_not_kept() -> None:
    made, x = tc.compile(Plain()), torch.ones(64, 1024)
    for _ in range(4):
        made(x)
    kept = [made(x) for _ in range(3)]
    assert len({each.data_ptr() for each in kept}) == 3
    make = (torch.empty, (64, 1024))
    assert spares.spares([make], 2, None, (), {}) == []


def test_many_threads_share_none() -> None:
    made = warm_plain()
    wrong: list[int] = []

    def work(number: int) -> None:
        with torch.no_grad():
            for n in range(300):
                value = float(number * 1000 + n)
                result = made(torch.full((2, 3), value))
                if not torch.equal(result, torch.full((2, 3), 2 * value + 1)):
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
