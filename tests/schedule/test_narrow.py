"""`narrow`: folding only over what a mask lets through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "causal": (lambda: kernels.attention(causal=True), "split(i, 3, tail=ragged) narrow(r, i1)"),
    "window": (
        lambda: kernels.attention(causal=True, window=2),
        "split(i, 2, tail=ragged) narrow(r, i1) online(r, i1, e, block=2) compute_at(t0, r0)",
    ),
    "row": (lambda: kernels.attention(causal=True, window=4), "narrow(r, i)"),
    "maximum": (kernels.masked_max, "split(i, 4) narrow(r, i1)"),
}


@pytest.mark.parametrize("name", CASES)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    kernel, steps = CASES[name]
    golden(name, f"# {steps}\n{scheduled(kernel(), steps)}")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_result(name: str, size: int) -> None:
    kernel, steps = CASES[name]
    naive = kernel()
    check_all(naive, scheduled(naive, steps), size)


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (kernels.attention(causal=True), "narrow(x, i)", "has no loop 'x'"),
        (
            kernels.attention(causal=True),
            "narrow(r, i_1)",
            "the loop 'r' is not inside it; name a loop around it",
        ),
        (
            kernels.attention(),
            "narrow(r, i)",
            "no comparison masks a part of it; leave it as it is",
        ),
        (
            kernels.attention(causal=True),
            "narrow(e, i)",
            "it is no fold, and nothing else; name a reduction",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
