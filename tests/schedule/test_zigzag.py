"""`zigzag`: iterations in turn from both ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "map": (kernels.double, "zigzag(i)"),
    "causal": (
        lambda: kernels.attention(causal=True),
        "split(i, 2, tail=ragged) narrow(r, i1) online(r, i1, e) zigzag(i0)",
    ),
    "shares": (kernels.add, "parallel(i) zigzag(i)"),
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
        (kernels.double(), "zigzag(q)", "has no loop 'q'"),
        (
            kernels.scan(),
            "zigzag(j)",
            "zigzag: for j in range(5): its iterations may touch the same element",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)


def test_contiguous_shares_are_even() -> None:
    for n in range(2, 40):
        order = [p // 2 if p % 2 == 0 else n - 1 - p // 2 for p in range(n)]
        assert sorted(order) == list(range(n))
        work = [i + 1 for i in order]
        # No worse than a block of the largest size apart.
        assert abs(sum(work[: n // 2]) - sum(work) / 2) <= n
