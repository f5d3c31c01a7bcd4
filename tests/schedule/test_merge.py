"""`merge`: two neighbouring loops as one, where no dependence forbids it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "pair": (kernels.pair, "merge(i, j)"),
    "steps": (kernels.two_steps, "merge(a, i)"),
    "inner": (kernels.two_steps, "merge(a, i) merge(b, j)"),
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
        (kernels.pair(), "merge(i, q)", "merge: kernel has no loop 'q'"),
        (kernels.pair(), "merge(q, i)", "merge: kernel has no loop 'q'"),
        (
            kernels.pair(),
            "merge(j, i)",
            "merge: j, i: the second does not directly follow the first",
        ),
        (kernels.window(), "merge(a, i)", "it is not as long as for a in range(M + 2)"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
