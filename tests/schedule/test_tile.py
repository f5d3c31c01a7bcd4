"""`tile`: two loops in blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "cut": (kernels.add, "tile(i, j, 2, 3, tail=cut)"),
    "ragged": (kernels.add, "tile(i, j, 2, 3, tail=ragged)"),
    "balanced": (kernels.add, "tile(i, j, 2, 3, tail=balanced)"),
    "guard": (kernels.add, "tile(i, j, 2, 3, tail=guard)"),
    "perfect": (lambda: kernels.add(4, 6), "tile(i, j, 2, 3, tail=perfect)"),
    "matmul": (kernels.matmul, "tile(i, j, 2, 4)"),
}


@pytest.mark.parametrize("name", CASES)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    kernel, steps = CASES[name]
    golden(name, f"# {steps}\n{scheduled(kernel(), steps)}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_result(name: str, size: int) -> None:
    kernel, steps = CASES[name]
    naive = kernel()
    check_all(naive, scheduled(naive, steps), size)


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (kernels.add(), "tile(i, q, 2, 3)", "has no loop 'q'"),
        (kernels.add(), "tile(i, j, 0, 3)", "factor is 0"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
