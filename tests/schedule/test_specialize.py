"""`specialize`: a version for each length."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "ragged": (kernels.double, "split(i, 3, tail=ragged) specialize(i1)"),
    "tile": (
        kernels.matmul,
        "split(i, 2, tail=balanced) reorder(i0, k, i1, j) specialize(i1)",
    ),
    "cut_tail": (kernels.double, "split(i, 3) specialize(it)"),
    "constant": (lambda: kernels.double(4), "specialize(i)"),
    "reduction_tail": (kernels.total, "split(k, 3) specialize(kt)"),
    "two": (
        lambda: kernels.add(kernels.N, kernels.M),
        "split(i, 2, tail=ragged) split(j, 2, tail=ragged) specialize(i1) specialize(j1)",
    ),
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
        (kernels.double(), "specialize(q)", "has no loop 'q'"),
        (
            kernels.double(),
            "specialize(i)",
            "specialize: for i in range(N): its length may be greater than 32; split the loop",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
