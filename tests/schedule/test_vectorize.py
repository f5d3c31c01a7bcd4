"""`vectorize`: iterations side by side, and lanes that are switched off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "symbolic": (kernels.double, "vectorize(i, 4)"),
    "whole": (lambda: kernels.double(8), "vectorize(i, 4)"),
    "exact": (lambda: kernels.double(4), "vectorize(i, 4)"),
    "constant_tail": (lambda: kernels.double(11), "vectorize(i, 4)"),
    "short": (lambda: kernels.double(3), "vectorize(i, 4)"),
    "one_lane": (kernels.double, "vectorize(i, 1)"),
    "inner_reduction": (kernels.total, "vectorize(i, 4)"),
    "hoisted": (kernels.matmul, "reorder(i, k, j) vectorize(j, 4)"),
    "ragged": (kernels.add, "split(i, 8, tail=ragged) vectorize(i1, 4)"),
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
        (kernels.double(), "vectorize(q, 4)", "has no loop 'q'"),
        (kernels.double(), "vectorize(i, 0)", "vectorize: lanes is 0, must be at least 1"),
        (
            kernels.total(),
            "vectorize(k, 4)",
            "vectorize: for k in range(K): its iterations may touch the same element of out0_acc",
        ),
        (kernels.scan(), "vectorize(j, 4)", "may touch the same element"),
        (kernels.scatter(), "vectorize(i, 4)", "may touch the same element of out0"),
        (
            kernels.add(),
            "vectorize(j, 4) vectorize(i, 4)",
            "is inside the lanes of for iv in vector(4); vectorize one loop of a nest only",
        ),
        (
            kernels.double(),
            "split(i, 4, tail=ragged) vectorize(i0, 4)",
            "its extent differs between the lanes",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
