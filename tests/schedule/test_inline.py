"""`inline`: an intermediate computed anew in each use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "merged": (kernels.two_steps, "merge(a, i) merge(b, j) inline(t0)"),
    "map": (kernels.two_steps, "inline(t0)"),
    "window": (kernels.window, "inline(t0)"),
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
        (kernels.two_steps(), "inline(q)", "inline: kernel has no local buffer 'q'; it has t0"),
        (
            kernels.softmax(),
            "inline(t0)",
            "inline: t0: it is computed by more than one store per element; use compute_at",
        ),
        (
            kernels.matmul(),
            "inline(out0_acc)",
            "inline: out0_acc: more than one statement writes it",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
