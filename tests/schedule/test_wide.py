"""Schedules for vectors of 512 bits, compiled for this machine, whatever the width of its own.

LLVM divides what is too wide, so the loops that a machine with AVX-512 runs are run here too.
"""

from __future__ import annotations

import numpy as np
import pytest

from tc.codegen.llvm.kernel import compile_func
from tc.ir.lower import lower
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.schedule.pack import packings
from tc.target import Target
from tests.schedule.running import aligned, assert_same, inputs_of, packed, results
from tests.schedule.test_defaults import CASES

WIDE = Target.parse("x86-64-v4 cores=2")
LANES = WIDE.vector_lanes(32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_default(name: str) -> None:
    outputs, inputs, constants = CASES[name]()
    naive = lower(outputs, inputs)
    schedule = default_schedule(outputs, inputs, constants, WIDE)
    func = apply(naive, schedule)
    kernel = compile_func(func, Target.parse("host"))
    sizes = (1, LANES - 1, LANES + 1)
    names = [s.name for s in naive.symbols]
    for n, size in enumerate(sizes if names else (1,)):
        symbols = dict(zip(names, (size, sizes[-1 - n] % 5 + 1), strict=False))
        arrays = inputs_of(naive, symbols, high=3)
        wanted = results(naive, arrays, symbols)
        given = dict(arrays)
        for p in packings(schedule):
            given[p.buffer] = packed(given[p.buffer], p)
        given = aligned(given)
        values = [symbols[s.name] for s in func.symbols]
        kernel(*[given[p.name] for p in func.params], *values, threads=2)
        found = {output: np.asarray(given[output]) for output in naive.outputs}
        assert_same(found, wanted, f"{symbols}\n{schedule}\n{func}")
