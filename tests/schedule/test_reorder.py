"""`reorder`: interchange, and reductions taken out of the loops around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "interchange": (kernels.add, "reorder(j, i)"),
    "hoist": (kernels.matmul, "reorder(i, k, j)"),
    "hoist_scan": (kernels.scan, "reorder(j, i)"),  # what j carries, it carries for each i
    "hoist_outermost": (lambda: kernels.matmul(4), "reorder(k, i, j)"),
    "hoist_symbolic": (kernels.matmul, "reorder(k, i, j)"),
    "guards": (kernels.matmul, "split(j, 4, tail=guard) reorder(j0, k, i, j1)"),
    "tile": (kernels.matmul, "tile(i, j, 2, 4) reorder(j0, i0, k, i1, j1)"),
    "tuple_state": (kernels.argmax, "split(i, 2, tail=ragged) reorder(i0, k, i1)"),
    "welford": (kernels.welford, "split(i, 2, tail=guard) reorder(i0, k, i1)"),
    "same": (kernels.add, "reorder(i, j)"),
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
        (kernels.add(), "reorder(j, q)", "reorder: kernel has no loop 'q'"),
        (kernels.pair(), "reorder(i, j)", "the loop 'j' is not inside it; name loops of one nest"),
        (
            kernels.scan(),
            "reorder(j, i) reorder(i, j)",
            "reorder: for j in range(5): its iterations may touch the same element of out0_acc",
        ),
        (
            kernels.double(),
            "split(i, 4, tail=ragged) reorder(i1, i0)",
            "its extent depends on i0; split the inner loop after reordering",
        ),
        (
            kernels.scatter(),
            "split(i, 2, tail=guard) reorder(i1, i0)",
            "may touch the same element of out0",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
