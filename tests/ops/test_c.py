"""Rows of the operator table as C: one program of all of them, against the interpreter.

Every row is scheduled as it is by default, once, so that what rows are made of meets the words of
C and the strict warnings of its compiler; what is scheduled otherwise is tried elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tc.ir.interpret import from_bf16, storage
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.passes import run_passes
from tc.ir.tensor import Tensor
from tc.ir.tensor_walk import placeholders
from tc.ir.types import BF16
from tc.ops import operators
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.target import Target
from tests.codegen.c_programs import compiled
from tests.ops.harness import build, run, same_values
from tests.ops.test_ops import values_of

HOST = Target.parse("host")


def kernel(tensors: Sequence[Tensor]) -> Func:
    """The loops of one kernel, flat."""
    schedule = default_schedule(tuple(tensors), None, frozenset(), HOST)
    return run_passes(apply(lower(tensors), schedule))


def test_rows_as_c(tmp_path: Path) -> None:
    kernels: dict[str, Func] = {}
    results: dict[str, list[tuple[Tensor, Any]]] = {}
    calls: list[tuple[str, dict[str, Any], dict[str, int]]] = []
    for row in operators():
        tensors, given, _ = build(row, values_of(row, row.samples[0].args))
        kernels[row.name] = kernel(tensors)
        results[row.name] = list(zip(tensors, run(tensors, given, {}), strict=True))
        arrays = {
            f"p{n}": np.ascontiguousarray(given[p.name])
            for n, p in enumerate(placeholders(tensors))
        }
        for n, (t, value) in enumerate(results[row.name]):
            arrays[f"out{n}"] = np.zeros(value.shape, storage(t.dtype))
        calls.append((row.name, arrays, {}))
    assert set(compiled(tmp_path, kernels, HOST, ("-O0",))(calls)) == {0}
    for name, arrays, _ in calls:
        for n, (t, wanted) in enumerate(results[name]):
            found = arrays[f"out{n}"]
            same_values(from_bf16(found) if t.dtype is BF16 else found, wanted, t.dtype, name)
