"""`cache`: a local copy of what an iteration reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

BLOCKS = (
    "split(i, 4, tail=balanced) split(j, 4, tail=guard) reorder(j0, i0, k, i1, j1) "
    "pack(p1, 1, 4) relax()"
)
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
    "converted": (kernels.half_weights, f"{BLOCKS} cache(p1, j0, dtype=f32) vectorize(p1_2, 4)"),
    "converted for many": (
        kernels.half_weights,
        f"{BLOCKS} vectorize(j1, 4) prefetch(p1, j0, i0, k, lines=1) "
        "cache(p1, j0, dtype=f32, least=3, over=i0) vectorize(p1_2, 4)",
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
    check_all(naive, scheduled(naive, steps), size, packings(Schedule.parse(steps)))


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (kernels.add(), "cache(q, i)", "cache: kernel has no parameter 'q'; it has p0, p1, out0"),
        (kernels.add(), "cache(p0, q)", "has no loop 'q'"),
        (kernels.add(), "cache(p0, i, pad=0)", "cache: factor is 0"),
        (kernels.add(), "cache(out0, i)", "cache: out0: it is an output; cache inputs only"),
        (kernels.add(), "cache(p1, i, swap=1)", "cache: p1 has 1 dims, swap=1"),
        (kernels.add(), "cache(p0, i) cache(p0, j)", "cache: p0: it is cached already"),
        (kernels.add(), "cache(p0, i, dtype=float)", "cache: no element type 'float'; known: bool"),
        (kernels.matmul(), "cache(p1, i, dtype=f64)", "is not converted to f64"),
        (kernels.half_weights(), "cache(p1, i, dtype=f32, over=q)", "q has no one length there"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
