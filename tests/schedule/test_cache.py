"""`cache`: a local copy of what an iteration reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "row": (kernels.add, "cache(p0, i)"),
    "swap": (kernels.matmul, "cache(p1, i, swap=1)"),
    "pad": (kernels.matmul, "cache(p1, i, pad=4)"),
    "swap_pad": (kernels.matmul, "cache(p1, i, swap=1, pad=4)"),
    "guard": (kernels.matmul, "split(j, 4, tail=guard) cache(p1, j0)"),
    "regions": (kernels.window, "cache(p0, a)"),
    "packed": (
        kernels.matmul,
        "split(j, 4, tail=guard) reorder(j0, k, i, j1) "
        "cache(p1, j0, pad=4) relax() vectorize(j1, 4)",
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
        (kernels.add(), "cache(q, i)", "cache: kernel has no parameter 'q'; it has p0, p1, out0"),
        (kernels.add(), "cache(p0, q)", "has no loop 'q'"),
        (kernels.add(), "cache(p0, i, pad=0)", "cache: factor is 0"),
        (kernels.add(), "cache(out0, i)", "cache: out0: it is an output; cache inputs only"),
        (kernels.add(), "cache(p1, i, swap=1)", "cache: p1 has 1 dims, swap=1"),
        (kernels.add(), "cache(p0, i) cache(p0, j)", "cache: p0: it is cached already"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
