"""Random expressions under random schedules: C gives what the interpreter gives.

Programs are drawn first and compiled together, since a compiler costs more than all their runs.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tc.ir.passes import run_passes
from tc.schedule.apply import apply_step
from tc.schedule.step import Step
from tc.target import Target
from tests.codegen.c_programs import compiled
from tests.schedule.running import inputs_of, results
from tests.schedule.test_random import kernel, random_step

# Target, programs, flags.
WAYS = {
    "host": ("host", 28, ("-O1",)),
    "plain C under sanitizers": ("generic-c99", 10, ("-O0", "-fsanitize=address,undefined")),
    "plain vectors": ("generic", 16, ("-O1",)),
    "SSE4 under sanitizers": ("x86-64-v2", 10, ("-O0", "-fsanitize=address,undefined")),
    "NEON": ("arm-neon", 20, ("-O1",)),
}


def program(rng: random.Random) -> tuple[Func, Func, list[Step]]:
    """A naive kernel, the same after random steps, and these."""
    naive = func = kernel(rng)
    steps = []
    for _ in range(rng.randint(1, 8)):
        step = random_step(rng, func)
        try:
            func = apply_step(func, step)
        except ScheduleError:
            continue
        steps.append(step)
    return naive, func, steps


@pytest.mark.parametrize("way", WAYS)
def test_c_is_the_interpreter_on_random_programs(way: str, tmp_path: Path) -> None:
    text, count, flags = WAYS[way]
    rng = random.Random(f"{way} 1")
    drawn = [program(rng) for _ in range(count)]
    flat = {f"program {n}": run_passes(func) for n, (_, func, _) in enumerate(drawn)}
    made = compiled(tmp_path, flat, Target.parse(text), flags)
    calls, wanted = [], []
    for number, (naive, func, _) in enumerate(drawn):
        for seed in range(3):
            symbols = {s.name: rng.randint(s.lo, min(s.hi, 20)) for s in func.symbols}
            arrays = inputs_of(naive, symbols, seed)
            wanted.append(results(naive, arrays, symbols))
            calls.append((f"program {number}", arrays, symbols))
    assert set(made(calls, team=2)) == {0}
    for (name, arrays, symbols), want in zip(calls, wanted, strict=True):
        naive, func, steps = drawn[int(name.removeprefix("program "))]
        told = f"{symbols} {[str(s) for s in steps]}\n{naive}\n{func}"
        for output, expected in want.items():
            np.testing.assert_allclose(
                arrays[output], expected, rtol=2e-5, atol=1e-5, err_msg=f"{output}\n{told}"
            )
