"""`bake`: a symbolic dim made a constant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "size": (kernels.double, "bake(N, 6)"),
    "intermediate": (kernels.two_steps, "bake(M, 3) split(i, 3, tail=perfect)"),
    "one_of_two": (kernels.total, "bake(K, 5)"),
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
        (kernels.double(), "bake(Q, 4)", "bake: kernel has no symbol 'Q'; it has N"),
        (kernels.double(), "bake(N, 65)", "bake: N is in [0, 64], it cannot be 65"),
        (kernels.double(4), "bake(N, 4)", "it has none"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
