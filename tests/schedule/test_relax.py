"""`relax`: guards dropped where they only keep unused elements from being computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "accumulator": (
        kernels.matmul,
        "split(j, 4, tail=guard) reorder(j0, k, i, j1) cache(p1, j0, pad=4) relax()",
    ),
    "reduction_kept": (lambda: kernels.total(kernels.M, 5), "split(k, 4, tail=guard) relax()"),
    "reduction_kept_in_padding": (
        lambda: kernels.total(kernels.M, 5),
        "split(k, 4, tail=guard) cache(p0, i, pad=8) relax()",
    ),
    "output_kept": (kernels.double, "split(i, 4, tail=guard) relax()"),
    "nothing": (kernels.add, "relax()"),
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
        (kernels.add(), "relax(i)", "relax(i): too many positional arguments"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
