"""The order in which a queue begins programs, its bound, its priorities, and its inline path."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import threading
import time
import weakref

import pytest

from tc.device import (
    Call,
    DependencyError,
    DeviceLost,
    FenceTimeoutError,
    QueueClosedError,
    QueueFullError,
    TimelineSemaphore,
)
from tc.errors import DeviceError
from tests.device.programs import SOON, Gate, Log


def fail(*_: object) -> None:
    raise ValueError("broken")


def test_submissions_begin_in_order(device):
    log = Log()
    fences = [device.queue.submit(log, n) for n in range(50)]
    assert [fence.result(SOON) for fence in fences] == list(range(50))
    assert log.names == list(range(50))


def test_submissions_complete_out_of_order_where_asked(device, gates):
    queue = device.create_queue(concurrency=2)
    slow = queue.submit(gates[0], "slow")
    fast = queue.submit(lambda: "fast")
    assert fast.result(SOON) == "fast"
    assert not slow.done()


def test_a_wait_on_a_fence_keeps_the_order(device, gates):
    queue = device.create_queue(concurrency=3)
    log = Log()
    first = queue.submit(gates[0])
    second = queue.submit(log, "second", wait=[first])
    third = queue.submit(log, "third", wait=second)  # one fence will do
    queue.submit(lambda: None).result(SOON)  # later, waits for nothing: overtakes
    assert log.names == []
    gates[0].go.set()
    assert third.wait(SOON)
    assert log.names == ["second", "third"]


def test_a_waiting_submission_lets_others_pass(device):
    semaphore = TimelineSemaphore()
    waiting = device.queue.submit(lambda: "waited", wait=[(semaphore, 1)])
    assert device.queue.submit(lambda: "passed").result(SOON) == "passed"
    assert not waiting.done()
    semaphore.signal(1)
    assert waiting.result(SOON) == "waited"


def test_concurrency_is_a_bound(device, gates):
    queue = device.create_queue(concurrency=2)
    for gate in gates:
        queue.submit(gate)
    for gate in gates[:2]:
        gate.await_begin()
    assert not gates[2].begun.is_set()
    gates[1].go.set()
    gates[2].await_begin()
    assert not gates[3].begun.is_set()


def test_a_failing_submission_harms_no_other(device):
    fences = [device.queue.submit(fail if n % 2 else Call(lambda: 1)) for n in range(10)]
    assert [type(fence.error(SOON)) for fence in fences] == [type(None), ValueError] * 5


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_no_error_ends_a_lane(device, error):
    def leave() -> None:
        raise error

    assert isinstance(device.queue.submit(leave).error(SOON), error)
    assert device.queue.submit(lambda: 1).result(SOON) == 1


def test_what_waits_on_a_failed_fence_does_not_run(device):
    failed = device.queue.submit(fail)
    dependent = device.queue.submit(lambda: 1, wait=[failed])
    with pytest.raises(DependencyError, match="waits on .*submission 0: that one failed: broken"):
        dependent.result(SOON)
    assert isinstance(dependent.error().__cause__, ValueError)
    assert device.queue.pending() == 0


def test_a_full_queue_raises_or_blocks(host, gates):
    with host.open(options={"depth": 2}) as device:
        queue = device.queue
        first, second = queue.submit(gates[0]), queue.submit(gates[1])
        with pytest.raises(QueueFullError, match="2 unfinished submissions of 2"):
            queue.submit(gates[2], block=False)
        with pytest.raises(QueueFullError):
            queue.submit(gates[2], timeout=0.001)
        accepted: list[object] = []
        blocked = threading.Thread(target=lambda: accepted.append(queue.submit(gates[2], 3)))
        blocked.start()
        gates[0].await_begin()
        assert accepted == []
        gates[0].go.set()
        blocked.join(SOON)
        assert first.done()
        assert not second.done()
        gates[1].go.set()
        gates[2].go.set()
        assert accepted[0].result(SOON) == 3


def test_a_cancelled_submission_leaves_room(host, gates):
    with host.open(options={"depth": 2}) as device:
        device.queue.submit(gates[0])
        waiting = device.queue.submit(gates[1])
        assert waiting.cancel()
        fence = device.queue.submit(lambda: 1, block=False)
        gates[0].go.set()
        assert fence.result(SOON) == 1


def test_who_sees_a_fence_done_finds_room(host):
    with host.open(options={"depth": 1}) as device:
        for n in range(300):
            assert device.queue.submit(Call(int), (n,), block=False).result(SOON) == n


def test_a_program_cannot_wait_for_room_in_its_own_queue(host):
    with host.open(options={"depth": 1}) as device:
        outer = device.queue.submit(lambda: device.queue.submit(lambda: 1))
        assert isinstance(outer.error(SOON), QueueFullError)


def test_higher_priorities_begin_first(device, gates):
    log = Log()
    device.queue.submit(gates[0])
    gates[0].await_begin()
    for name, priority in (("a", 0), ("b", 5), ("c", None), ("d", 5), ("e", -1)):
        last = device.queue.submit(log, name, priority=priority)
    gates[0].go.set()
    assert last.wait(SOON)
    assert log.names == ["b", "d", "a", "c", "e"]


def test_queues_of_higher_priority_get_the_free_lane(host, gates):
    log = Log()
    with host.open(options={"lanes": 1}) as device:
        low, high = device.create_queue(priority=1), device.create_queue(priority=2)
        device.queue.submit(gates[0])
        gates[0].await_begin()
        last = low.submit(log, "low")
        high.submit(log, "high")
        gates[0].go.set()
        assert last.wait(SOON)
    assert log.names == ["high", "low"]


def test_queues_are_independent(device, gates):
    other = device.create_queue()
    blocked = device.queue.submit(gates[0])
    assert other.submit(lambda: 1).result(SOON) == 1
    across = other.submit(lambda: 2, wait=[blocked])
    gates[0].go.set()
    assert across.result(SOON) == 2


def test_run_is_on_the_calling_thread_when_nothing_is_pending(device):
    gate = Gate()
    gate.go.set()
    assert device.queue.run(gate, ("x",)) == ("x",)
    assert gate.thread == threading.get_ident()
    with pytest.raises(ValueError, match="broken"):
        device.queue.run(Call(fail))
    assert device.queue.run(Call(lambda a, b: a - b), (5,), {"b": 3}) == 2


def test_run_takes_its_turn_when_something_is_pending(device, gates):
    log = Log()
    device.queue.submit(gates[0])
    device.queue.submit(log, "submitted")
    runner = threading.Thread(target=lambda: device.queue.run(log, "run"))
    runner.start()
    gates[0].go.set()
    runner.join(SOON)
    assert log.names == ["submitted", "run"]


def test_run_within_a_program_of_the_device(device):
    def outer() -> object:
        return device.queue.run(Call(lambda: "inner"))

    assert device.queue.submit(outer).result(SOON) == "inner"
    assert device.queue.run(Call(outer)) == "inner"


def test_the_inline_path_costs_less_than_two_microseconds(device):
    program, queue, calls = Call(int), device.queue, 2000

    def seconds(call) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start

    direct = min(seconds(lambda: program.run(())) for _ in range(20))
    queued = min(seconds(lambda: queue.run(program, ())) for _ in range(20))
    assert (queued - direct) / calls < 2e-6


def test_many_host_threads(device):
    """Each thread submits chains, cancels some, runs inline; every result is its own."""
    queues = [device.queue, device.create_queue(concurrency=3, depth=5)]
    wrong: list[object] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        last = None
        for n in range(60):
            queue = draw.choice(queues)
            if draw.random() < 0.3:
                if queue.run(Call(lambda *v: v), (seed, n)) != (seed, n):
                    wrong.append((seed, n))
                continue
            wait = [last] if last is not None and draw.random() < 0.5 else []
            fence = queue.submit(Call(lambda *v: v), (seed, n), wait=wait)
            if draw.random() < 0.1 and fence.cancel():
                last = None
                continue
            last = fence
            if draw.random() < 0.5 and fence.result(SOON) != (seed, n):
                wrong.append((seed, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    device.close(timeout=SOON)
    assert wrong == []
    assert [queue.pending() for queue in queues] == [0, 0]


def test_close_drains(device, gates):
    log = Log()
    device.queue.submit(gates[0])
    fence = device.queue.submit(log, "last")
    with pytest.raises(FenceTimeoutError, match="close: 2 unfinished after"):
        device.queue.close(timeout=0.001)
    with pytest.raises(QueueClosedError, match="closed"):
        device.queue.submit(log, "more")
    with pytest.raises(QueueClosedError):
        device.queue.run(log, "more")
    gates[0].go.set()
    device.queue.close(timeout=SOON)
    assert fence.done()
    assert log.names == ["last"]


def test_close_cancels(device, gates):
    running, waiting = device.queue.submit(gates[0]), device.queue.submit(gates[1])
    gates[0].await_begin()
    with pytest.raises(FenceTimeoutError):
        device.queue.close(cancel=True, timeout=0.001)
    assert waiting.cancelled()
    gates[0].go.set()
    device.queue.close(timeout=SOON)
    assert running.result() == ()


def test_close_waits_for_inline_calls(device, gates):
    caller = threading.Thread(target=lambda: device.queue.run(gates[0]))
    caller.start()
    gates[0].await_begin()
    with pytest.raises(FenceTimeoutError):
        device.queue.close(timeout=0.001)
    gates[0].go.set()
    device.queue.close(timeout=SOON)
    caller.join(SOON)


def test_an_inline_call_that_ends_wakes_who_closes(device, gates):
    caller = threading.Thread(target=lambda: device.queue.run(gates[0]))
    caller.start()
    gates[0].await_begin()
    closer = threading.Thread(target=device.queue.close)
    closer.start()
    while repr(device.queue).endswith("open>"):  # until close has begun
        time.sleep(0.001)
    closer.join(0.02)
    assert closer.is_alive()
    gates[0].go.set()
    closer.join(SOON)
    assert not closer.is_alive()
    caller.join(SOON)


def test_closing_wakes_who_waits_for_room(host, gates):
    device = host.open(options={"depth": 1})
    device.queue.submit(gates[0])
    errors: list[BaseException] = []

    def submit() -> None:
        try:
            device.queue.submit(gates[1])
        except DeviceError as error:
            errors.append(error)

    blocked = threading.Thread(target=submit)
    blocked.start()
    device.lose("pulled out")
    blocked.join(SOON)
    assert isinstance(errors[0], DeviceLost)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"program": 3}, "program int: queue: it has no run"),
        ({"program": int, "wait": [3]}, r"wait=3: submit: not a \(semaphore, value\) pair"),
        ({"program": int, "signal": [(1, 2)]}, r"signal=\(1, 2\): submit: not a"),
        ({"program": int, "wait": [(TimelineSemaphore(), -1)]}, "not an integer of 64 bits"),
        ({"program": int, "priority": "high"}, "priority='high': queue: not a whole number"),
    ],
)
def test_bad_submissions(device, arguments, message):
    with pytest.raises(DeviceError, match=message):
        device.queue.submit(**arguments)
    assert device.queue.pending() == 0


def test_bad_arguments_of_a_callable(device):
    with pytest.raises(DeviceError, match="args of type int: call of .*not a sequence"):
        device.queue.submit(int, 3).result(SOON)
    with pytest.raises(DeviceError, match="program int: queue: it has no run"):
        device.queue.run(3)


def test_a_completed_submission_keeps_nothing_alive(device):
    class Big:
        def run(self, args: object) -> None: ...

    program = Big()
    gone = weakref.ref(program)
    fence = device.queue.submit(program)
    assert fence.wait(SOON)
    device.queue.submit(lambda: None).wait(SOON)  # the lane has let go of the one before
    del program
    gc.collect()
    assert gone() is None


def test_a_queue_is_a_handle(device):
    assert copy.deepcopy(device.queue) is device.queue
    with pytest.raises(DeviceError, match="cannot be pickled"):
        pickle.dumps(device.queue)
    assert "0 unfinished, open" in repr(device.queue)
