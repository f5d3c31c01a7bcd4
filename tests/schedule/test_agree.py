"""`agree`: a version for where all iterations read one place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, assert_same, check_all, inputs_of, results, scheduled

# name -> the schedule
CASES = {
    "rows": "split(i, 4, tail=ragged) agree(i1, p1)",
    "guarded": "split(i, 4, tail=guard) agree(i1, p1)",
    "tile": "split(i, 2, tail=ragged) agree(i1, p1) reorder(k, i1, j) reorder(kx, jx)",
}


@pytest.mark.parametrize("name", CASES)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(name, f"# {CASES[name]}\n{scheduled(kernels.experts(), CASES[name])}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_result(name: str, size: int) -> None:
    naive = kernels.experts()
    check_all(naive, scheduled(naive, CASES[name]), size)


@pytest.mark.parametrize("name", CASES)
def test_rows_in_order(name: str) -> None:
    naive = kernels.experts(9)
    func = scheduled(naive, CASES[name])
    arrays = inputs_of(func, {})
    arrays["p2"] = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    assert_same(results(func, arrays, {}), results(naive, arrays, {}), CASES[name])


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (kernels.experts(), "agree(i, p1)", "it may be longer than 32; split it first"),
        (kernels.experts(4), "agree(i, p0)", "p0 is not read at places that are data in it"),
        (kernels.experts(4), "agree(i, p7)", "no parameter 'p7'"),
        (kernels.experts(4), "agree(q, p1)", "no loop 'q'"),
        (kernels.named_place(), "agree(i, p1)", "p1 is not read at places that are data in it"),
        (kernels.matmul(4), "agree(i, p1)", "p1 is not read at places that are data in it"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
