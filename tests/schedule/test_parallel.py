"""`parallel`: iterations divided between threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "one": (kernels.double, "parallel(i)"),
    "nested": (kernels.add, "parallel(i) parallel(j)"),
    "reduction_inside": (kernels.total, "parallel(i)"),
    "tile": (kernels.matmul, "tile(i, j, 2, 4) parallel(i0) parallel(j0)"),
    "equal_blocks": (
        kernels.matmul,
        "reorder(i, j) split(i, 2, tail=balanced) reorder(j, i0, k, i1) split(i0, 2, tail=equal) "
        "reorder(i00, j, i01) parallel(i00) parallel(j) parallel(i01)",
    ),
    "fused": (kernels.add, "fuse(i, j, e) split(e, 7, tail=ragged) parallel(e0)"),
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
        (kernels.double(), "parallel(q)", "has no loop 'q'"),
        (kernels.total(), "parallel(k)", "may touch the same element of out0_acc"),
        (
            kernels.add(),
            "parallel(j)",
            "parallel: for j in parallel(5): it is inside for i in range(N)",
        ),
        (
            kernels.pair(),
            "parallel(i)",
            "parallel: for i in parallel(N): it is one of several statements",
        ),
        (
            kernels.add(),
            "split(i, 4, tail=ragged) parallel(i0) parallel(i1)",
            "for i1 in parallel(min(4, N - i0 * 4)): its length changes with i0",
        ),
        (kernels.scatter(), "parallel(i)", "may touch the same element of out0"),
        (kernels.scan(), "parallel(j)", "may touch the same element"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
