"""A process that measures matrix products with constant weights for benchmarks.sweep.

Each pair of K and N is one `torch.nn.Linear` compiled by tc with a symbolic M, as in a model; the
same kernel serves every M. Times are those of the kernels alone, from `explain()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.protocol import Case
from benchmarks.worker import Prepared

LEAST_RUNS, MOST_RUNS = 3, 100


def tc(case: Case) -> Prepared:
    """tc at the case's precision, target and threads; `measure` takes one pair of K and N."""
    import torch

    torch.set_num_threads(int(case["threads"]))

    def measure(k: int, n: int, sizes: Sequence[int], seconds: float) -> dict[str, Any]:
        with torch.no_grad():
            return _pair(case, k, n, sizes, seconds)

    return Prepared(lambda: None, measure=measure)


def _pair(case: Case, k: int, n: int, sizes: Sequence[int], seconds: float) -> dict[str, Any]:
    """Seconds and error of each size of M, in their order, and those of compiling."""
    import torch

    import tc

    torch.manual_seed(0)
    module = torch.nn.Linear(k, n, bias=False).eval()
    rows = torch.randn(max(sizes), k)
    start = time.perf_counter()
    compiled: Any = tc.compile(
        module,
        target=str(case["target"]),
        precision=str(case["precision"]),
        threads=int(case["threads"]),
        example_inputs=(rows[:2],),
    )
    compiling = time.perf_counter() - start
    found = [_cell(compiled, module, rows[:m], seconds) for m in sizes]
    return {"compile_seconds": compiling, "cells": found}


def _cell(compiled: Any, module: Any, x: Any, seconds: float) -> list[float]:
    """(seconds of the kernels of one call, error over the greatest result)."""
    expected = module(x)
    error = (compiled(x) - expected).abs().max() / expected.abs().max()
    start = time.perf_counter()
    compiled(x)
    once = max(time.perf_counter() - start, 1e-6)
    # Every run of `explain` is three calls.
    runs = min(MOST_RUNS, max(LEAST_RUNS, math.ceil(seconds / once / 3)))
    rows = compiled.explain(runs).rows
    return [sum(row.seconds for row in rows), float(error)]
