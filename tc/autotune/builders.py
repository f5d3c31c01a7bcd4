"""Processes that build candidates beside each other, before anything is measured.

They take one candidate after the other from a pipe, each as soon as it is free, so that one that
ends its process, or never ends, costs no more than itself; whoever measures it will say what is
wrong with it. This module must not know how a candidate is built.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Final, NoReturn

from tc.beside import die_with_parent
from tc.errors import TcError

_NUMBER: Final = 2  # bytes of a candidate's number; a pipe gives them whole
_MOST: Final = 4096  # candidates, whose numbers fit into a pipe
_DONE: Final = b"."


class Builders:
    """So many processes that build candidates 0 to `jobs` - 1; they run from the start on."""

    def __init__(self, count: int, jobs: int, build: Callable[[int], None]) -> None:
        """`build` leaves a candidate where others find it; it runs in another process."""
        jobs = min(jobs, _MOST)
        queue, give = os.pipe()
        self._said, say = os.pipe()
        os.write(give, b"".join(n.to_bytes(_NUMBER, "little") for n in range(jobs)))
        os.close(give)
        self._left: set[int] = set()
        for _ in range(min(count, jobs)):
            pid = os.fork()
            if pid == 0:
                _serve(queue, say, build)
            self._left.add(pid)
        os.close(queue)
        os.close(say)

    def wait(self, seconds: float) -> None:
        """Until all is built; processes that get nothing done for so long are killed."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._said, selectors.EVENT_READ)
            while ready.select(max(0.0, end - time.monotonic())):
                if not os.read(self._said, 1 << 12):  # the last of them has ended
                    break
                end = time.monotonic() + seconds
        self.close()

    def close(self) -> None:
        """Kill those that are left."""
        for pid in self._left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if self._left:
            os.close(self._said)
        self._left = set()


def _serve(queue: int, say: int, build: Callable[[int], None]) -> NoReturn:
    try:
        die_with_parent()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):  # answers and last words are those of who measures
            os.dup2(nowhere, each)
        while number := os.read(queue, _NUMBER):
            with contextlib.suppress(TcError, MemoryError):  # which measuring will report
                build(int.from_bytes(number, "little"))
            os.write(say, _DONE)
    finally:
        os._exit(0)
