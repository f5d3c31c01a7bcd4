"""`online`: the online softmax in blocks, weights shared by all columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "blocks": (kernels.attention, "online(r, i, e, block=4)"),
    "fused": (kernels.attention, "online(r, i, e, block=4, fused=1)"),
    "fused_lanes": (
        kernels.attention,
        "online(r, i, e, block=4, fused=1) split(i_w, 4, tail=guard) relax() reorder(r_w, i_w1)"
        " vectorize(i_w1, 4)",
    ),
    "whole": (kernels.attention, "online(r, i, e)"),
    "rows": (
        kernels.attention,
        "split(i, 3, tail=ragged) online(r, i1, e, block=2) compute_at(t0, r0)",
    ),
    "causal": (
        lambda: kernels.attention(causal=True),
        "split(i, 2, tail=ragged) online(r, i1, e, block=3)",
    ),
    "one_key": (lambda: kernels.attention(m=1), "online(r, i, e, block=4)"),
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
        (kernels.attention(), "online(x, i, e)", "has no loop 'x'"),
        (
            kernels.attention(),
            "online(r, i, e, block=-1)",
            "online: block is -1, must be at least 0",
        ),
        (
            kernels.attention(),
            "online(r, i, e, fused=1)",
            "online: fused with one block of all; give the length of a block",
        ),
        (kernels.attention(), "online(r, e, i)", "its body is not just the loop 'i'"),
        (kernels.attention(), "reorder(e, i) online(r, e, i)", "the scores vary with 'i'"),
        (
            kernels.welford(),
            "online(k, i, i)",
            "online: for i in range(M): its body is not just the loop 'i'",
        ),
        (
            kernels.unnormalised(),
            "online(r, i, e)",
            "does not fold an online softmax, and nothing else",
        ),
        (
            kernels.attention(),
            "split(r, 2) online(r0, i, e)",
            "does not fold an online softmax, and nothing else",
        ),
        (
            kernels.attention(),
            "online(r, i, e) online(r_t, i, e)",
            "online: the name 'i_t' is taken",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
