"""Contenders for the harness's own tests: in this process, and as factories for a worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.protocol import Array, Block, Case, Ready, UnavailableError
from benchmarks.worker import Prepared


@dataclass
class Fake:
    """Answers with `value` and pretends that calls take the given seconds, one after another."""

    name: str
    log: list[str]
    seconds: tuple[float, ...] = (0.01,)
    value: Array = field(default_factory=lambda: np.ones(3, np.float32))
    error: Exception | None = None
    closed: bool = False

    def __post_init__(self) -> None:
        self._next: Iterator[float] = self._cycle()

    def _cycle(self) -> Iterator[float]:
        while True:
            yield from self.seconds

    def prepare(self) -> Ready:
        if self.error is not None:
            raise self.error
        return Ready(1.5, 1000)

    def output(self) -> Array:
        return self.value

    def run(self, calls: int) -> Block:
        self.log.append(self.name)
        return Block(tuple(next(self._next) for _ in range(calls)))

    def close(self) -> None:
        self.closed = True


class FakeMachine:
    """A machine of which everything is known: rates in GFLOP/s and GB/s."""

    source = "by hand"

    def __init__(self, gflops: float = 100.0, gbytes: float = 10.0) -> None:
        self._gflops, self._gbytes = gflops, gbytes

    def gflops(self, kind: str, threads: int) -> float:
        del kind, threads
        return self._gflops

    def gbytes(self, footprint: int, threads: int) -> float:
        del footprint, threads
        return self._gbytes

    def now(self) -> FakeMachine:
        return self


def doubles(case: Case) -> Prepared:
    print("a framework that prints on stdout")
    return Prepared(lambda: np.array([2.0 * int(case["x"])]))


def sleeps(case: Case) -> Prepared:
    def call() -> Array:
        time.sleep(0.002)
        return np.zeros(1)

    del case
    return Prepared(call)


def cores(case: Case) -> Prepared:
    del case
    return Prepared(lambda: np.array(sorted(os.sched_getaffinity(0))))


def missing(case: Case) -> Prepared:
    raise UnavailableError(f"no framework for {case['x']}")


def not_installed(case: Case) -> Prepared:
    del case
    import a_framework_that_nobody_has

    return a_framework_that_nobody_has.prepare()


def broken(case: Case) -> Prepared:
    del case
    raise ValueError("cannot\ncompile")


def dies(case: Case) -> Prepared:
    def call() -> Array:
        calls.append(1)
        if len(calls) > 1:
            os._exit(3)
        return np.zeros(1)

    calls: list[int] = []
    del case
    return Prepared(call)


def tells(case: Case) -> Prepared:
    """Knows something of its case, tells its time inside, and measures in its own way."""

    def measure(factor: int) -> dict[str, float]:
        return {"x": float(case["x"]) * factor}

    facts = {"flops": 12.0}
    return Prepared(lambda: np.ones(1), inside=lambda: 0.25, measure=measure, facts=facts)


def products(case: Case) -> Prepared:
    """As benchmarks.sweep_worker: a microsecond for each row, no error."""
    del case

    def measure(sizes: list[int], **pair: float) -> dict[str, object]:
        assert set(pair) == {"k", "n", "seconds"}
        return {"compile_seconds": 0.0, "cells": [[m * 1e-6, 0.0] for m in sizes]}

    return Prepared(lambda: np.ones(1), measure=measure)
