"""`split`: every policy for what is left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "cut": (kernels.double, "split(i, 4, tail=cut)"),
    "ragged": (kernels.double, "split(i, 4, tail=ragged)"),
    "balanced": (kernels.double, "split(i, 4, tail=balanced)"),
    "guard": (kernels.double, "split(i, 4, tail=guard)"),
    "equal": (kernels.double, "split(i, 4, tail=equal)"),
    "perfect": (lambda: kernels.double(12), "split(i, 4, tail=perfect)"),
    "even_guard": (lambda: kernels.double(8), "split(i, 4, tail=guard)"),
    "constant_cut": (lambda: kernels.double(11), "split(i, 4)"),
    "constant_short_cut": (lambda: kernels.double(3), "split(i, 4)"),
    "constant_balanced": (lambda: kernels.double(11), "split(i, 4, tail=balanced)"),
    "factor_1": (kernels.double, "split(i, 1)"),
    "twice": (kernels.double, "split(i, 8, tail=ragged) split(i1, 3, tail=guard)"),
    "reduction": (kernels.total, "split(k, 4)"),
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
        (kernels.double(), "split(q, 4)", "split: kernel has no loop 'q'; its loops are i"),
        (kernels.double(), "split(i, 0)", "split: factor is 0, must be at least 1"),
        (
            kernels.double(),
            "split(i, 4, tail=round)",
            "split: tail is 'round'; it can be cut, ragged, balanced, guard, equal, perfect",
        ),
        (
            kernels.double(),
            "split(i, 4, tail=perfect)",
            "split: for i in range(N): the extent may not be a multiple of 4; use another tail",
        ),
        (
            kernels.double(),
            "parallel(i) split(i, 4)",
            "split: for i0 in parallel(N // 4): it is one of several statements",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
