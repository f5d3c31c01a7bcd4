"""Opening, losing, reopening and closing a device; options; what happens at a fork."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading

import pytest

from tc.device import (
    Call,
    DeviceLost,
    DeviceOptions,
    TimelineSemaphore,
    host_device,
    physical,
    shared_device,
)
from tc.errors import DeviceError
from tests.device.programs import SOON


def test_a_lost_device_fails_its_pending_fences_at_once(device, gates):
    semaphore = TimelineSemaphore()
    other = device.create_queue()
    fences = [
        device.queue.submit(gates[0]),
        device.queue.submit(gates[1]),
        other.submit(gates[2], wait=[(semaphore, 1)]),
    ]
    gates[0].await_begin()
    device.lose("pulled out")  # while one runs, one is ready and one waits
    assert all(fence.done() for fence in fences)
    for fence in fences:
        with pytest.raises(DeviceLost, match=r"device lost: pulled out; reopen\(\) it"):
            fence.result(0)
    for queue in (device.queue, other):
        with pytest.raises(DeviceLost):
            queue.submit(gates[1])
        with pytest.raises(DeviceLost):
            queue.run(gates[1])
    with pytest.raises(DeviceLost):
        device.create_queue()
    semaphore.signal(1)
    gates[0].go.set()
    assert not gates[1].begun.is_set()
    assert not gates[2].begun.is_set()


def test_what_a_program_returns_after_the_loss_is_dropped(device, gates):
    fence = device.queue.submit(gates[0], "late")
    gates[0].await_begin()
    device.lose("pulled out")
    error = fence.error()
    gates[0].go.set()
    device.close(timeout=SOON)
    assert fence.error() is error


def test_a_program_that_finds_its_device_dead(device):
    def find() -> None:
        raise DeviceLost("machine check")

    fence = device.queue.submit(find)
    with pytest.raises(DeviceLost, match="machine check"):
        fence.result(SOON)
    assert isinstance(device.error, DeviceLost)


def test_an_inline_program_that_finds_its_device_dead(device):
    def find() -> None:
        raise DeviceLost("machine check")

    with pytest.raises(DeviceLost, match="machine check"):
        device.queue.run(Call(find))
    assert isinstance(device.error, DeviceLost)


def test_the_loss_of_another_device_is_an_error_like_others(host, device):
    other = host.open()
    other.lose("pulled out")
    fence = device.queue.submit(lambda: other.queue.submit(lambda: 1))
    assert isinstance(fence.error(SOON), DeviceLost)
    assert device.error is None
    assert device.queue.submit(lambda: 1).result(SOON) == 1


def test_reopening_works(host):
    device = host.open(options={"depth": 3})
    device.lose("pulled out")
    again = device.reopen()
    assert again.options == DeviceOptions(depth=3)
    assert again.name != device.name
    with again:
        assert again.queue.submit(lambda: 1).result(SOON) == 1
    with host.open() as third:
        assert third.queue.submit(lambda: 2).result(SOON) == 2


def test_a_with_block_drains_and_after_an_error_cancels(host, gates):
    with host.open() as device:
        fence = device.queue.submit(lambda: 1)
    assert fence.result(0) == 1
    with pytest.raises(DeviceError, match="the device is closed"):
        device.create_queue()

    def enter(device) -> None:
        with device:
            fences.append(device.queue.submit(gates[1], wait=[(TimelineSemaphore(), 1)]))
            raise RuntimeError

    fences: list = []
    with pytest.raises(RuntimeError):
        enter(host.open())
    assert fences[0].cancelled()


def test_closing_twice_and_closing_from_a_program(device):
    assert device.queue.submit(device.close).wait(SOON)
    device.close(timeout=SOON)
    device.close(timeout=SOON)
    assert device.queues == ()


def test_a_closed_queue_is_forgotten(device):
    queue = device.create_queue()
    assert device.queues == (device.queue, queue)
    queue.close(timeout=SOON)
    assert device.queues == (device.queue,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth=0: device options: not a whole number of at least 1"),
        ({"lanes": 1.5}, "lanes=1.5"),
        ({"concurrency": True}, "concurrency=True"),
        ({"colour": 1}, "colour=1: device options: unknown; known: depth, concurrency, lanes"),
    ],
)
def test_bad_options(host, options, message):
    with pytest.raises(DeviceError, match=message):
        host.open(options=options)


def test_a_host_takes_no_credentials(host):
    with pytest.raises(DeviceError, match="credentials: cpu:0: this host takes none"):
        host.open(credentials={"token": "x"})


def test_the_process_shares_one_device_until_it_is_lost(monkeypatch):
    # One of this test's own: programs that other tests have compiled stay on theirs.
    monkeypatch.setattr(physical, "_SHARED", [])
    device = shared_device()
    assert shared_device() is device
    assert device.physical is host_device()
    device.lose("pulled out")
    again = shared_device()
    assert again is not device
    assert again.queue.submit(lambda: 1).result(SOON) == 1


def test_a_device_is_a_handle(device):
    assert copy.deepcopy({"device": device})["device"] is device
    with pytest.raises(DeviceError, match="has no pickle"):
        pickle.dumps(device)
    assert repr(device) == f"<LogicalDevice {device.name}: open>"


FORK = """
import os, sys, threading
from tc.device import DeviceLost, TimelineSemaphore, host_device
device = host_device().open()
begun, go, s = threading.Event(), threading.Event(), TimelineSemaphore()
running = device.queue.submit(lambda: (begun.set(), go.wait(20), "parent")[-1])
waiting = device.queue.submit(lambda: 1, wait=[(s, 1)])
begun.wait(20)
device.create_queue().submit(lambda: 1).result(20)  # leaves an idle lane, absent in the child
stuck = device.queue.submit(lambda: 1, wait=[(s, 9)])
stuck.claim()  # as if a thread were about to complete it
locks = device._scheduler.lock, s._condition, waiting._condition
for lock in locks:  # as if other threads held them
    lock.acquire()
child = os.fork()
if child == 0:
    lost = [isinstance(f.error(0), DeviceLost) and "fork" in str(f.error(0))
            for f in (running, waiting, stuck)]
    fresh = device.queue.submit(lambda: "child", wait=[(s, 2)])
    s.signal(2)
    ok = lost == [True] * 3 and fresh.result(20) == "child" and device.queue.pending() == 0
    device.close(timeout=20)
    os._exit(0 if ok else 1)
for lock in locks:
    lock.release()
_, status = os.waitpid(child, 0)
go.set(); s.signal(1)
assert running.result(20) == "parent" and waiting.result(20) == 1
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_has_the_device_without_the_submissions():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_ends_although_a_program_hangs():
    code = (
        "import threading; from tc.device import host_device as h\n"
        "h().open().queue.submit(threading.Event().wait)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0


def test_idle_lanes_end(host, monkeypatch):
    monkeypatch.setattr("tc.device.lanes.IDLE_SECONDS", 0.001)
    device = host.open()
    lanes: list[threading.Thread] = []
    device.queue.submit(lambda: lanes.append(threading.current_thread())).wait(SOON)
    lanes[0].join(SOON)
    assert not lanes[0].is_alive()
    assert device.queue.submit(lambda: 1).result(SOON) == 1  # a new one starts
    device.close(timeout=SOON)


def test_no_thread_to_be_had_fails_the_submission(device, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    fence = device.queue.submit(lambda: 1)
    assert "can't start new thread" in str(fence.error(SOON))
    monkeypatch.undo()
    assert device.queue.submit(lambda: 1).result(SOON) == 1
