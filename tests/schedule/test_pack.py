"""`pack`: a parameter in blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "columns": (kernels.matmul, "pack(p1, 1, 4)"),
    "rows": (kernels.matmul, "pack(p0, 0, 2)"),
    "tiled": (kernels.matmul, "split(j, 4, tail=guard) pack(p1, 1, 4)"),
    "pairs": (kernels.matmul, "pack(p1, 1, 4, along=0, group=2)"),
    "pairs_of_columns": (kernels.matmul, "pack(p0, 0, 2, along=1, group=3)"),
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
    check_all(naive, scheduled(naive, steps), size, packings(Schedule.parse(steps)))


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (kernels.matmul(), "pack(q, 0, 4)", "pack: kernel has no parameter 'q'"),
        (kernels.matmul(), "pack(out0, 0, 4)", "pack: out0: it is an output; pack inputs only"),
        (kernels.matmul(), "pack(p1, 2, 4)", "pack: p1 has 2 dims, there is no dim 2"),
        (kernels.matmul(), "pack(p1, 0, 0)", "pack: factor is 0"),
        (kernels.matmul(), "pack(p1, 0, 4) pack(p1, 1, 4)", "pack: p1: it is packed already"),
        (kernels.matmul(), "pack(p1, 0, 4, along=0, group=2)", "groups of 2 along dim 0 of p1"),
        (kernels.matmul(), "pack(p1, 0, 4, along=2, group=2)", "which has 2 dims"),
        (kernels.matmul(), "pack(p1, 0, 4, along=1, group=0)", "groups of 0"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
