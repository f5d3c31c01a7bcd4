"""Random expressions under random schedules: machine code gives what the interpreter gives."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tc.codegen.llvm.kernel import compile_func
from tc.target import Target
from tests.codegen.test_c_random import program
from tests.schedule.running import inputs_of, results

WAYS = {"host": 30, "generic": 10}


@pytest.mark.parametrize("way", WAYS)
def test_machine_code_is_the_interpreter_on_random_programs(way: str) -> None:
    rng, target = random.Random(f"{way} 2"), Target.parse(way)
    for _ in range(WAYS[way]):
        naive, func, steps = program(rng)
        kernel = compile_func(func, target)
        for seed in range(3):
            symbols = {s.name: rng.randint(s.lo, min(s.hi, 20)) for s in func.symbols}
            arrays = inputs_of(naive, symbols, seed)
            wanted = results(naive, arrays, symbols)
            values = [symbols[s.name] for s in func.symbols]
            kernel(*[arrays[p.name] for p in func.params], *values, threads=2)
            told = f"{symbols} {[str(s) for s in steps]}\n{naive}\n{func}"
            for output, expected in wanted.items():
                np.testing.assert_allclose(
                    arrays[output], expected, rtol=2e-5, atol=1e-5, err_msg=f"{output}\n{told}"
                )
