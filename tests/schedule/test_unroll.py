"""`unroll`: iterations written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "constant": (kernels.add, "unroll(j)"),
    "ragged": (kernels.double, "split(i, 4, tail=ragged) unroll(i1)"),
    "reduction": (kernels.matmul, "unroll(k)"),
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
        (kernels.double(), "unroll(q)", "unroll: kernel has no loop 'q'"),
        (
            kernels.double(300),
            "unroll(i)",
            "unroll: for i in range(300): the extent is not known to be at most 256; split",
        ),
        (kernels.double(), "unroll(i)", "the extent is not known to be at most 32"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
