"""Processes forked from a warm one: as good as new ones, without the second that these take.

A nursery is a process that has imported what its children need and then only forks them, one at a
time, each with pipes of its own and in a session of its own. It ends with whoever started it, and
they with it. `Nursery` is the side that asks, `nurse` the side that forks. This module must not
know what the processes do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from tc.beside import die_with_parent

_TOLD: Final = 400  # characters of a dead process's last words


class Child:
    """A process of a nursery.

    Attributes:
        answers: the file descriptor of its stdout, to be read.
    """

    def __init__(self, nursery: Nursery, pid: int, answers: int, said: Path) -> None:
        self.answers = answers
        self._nursery = nursery
        self._pid = pid
        self._said = said
        self._status: int | None = None

    def last_words(self) -> str:
        """Why it ended, in words; waits until it has."""
        status = self._wait()
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"it is ended by {signal.Signals(-status).name}"
        return f"its process ends with status {status}: {last_line(self._said)}"

    def end(self) -> None:
        """Kill it with all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        self._wait()
        os.close(self.answers)
        self._said.unlink(missing_ok=True)

    def _wait(self) -> int:
        if self._status is None:
            self._status = self._nursery.status()
        return self._status


class Nursery:
    """A process that forks others; started when the first is asked for, and again if it dies."""

    def __init__(self, command: Sequence[str], folder: str) -> None:
        """`command` calls `nurse`; `folder` is for files that the processes leave."""
        self._command = tuple(command)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._said = Path(folder) / "nursery-stderr"

    def start(self) -> None:
        """See that it is there, or on its way."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()

    def fork(self, request: str) -> Child | str:
        """A process that reads `request`, a line, from its stdin; or why there is none."""
        self.start()
        assert self._control is not None
        handle, said = tempfile.mkstemp(dir=self._folder, prefix="stderr-")
        asked, name = tempfile.mkstemp(dir=self._folder, prefix="request-")
        with os.fdopen(asked, "wb") as file:
            file.write(request.encode() + b"\n")
        given = os.open(name, os.O_RDONLY)
        answers, out = os.pipe()
        try:
            socket.send_fds(self._control, [b"f"], [given, out, handle])
            pid = self._number()
        except OSError:
            pid = None
        finally:
            for each in (given, out, handle):
                os.close(each)
            os.unlink(name)
        if pid is None:
            os.close(answers)
            assert self._process is not None
            status = self._process.wait()
            return f"its process ends with status {status}: {last_line(self._said)}"
        return Child(self, pid, answers, Path(said))

    def status(self) -> int:
        """The exit status of the child that was forked last, negative for a signal."""
        found = self._number()
        return 1 if found is None else found

    def close(self) -> None:
        """End it."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])  # the worker is this very tc
        known = os.environ.get("PYTHONPATH")
        ours, theirs = socket.socketpair()
        with theirs, self._said.open("wb") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": f"{root}:{known}" if known else root},
            )
        self._control = ours

    def _number(self) -> int | None:
        assert self._control is not None
        data = b""
        while not data.endswith(b"\n"):
            try:
                more = self._control.recv(1)  # no more than the line: another may follow it
            except OSError:
                return None
            if not more:
                return None
            data += more
        found: int = json.loads(data)
        return found


def nurse(child: Callable[[], int]) -> int:
    """Fork a process for whoever holds the other end of stdin, each time that it asks.

    Args:
        child: what a process does, with stdin, stdout and stderr as asked for; its exit status.
    """
    die_with_parent()
    control = socket.socket(fileno=os.dup(0))
    while True:
        asked, given, _, _ = socket.recv_fds(control, 1, 3)
        if not asked:
            return 0
        pid = os.fork()
        if pid == 0:
            control.close()
            _run(child, given)
        for each in given:
            os.close(each)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)  # so that it can be killed as a group as soon as it is known
        control.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(child: Callable[[], int], given: Sequence[int]) -> NoReturn:
    status = 1
    try:
        die_with_parent()
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        for number, each in enumerate(given):
            os.dup2(each, number)
            os.close(each)
        status = child()
    except BaseException:  # noqa: BLE001  # the process ends here, whatever it was
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def last_line(said: Path) -> str:
    """The end of what a process wrote."""
    lines = said.read_text(errors="replace").strip().splitlines()
    return (lines or [""])[-1][:_TOLD]
