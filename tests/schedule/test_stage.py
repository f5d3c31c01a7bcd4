"""`stage`: what follows a reduction apart from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "epilogue": (kernels.matmul, "stage(out0_acc)"),
    "tiled": (
        kernels.matmul,
        "stage(out0_acc) split(j, 4, tail=guard) reorder(i, j0, k, j1) relax()",
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
        (kernels.matmul(), "stage(q)", "stage: kernel has no local buffer 'q'; it has out0_acc"),
        (
            kernels.matmul(),
            "reorder(k, i, j) stage(out0_acc)",
            "stage: out0_acc: nothing follows its reduction here; apply stage before",
        ),
        (kernels.two_steps(), "stage(t0)", "stage: t0: nothing follows its reduction here"),
        (
            kernels.argmax(),
            "stage(out0_acc)",
            "stage: out0_acc: nothing follows its reduction here",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
