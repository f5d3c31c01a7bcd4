"""Timeline semaphores: monotonic, 64 bits, wait before signal."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from tc.device import TimelineSemaphore
from tc.errors import DeviceError
from tests.device.programs import SOON


def test_wait_before_signal_on_the_host():
    semaphore = TimelineSemaphore()
    waiting, passed = threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        assert semaphore.wait(3, SOON)
        passed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(SOON)
    semaphore.signal(2)
    assert not passed.is_set()
    semaphore.signal(5)  # past the value waited for
    assert passed.wait(SOON)
    thread.join(SOON)
    assert semaphore.value == 5


def test_waiting_ends_at_the_timeout():
    semaphore = TimelineSemaphore(4)
    assert semaphore.wait(4, 0)
    assert not semaphore.wait(5, 0.001)


def test_a_decreasing_signal_is_an_error():
    semaphore = TimelineSemaphore(4, name="s")
    semaphore.signal(4)
    with pytest.raises(DeviceError, match=r"s: signal\(3\) would decrease its value 4"):
        semaphore.signal(3)
    assert semaphore.value == 4


@pytest.mark.parametrize("value", [-1, 1 << 64, 1.0, True, "1"])
def test_values_have_64_bits(value):
    semaphore = TimelineSemaphore()
    for act in (TimelineSemaphore, semaphore.signal, semaphore.wait):
        with pytest.raises(DeviceError, match="not an integer of 64 bits"):
            act(value)


def test_the_greatest_value():
    semaphore = TimelineSemaphore((1 << 64) - 2)
    semaphore.signal((1 << 64) - 1)
    assert semaphore.wait((1 << 64) - 1, 0)


def test_a_submission_waits_for_a_value_that_is_signalled_later(device, gates):
    semaphore = TimelineSemaphore()
    late = device.queue.submit(gates[0], "late", wait=[(semaphore, 2)])
    signaller = device.queue.submit(gates[1], "early", signal=[(semaphore, 2)])  # same queue
    gates[1].await_begin()
    assert not gates[0].begun.is_set()
    gates[1].go.set()
    gates[0].go.set()
    assert late.result(SOON) == "late"
    assert signaller.done()
    assert semaphore.value == 2


def test_the_host_signals_and_waits_for_submissions(device, gates):
    semaphore = TimelineSemaphore()
    fence = device.queue.submit(gates[0], wait=[(semaphore, 1)], signal=[(semaphore, 2)])
    gates[0].go.set()
    assert not fence.done()
    semaphore.signal(1)
    assert semaphore.wait(2, SOON)
    assert fence.wait(SOON)


def test_a_submission_that_signals_less_fails_by_its_fence(device):
    semaphore = TimelineSemaphore(5)
    fence = device.queue.submit(lambda: 1, signal=[(semaphore, 4)])
    assert "would decrease" in str(fence.error(SOON))


def test_failed_and_cancelled_submissions_signal_too(device, gates):
    semaphore = TimelineSemaphore()
    device.queue.submit(lambda: 1 / 0, signal=[(semaphore, 1)])
    assert semaphore.wait(1, SOON)
    device.queue.submit(gates[0])
    device.queue.submit(gates[1], signal=[(semaphore, 2)]).cancel()
    assert semaphore.wait(2, SOON)


def test_a_semaphore_is_a_handle():
    semaphore = TimelineSemaphore(name="s")
    assert copy.deepcopy(semaphore) is semaphore
    with pytest.raises(DeviceError, match="cannot be pickled"):
        pickle.dumps(semaphore)
    assert repr(semaphore) == "<TimelineSemaphore s: 0>"
