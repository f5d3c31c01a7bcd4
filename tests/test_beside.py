"""Values that forked processes make, and those that they fail to make."""

from __future__ import annotations

import os
import signal
import time
import warnings
from typing import NoReturn

import pytest

from tc import beside
from tc.beside import Beside


def failing() -> NoReturn:
    raise ValueError("not here")


def ending() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def warning() -> bytes:
    warnings.warn("something is odd", RuntimeWarning, stacklevel=1)
    return b"made"


def sleeping() -> bytes:
    time.sleep(600)
    return b""


def is_gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("made", [b"", b"made", bytes(range(256)) * 4096])
def test_a_value_is_made_in_another_process(made: bytes) -> None:
    pids = [Beside(lambda: str(os.getpid()).encode()).result(), str(os.getpid()).encode()]
    assert pids[0] != pids[1]
    assert Beside(lambda: made).result() == made


@pytest.mark.parametrize("make", [failing, ending, warning])
def test_nothing_comes_of_one_that_fails_or_has_something_to_say(
    make: object, capfd: pytest.CaptureFixture[str]
) -> None:
    process = Beside(make)  # type: ignore[arg-type]
    pid = process._pid
    assert process.result() is None
    assert is_gone(pid)
    assert capfd.readouterr() == ("", "")


def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_PATIENCE", 0.1)
    process = Beside(sleeping)
    pid = process._pid
    assert process.result() is None
    assert is_gone(pid)
    assert process.result() is None


def test_one_that_is_not_wanted_any_more_is_ended() -> None:
    process = Beside(sleeping)
    pid = process._pid
    process.close()
    process.close()
    assert is_gone(pid)


def test_one_that_nobody_has_any_more_is_ended_here_alone() -> None:
    held = [Beside(sleeping)]
    pid = held[0]._pid

    def forget() -> bytes:
        held.clear()
        return b"forgotten"

    assert Beside(forget).result() == b"forgotten"
    assert not is_gone(pid)
    held.clear()
    assert is_gone(pid)
