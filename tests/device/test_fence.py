"""What a fence promises to host threads, callbacks and asyncio tasks."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import sys
import threading

import pytest

from tc.device import (
    Call,
    DependencyError,
    Fence,
    FenceCancelledError,
    FenceState,
    FenceTimeoutError,
)
from tc.errors import DeviceError
from tests.device.programs import SOON


def completed(result: object = None, error: BaseException | None = None) -> Fence:
    fence = Fence("f")
    assert fence.claim()
    fence.publish(FenceState.FAILED if error else FenceState.DONE, result, error)
    return fence


def fail() -> None:
    raise ValueError("broken")


def test_a_fence_gives_the_result(device):
    fence = device.queue.submit(Call(lambda a, b: a + b), (2, 3))
    assert fence.wait(SOON)
    assert fence.done()
    assert fence.result() == 5
    assert fence.error() is None
    assert fence.state is FenceState.DONE


def test_the_error_comes_through_the_fence_as_the_same_object(device):
    fence = device.queue.submit(fail)
    error = fence.error(SOON)
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match="broken") as caught:
        fence.result()
    assert caught.value is error
    assert fence.wait(0)  # waiting never raises it
    assert fence.state is FenceState.FAILED


def test_waiting_ends_at_the_timeout(device, gates):
    fence = device.queue.submit(gates[0])
    gates[0].await_begin()
    assert not fence.wait(0.001)
    for ask in (fence.result, fence.error):
        with pytest.raises(FenceTimeoutError, match=r"still running after 0\.001 s"):
            ask(0.001)
    with pytest.raises(TimeoutError):
        fence.result(0)
    gates[0].go.set()
    assert fence.wait(SOON)


def test_cancel_takes_back_what_has_not_begun(device, gates):
    running = device.queue.submit(gates[0])
    gates[0].await_begin()
    waiting = device.queue.submit(gates[1])
    assert not running.cancel()
    assert waiting.cancel()
    assert waiting.cancel()
    assert waiting.cancelled()
    with pytest.raises(FenceCancelledError, match="cancelled"):
        waiting.result()
    gates[0].go.set()
    assert running.result(SOON) == ()
    assert not running.cancel()
    device.close(timeout=SOON)
    assert not gates[1].begun.is_set()


def test_callbacks_run_once_in_order_also_when_added_late(device, gates):
    seen: list[object] = []
    finished = threading.Event()
    fence = device.queue.submit(gates[0], "x")
    fence.add_callback(lambda f: seen.append(("first", f.result())))
    fence.add_callback(lambda f: seen.append(("second", f.done())))
    fence.add_callback(lambda _: finished.set())
    assert seen == []
    gates[0].go.set()
    assert finished.wait(SOON)
    fence.add_callback(lambda f: seen.append(("late", f.done())))
    assert seen == [("first", "x"), ("second", True), ("late", True)]


def test_a_failing_callback_reaches_nobody_else(monkeypatch):
    seen, logged = [], []
    monkeypatch.setattr(logging.getLogger("tc.device"), "handle", logged.append)
    fence = Fence("f")
    fence.add_callback(lambda _: 1 / 0)
    fence.add_callback(lambda _: seen.append(1))
    fence.claim()
    fence.publish(FenceState.DONE)
    assert seen == [1]
    assert [(each.getMessage(), each.exc_info[0]) for each in logged] == [
        ("f: a callback failed", ZeroDivisionError)
    ]


def test_no_callback_ends_a_lane(device, gates, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tc.device"), "handle", lambda _: None)
    fences = [device.queue.submit(gates[0]), device.queue.submit(fail_with_an_interrupt)]
    fences[0].add_callback(lambda _: sys.exit())
    fences[1].add_callback(lambda fence: fence.result())
    after = [device.queue.submit(lambda: 1, wait=[fence]) for fence in fences]
    gates[0].go.set()
    assert after[0].result(SOON) == 1
    assert isinstance(after[1].error(SOON), DependencyError)
    assert device.queue.submit(lambda: 2).result(SOON) == 2


def fail_with_an_interrupt() -> None:
    raise KeyboardInterrupt


def test_a_fence_is_completed_once():
    fence = Fence("f")
    assert fence.claim()
    assert not fence.claim()
    assert not fence.begin()
    assert not fence.cancel()


def test_await_in_asyncio(device, gates):
    async def main() -> object:
        fences = [device.queue.submit(gates[0], "a"), device.queue.submit(Call(str), (7,))]
        asyncio.get_running_loop().call_soon(gates[0].go.set)
        return [await fence for fence in fences]

    assert asyncio.run(main()) == ["a", "7"]


def test_await_raises_the_error(device):
    async def main() -> object:
        return await device.queue.submit(fail)

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(main())


def test_a_cancelled_task_leaves_the_submission_alone(device, gates):
    async def main() -> Fence:
        fence = device.queue.submit(gates[0], 1)

        async def wait() -> object:
            return await fence

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return fence

    fence = asyncio.run(main())
    assert not fence.done()
    gates[0].go.set()
    assert fence.result(SOON) == 1


def test_await_of_a_fence_that_is_done():
    async def main() -> object:
        return await completed(3)

    assert asyncio.run(main()) == 3


def test_a_fence_is_a_handle():
    fence = completed(3)
    assert copy.deepcopy(fence) is fence
    with pytest.raises(DeviceError, match="cannot be pickled"):
        pickle.dumps(fence)
    assert repr(fence) == "<Fence f: done>"
