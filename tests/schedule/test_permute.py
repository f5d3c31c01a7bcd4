"""`permute`: the dims of a local buffer in another order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "swapped": (kernels.unfused, "permute(t0, 1, 0)"),
    "tiled": (kernels.unfused, "compute_at(t0, i) permute(t0, 1, 0) vectorize(j, 4)"),
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
        (kernels.two_steps(), "permute(q, 1, 0)", "permute: kernel has no local buffer 'q'"),
        (
            kernels.unfused(),
            "permute(t0, 0, 0)",
            "permute: t0: (0, 0) is no order of its 2 dims; name each dim once",
        ),
        (kernels.unfused(), "permute(t0, 0)", "is no order of its 2 dims"),
        (
            kernels.welford(),
            "split(i, 4, tail=guard) split(i1, 2) reorder(i0, k, i10, i11) permute(out0_acc, 1, 0)",
            "are updated together, at the same indices; permute a buffer with one state",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
