"""Programs of several threads, called in a child that was forked after they had been used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORK = """
import os, sys
import numpy as np
import tc
from tc import te

a = te.placeholder((te.sym("n"), 512), name="a")
f = tc.build(te.compute(a.shape, lambda i, j: te.exp(a[i, j])), threads=2)
x = np.ones((4096, 512), np.float32)
wanted = f(x)
child = os.fork()
if child == 0:
    same = np.array_equal(f(x), wanted) and np.array_equal(f(x[:9]), wanted[:9])
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
assert np.array_equal(f(x), wanted)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_runs_programs_that_the_parent_has_used() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=60, check=True)
