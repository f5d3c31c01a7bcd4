"""Programs that stop where a test wants them to, and the other helpers of the device tests."""

from __future__ import annotations

import threading

from tc.device import Measurement

SOON = 20.0  # seconds after which a test gives up; none waits that long unless it fails


class Gate:
    """A program that says when it has begun and goes on when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.thread: int | None = None

    def run(self, args: object) -> object:
        self.thread = threading.get_ident()
        self.begun.set()
        assert self.go.wait(SOON)
        return args

    def await_begin(self) -> None:
        assert self.begun.wait(SOON)


class Log:
    """Makes programs that write their name down when they run."""

    def __init__(self) -> None:
        self.names: list[object] = []

    def run(self, args: object) -> object:
        self.names.append(args)
        return args


def fake_measure(*_: object) -> Measurement:
    return Measurement(100.0, 200.0, 10.0, 20.0, "2026-01-02")
