"""The process that one contender lives in: `python -m benchmarks.worker JOB` with JSON lines.

Pins itself before any framework is imported, so that thread pools see only the given cores.
Must not share a process with a second contender: thread pools of several frameworks in one
process disturb each other.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np

from benchmarks.protocol import Array, UnavailableError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call ready to be timed, and how its result becomes an array (untimed).

    `inside` tells the seconds that the last call spent in compiled code; `measure` finds out
    something else about the contender, in a way of its own; `facts` are numbers about the case.
    """

    call: Callable[[], Any]
    to_array: Callable[[Any], Array] = np.asarray
    inside: Callable[[], float] | None = None
    measure: Callable[..., dict[str, Any]] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


class Server:
    """Answers the parent's questions about one prepared contender."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._idle_since = (time.perf_counter(), time.process_time())

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to one message: "output", "run" or "measure"."""
        match message["do"]:
            case "output":
                array = self._prepared.to_array(self._prepared.call())
                np.save(message["path"], array, allow_pickle=False)
                return {"state": "done"}
            case "run":
                return self._run(int(message["calls"]))
            case "measure" if self._prepared.measure is not None:
                found = self._prepared.measure(**message["what"])
                self._idle_since = (time.perf_counter(), time.process_time())
                return {"state": "done", "found": found}
            case other:
                raise ValueError(f"unknown message {other!r}")

    def _run(self, calls: int) -> dict[str, Any]:
        # CPU time used since the last block ended tells whether this contender's pool kept
        # spinning while others were timed.
        wall, cpu = self._idle_since
        idle = (time.process_time() - cpu) / max(time.perf_counter() - wall, 1e-9)
        call, clock, within = self._prepared.call, time.perf_counter, self._prepared.inside
        call()
        seconds, inside = [], []
        for _ in range(calls):
            start = clock()
            call()
            seconds.append(clock() - start)
            if within is not None:
                inside.append(within())
        self._idle_since = (clock(), time.process_time())
        return {"state": "done", "seconds": seconds, "idle_share": idle, "inside": inside}


def load_factory(path: str) -> Callable[[dict[str, Any]], Prepared]:
    """The function that "module:function" names."""
    module, _, name = path.partition(":")
    factory: Callable[[dict[str, Any]], Prepared] = getattr(importlib.import_module(module), name)
    return factory


def prepare(job: dict[str, Any]) -> tuple[Server | None, dict[str, Any]]:
    """Build the contender; the second value is the message for the parent."""
    start = time.perf_counter()
    try:
        prepared = load_factory(job["factory"])(job["case"])
        prepared.call()
    except (UnavailableError, ImportError) as error:
        return None, {"state": "unavailable", "reason": one_line(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        return None, {"state": "failed", "reason": f"{type(error).__name__}: {one_line(error)}"}
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = dict(prepared.facts)
    message = {"state": "ready", "seconds": seconds, "peak_bytes": peak, "facts": facts}
    return Server(prepared), message


def one_line(error: Exception) -> str:
    """The first 300 characters of an error's text on one line."""
    return " ".join(str(error).split())[:300]


def serve(server: Server, source: TextIO, sink: TextIO) -> None:
    """Answer messages until the parent closes the pipe."""
    for line in source:
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
            answer = {"state": "failed", "reason": f"{type(error).__name__}: {one_line(error)}"}
        print(json.dumps(answer), file=sink, flush=True)


def main() -> None:
    """Run one worker; frameworks that print do so on stderr, never into the protocol."""
    job = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    sink = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server, message = prepare(job)
    print(json.dumps(message), file=sink, flush=True)
    if server is not None:
        serve(server, sys.stdin, sink)


if __name__ == "__main__":
    main()
