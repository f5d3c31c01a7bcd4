"""`compute_at`: an intermediate inside the loop that uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tc import te
from tc.errors import ScheduleError
from tc.ir.expr import Expr, Let, Var, maximum, minimum
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.verify import verify
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "point": (kernels.two_steps, "compute_at(t0, j, scope=register)"),
    "row": (kernels.two_steps, "compute_at(t0, i)"),
    "window": (kernels.window, "compute_at(t0, i)"),
    "window_block": (kernels.window, "split(i, 4, tail=ragged) compute_at(t0, i0)"),
    "window_guard": (kernels.window, "split(i, 4, tail=guard) compute_at(t0, i0)"),
    "softmax": (kernels.softmax, "compute_at(t2, i) compute_at(t1, i) compute_at(t0, i)"),
    "shared_axis": (kernels.two_steps, "merge(a, i) compute_at(t0, j)"),
    "let": (kernels.bound_name, "compute_at(t0, i)"),
    "balanced": (
        kernels.softmax,
        "split(i, 4, tail=balanced) compute_at(t2, i0) compute_at(t1, i0) compute_at(t0, i0)",
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


def test_places_that_are_data_are_not_worked_out_where_there_may_be_none() -> None:
    x, ids, v = te.placeholder((5,)), te.placeholder((4,), te.I64), Var("v")
    t = te.compute((5,), lambda a: x[a] * 2.0)

    def element(i: Expr) -> Expr:
        named = Let(v, ids[i], t[minimum(maximum(v, 0), 4)])
        return te.where(i < 4, named + t[minimum(maximum(ids[i], 0), 4)], 0.0)

    naive = lower((te.compute((6,), element),))
    check_all(naive, verify(scheduled(naive, "compute_at(t0, i)")), 1)


@pytest.mark.parametrize(
    ("kernel", "steps", "message"),
    [
        (
            kernels.two_steps(),
            "compute_at(q, i)",
            "compute_at: kernel has no local buffer 'q'; it has t0",
        ),
        (kernels.two_steps(), "compute_at(t0, q)", "has no loop 'q'"),
        (
            kernels.two_steps(),
            "compute_at(t0, i, scope=disk)",
            "compute_at: scope is 'disk'; it can be scratch or register",
        ),
        (
            kernels.softmax(),
            "compute_at(t1, i)",
            "compute_at: t1: it is read outside the loop 'i'; choose a loop that holds",
        ),
        (
            kernels.matmul(),
            "compute_at(out0_acc, j)",
            "compute_at: out0_acc: more than one statement writes it",
        ),
        (kernels.two_steps(), "split(a, 2) compute_at(t0, i)", "more than one statement writes it"),
        (
            kernels.two_steps(),
            "split(b, 2, tail=guard) compute_at(t0, i)",
            "its own loops have been changed already",
        ),
        (
            kernels.two_steps(kernels.M, kernels.K),
            "compute_at(t0, i, scope=register)",
            "registers need a constant shape",
        ),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)
