"""Calls from machine code: from many threads, beside submissions, with results of every form."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc.codegen.abi import Slot
from tc.codegen.cache import ObjectCache
from tc.codegen.direct import MOST_OBJECTS, Offsets, Word
from tc.codegen.llvm.direct import direct_call
from tc.device.physical import shared_device
from tc.errors import TcError
from tc.frontend.hf import dispatcher_of
from tc.frontend.hf_dispatch import Dispatcher
from tc.frontend.shortcut import Shortcuts
from tc.frontend.tensor_layout import read
from tc.target import Target


class Many(nn.Module):
    """Gives its results in the form that `make` makes of a list."""

    def __init__(self, make: Callable[[list[torch.Tensor]], Any]) -> None:
        super().__init__()
        self.make = make
        self.linear = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> Any:
        y = self.linear(x)
        return self.make([y, torch.relu(y), y.sum(1)])


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


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


def shortcuts_of(made: nn.Module) -> Shortcuts:
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None and dispatcher.shortcuts is not None
    return dispatcher.shortcuts


FORMS: dict[str, Callable[[list[torch.Tensor]], Any]] = {
    "tensor": lambda found: found[0],
    "tuple": tuple,
    "list": list,
    "dict": lambda found: dict(zip("abc", found, strict=True)),
    "nested": lambda found: {"first": found[0], "rest": (found[1], [found[2]])},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_result(
    form: Callable[[list[torch.Tensor]], Any], long_ways: list[Dispatcher]
) -> None:
    model = Many(form).eval()
    made = tc.compile(model)
    for _ in range(2):
        made(torch.zeros(2, 6))
    long_ways.clear()
    kept = made(torch.ones(2, 6))
    for _ in range(3):
        x = torch.randn(2, 6)
        found, expected = made(x), model(x)
        assert type(found) is type(expected)
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(kept, model(torch.ones(2, 6)))
    assert not long_ways


def test_more_arguments_than_are_looked_at(long_ways: list[Dispatcher]) -> None:
    class Ends(nn.Module):
        def forward(self, *xs: torch.Tensor) -> torch.Tensor:
            return xs[0] + 2 * xs[-1]

    model = Ends().eval()
    made = tc.compile(model)
    given = [torch.full((2,), float(n)) for n in range(MOST_OBJECTS + 1)]
    for _ in range(3):
        torch.testing.assert_close(made(*given), model(*given))
    long_ways.clear()
    torch.testing.assert_close(made(*given), model(*given))
    assert len(long_ways) == 1


def test_their_code_is_kept_for_other_processes(tmp_path: Path) -> None:
    offsets, target = Offsets(16, 16, 16, 152, 40), Target.parse("host")
    direct_call(target, offsets, ObjectCache(tmp_path))
    again = ObjectCache(tmp_path)
    direct_call(target, offsets, again)
    assert (again.hits, again.misses) == (1, 0)


def test_many_sizes_in_turn(long_ways: list[Dispatcher]) -> None:
    model = Many(tuple).eval()
    made = tc.compile(model)
    sizes = [1, 3, 2, 40, 17]
    for rows in sizes:
        made(torch.zeros(rows, 6))
        made(torch.zeros(rows, 6))  # the arena may have grown, which makes the ways anew
    for rows in sizes:
        made(torch.zeros(rows, 6))
    long_ways.clear()
    for rows in (*sizes, *reversed(sizes)):
        x = torch.randn(rows, 6)
        torch.testing.assert_close(made(x), model(x))
    assert not long_ways
    for rows in range(1, 80):  # more than are remembered
        x = torch.randn(rows, 6)
        torch.testing.assert_close(made(x), model(x))


def test_ever_new_sizes_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tc.device.run._MOST_PLANS", 8)
    monkeypatch.setattr("tc.frontend.hf_program._MAX_SHAPES", 8)
    made = tc.compile(Many(tuple).eval(), threads=1)

    def blocks(sizes: range) -> int:
        """How many Python has when calls of these sizes have been made."""
        for rows in sizes:
            for _ in range(2):  # the second is served by machine code
                made(torch.zeros(rows, 6))
        gc.collect()
        return sys.getallocatedblocks()

    blocks(range(900, 940))
    before = blocks(range(300, 380))
    assert blocks(range(500, 660)) - before < 80


def test_many_threads_at_once() -> None:
    model = Many(tuple).eval()
    made = tc.compile(model, threads=1)
    given = [torch.randn(rows, 6) for rows in (1, 5, 9, 5)]
    expected = [model(x) for x in given]
    for x in given:
        made(x)
    before, interval = made.stats()["calls"], sys.getswitchinterval()  # type: ignore[operator]
    sys.setswitchinterval(1e-5)

    def work(number: int) -> None:
        with torch.no_grad():
            for _ in range(200):
                torch.testing.assert_close(made(given[number]), expected[number])

    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert made.stats()["calls"] == before + 800  # type: ignore[operator]


def test_a_program_is_told_what_the_next_call_looks_at() -> None:
    made, x = tc.compile(Many(tuple).eval()), torch.randn(2, 6)
    for _ in range(3):
        made(x)
    state = shortcuts_of(made)._state
    assert state is not None
    template = state.templates[0]
    at = int(template.words[Word.HINTS])
    lines = {read(at + 8 * n) for n in range(1, 1 + read(at))}
    assert all(place // 64 * 64 in lines for place in template.glance.places)
    # Told during the call alone: the list may go while the table stays.
    assert read(int(template.words[Word.TABLE]) + 8 * Slot.HINTS) == 0


def test_other_threads_run_while_a_program_does() -> None:
    made = tc.compile(nn.Linear(1024, 1024), threads=1)
    x = torch.randn(1024, 1024)
    for _ in range(3):
        made(x)
    state = shortcuts_of(made)._state
    assert state is not None
    inside = int(state.templates[0].words[Word.INSIDE])  # how many calls are in compiled code
    caller = threading.Thread(target=lambda: [made(x) for _ in range(40)])
    caller.start()
    seen = False
    while caller.is_alive() and not seen:
        seen = read(inside) == 1  # which could not be read if the call held the interpreter
    caller.join(60)
    assert seen


def test_a_call_waits_for_what_was_submitted_before() -> None:
    model = Many(tuple).eval()
    made = tc.compile(model)
    x = torch.randn(2, 6)
    made(x)
    made(x)
    order: list[str] = []
    release = threading.Event()
    queue = shared_device().queue

    def slow() -> None:
        release.wait(30)
        order.append("submitted")

    fence = queue.submit(slow)
    caller = threading.Thread(target=lambda: (made(x), order.append("called")))
    caller.start()
    caller.join(0.05)
    assert not order
    release.set()
    caller.join(30)
    fence.wait(30)
    assert order == ["submitted", "called"]


def test_a_queue_that_closes_waits_for_calls_and_is_opened_again() -> None:
    model = Many(tuple).eval()
    made = tc.compile(model)
    x = torch.randn(2, 6)
    expected = model(x)
    made(x)
    stop = threading.Event()
    wrong: list[BaseException] = []

    def work() -> None:
        with torch.no_grad():
            while not stop.is_set():
                try:
                    torch.testing.assert_close(made(x), expected)
                except BaseException as error:  # noqa: BLE001  # told below
                    wrong.append(error)
                    return

    caller = threading.Thread(target=work)
    caller.start()
    try:
        for _ in range(5):
            shared_device().close()
            time.sleep(0.02)
    finally:
        stop.set()
        caller.join(30)
    assert not wrong and not caller.is_alive()
    torch.testing.assert_close(made(x), expected)


def test_former_weights_are_let_go() -> None:
    model = Many(tuple).eval()
    made = tc.compile(model)
    x = torch.randn(2, 6)
    for _ in range(2):
        made(x)
    former = weakref.ref(model.linear.weight)
    model.linear.weight = nn.Parameter(torch.randn(6, 6))
    for _ in range(2):
        torch.testing.assert_close(made(x), model(x))
    gc.collect()
    assert former() is None


def test_a_compiled_model_is_let_go() -> None:
    made = tc.compile(Many(tuple).eval())
    for _ in range(3):
        made(torch.zeros(2, 6))
    alive, call = weakref.ref(made), weakref.ref(shortcuts_of(made))
    del made
    gc.collect()
    assert alive() is None and call() is None


def test_errors_leave_nothing_behind(long_ways: list[Dispatcher]) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Embedding(7, 3)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.rows(ids)
            return found

    model = Table().eval()
    made = tc.compile(model)
    ids = torch.tensor([1, 2])
    for _ in range(2):
        made(ids)
    long_ways.clear()
    for _ in range(3):
        with pytest.raises((TcError, IndexError)):
            made(torch.tensor([1, 7]))
        assert len(long_ways) == 1  # which says what is wrong
        torch.testing.assert_close(made(ids), model(ids))
        assert len(long_ways) == 1
        long_ways.clear()


def test_a_call_is_a_call_however_it_is_written() -> None:
    model = Many(tuple).eval()
    made = tc.compile(model)
    x = torch.randn(2, 6)
    expected = model(x)
    for _ in range(3):
        for found in (made(x), made(x=x), made(*(x,)), made(x=x), made.forward(x)):
            torch.testing.assert_close(found, expected)
    with pytest.raises(TcError):
        made()
    with pytest.raises(TcError):
        made(x, x)
    with pytest.raises(TcError):
        made(y=x)
