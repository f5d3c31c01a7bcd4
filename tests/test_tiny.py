"""The smallest end-to-end check, without torch: an expression, its loops, machine code, a result.

If this fails, look here first.
"""

from __future__ import annotations

import numpy as np
import pytest

import tc
from tc import te


@pytest.mark.parametrize("rows", [0, 1, 7, 8])
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_product_of_matrices(rows: int, scheduled: bool) -> None:
    m, k = te.sym("M", 0, 100), te.reduce_axis(5)
    a, b = te.placeholder((m, 5)), te.placeholder((5, 16))
    c = te.compute((m, 16), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    f = (
        tc.build(te.schedule(c).tile("i", "j", 4, 8).vectorize("j1", 8))
        if scheduled
        else tc.build(c)
    )
    rng = np.random.default_rng(0)
    x, y = rng.random((rows, 5), np.float32), rng.random((5, 16), np.float32)
    np.testing.assert_allclose(f(x, y), x @ y, rtol=1e-5)
