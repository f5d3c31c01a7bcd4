"""`fuse`: two loops as one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "symbolic": (kernels.add, "fuse(i, j, e)"),
    "both_symbolic": (lambda: kernels.add(kernels.N, kernels.K), "fuse(i, j, e)"),
    "one": (lambda: kernels.add(kernels.N, 1), "fuse(i, j, e)"),
    "lanes": (
        kernels.add,
        "fuse(i, j, e) split(e, 4, tail=ragged) parallel(e0) vectorize(e1, 4)",
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
        (kernels.add(), "fuse(q, j, e)", "fuse: kernel has no loop 'q'"),
        (kernels.add(), "fuse(i, q, e)", "fuse: kernel has no loop 'q'"),
        (
            kernels.matmul(),
            "fuse(j, k, e)",
            "fuse: for j in range(5): its body is not just the loop 'k'; reorder the loops",
        ),
        (
            kernels.double(),
            "split(i, 4, tail=ragged) fuse(i0, i1, e)",
            "its extent depends on 'i0'; fuse before splitting",
        ),
        (kernels.add(), "split(i, 4, tail=ragged) fuse(i1, j, i0)", "the name 'i0' is taken"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
