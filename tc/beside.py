"""Values that forked processes make while this one goes on, on cores that would be idle.

A process gives the bytes of one value, or nothing: it may have failed, been killed, or had a
warning to give. Whoever asks then makes the value himself, so that errors and warnings are those
of one process, and no result depends on whether there was another. This module must not know what
is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Final, NoReturn

_DIES_WITH_PARENT: Final = 1  # prctl's PR_SET_PDEATHSIG
_PATIENCE: Final = 60.0  # seconds beyond as many again as a process has had when it is asked
_BLOCK: Final = 1 << 20


class Beside:
    """A value that a process forked now makes."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        """`make` is called in the other process.

        Raises:
            OSError: the system has no room for one more.
        """
        self._began = time.monotonic()
        self._pid: int | None = None
        self._home = os.getpid()
        self._said, say = os.pipe()
        try:
            with warnings.catch_warnings():
                # Newer Pythons warn of threads that a fork leaves behind: `make` waits for none.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
        except OSError:
            os.close(self._said)
            os.close(say)
            raise
        if self._pid == 0:
            os.close(self._said)
            _serve(say, make)
        os.close(say)

    def result(self) -> bytes | None:
        """What the process has made; None: nothing, or it takes far longer than it has had."""
        if self._pid is None:
            return None
        pieces: list[bytes] = []
        end = 2 * time.monotonic() - self._began + _PATIENCE
        while select.select([self._said], [], [], max(0.0, end - time.monotonic()))[0]:
            piece = os.read(self._said, _BLOCK)
            if not piece:
                return b"".join(pieces) if self._ended() == 0 else None
            pieces.append(piece)
        self.close()
        return None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if it is still there."""
        if self._pid is not None and self._home == os.getpid():  # not in one forked since
            os.kill(self._pid, signal.SIGKILL)
            self._ended()

    def _ended(self) -> int:
        assert self._pid is not None
        pid, self._pid = self._pid, None
        os.close(self._said)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def spare_cores() -> int:
    """Cores for processes beside this one; 0 where forking is not what a system is made for."""
    return len(os.sched_getaffinity(0)) - 1 if sys.platform == "linux" else 0


def die_with_parent() -> None:
    """Have this process killed when the one that forked it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)


def _serve(say: int, make: Callable[[], bytes]) -> NoReturn:
    status = 1
    with contextlib.suppress(BaseException):  # the process ends here, whatever it is
        die_with_parent()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(nowhere, each)
        with warnings.catch_warnings(record=True) as given:
            made = memoryview(make())
        if not given:
            while made:
                made = made[os.write(say, made) :]
            status = 0
    os._exit(status)
