"""`uniform`: whole vectors without the condition of the last one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "choice": (kernels.padded, "vectorize(j, 4) uniform(jv)"),
    "guard": (kernels.double, "split(i, 4, tail=guard) vectorize(i1, 4) uniform(i1)"),
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
        (kernels.padded(), "uniform(j)", "it is not in lanes; vectorize it first"),
        (kernels.named_place(), "vectorize(i, 4) uniform(iv)", "no limit grows with its lanes"),
        (
            kernels.double(),
            "split(i, 4) vectorize(i1, 4) uniform(i1)",
            "no limit grows with its lanes",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
