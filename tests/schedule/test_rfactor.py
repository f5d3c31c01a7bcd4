"""`rfactor`: partial reductions in lanes and rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "sum": (kernels.total, "rfactor(k, 4)"),
    "rows": (kernels.total, "rfactor(k, 2, rows=2)"),
    "whole": (lambda: kernels.total(kernels.M, 8), "rfactor(k, 4)"),
    "constant_tail": (lambda: kernels.total(kernels.M, 11), "rfactor(k, 4)"),
    "short": (lambda: kernels.total(kernels.M, 3), "rfactor(k, 4)"),
    "argmax": (kernels.argmax, "rfactor(k, 4)"),
    "welford": (kernels.welford, "rfactor(k, 4)"),
    "online_softmax": (kernels.online_softmax, "rfactor(k, 4)"),
    "one_lane": (kernels.total, "rfactor(k, 1)"),
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
        (kernels.total(), "rfactor(q, 4)", "has no loop 'q'"),
        (kernels.total(), "rfactor(k, 0)", "rfactor: factor is 0"),
        (kernels.total(), "rfactor(k, 4, rows=0)", "rfactor: factor is 0"),
        (
            kernels.total(),
            "rfactor(i, 4)",
            "rfactor: for i in range(M): it is not a plain reduction into one accumulator",
        ),
        (
            kernels.matmul(),
            "reorder(k, i, j) rfactor(k, 4)",
            "there are loops inside it; choose the innermost loop",
        ),
        (kernels.scan(), "rfactor(j, 4)", "it is not a plain reduction"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
