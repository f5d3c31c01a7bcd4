"""`prefetch`: asking for the next block while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tc
from tc import te
from tc.errors import ScheduleError
from tc.ir.loop import Func
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled

TILED = "reorder(i, j) split(j, 4, tail=guard) reorder(j0, i, k, j1) pack(p1, 1, 4)"

# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "blocks": (kernels.matmul, f"{TILED} prefetch(p1, j0, i, k)"),
    "lines": (kernels.matmul, f"{TILED} prefetch(p1, j0, i, k, lines=2)"),
    "vectors": (
        kernels.matmul,
        f"{TILED} split(k, 2) vectorize(j1, 4) unroll(k1) prefetch(p1, j0, i, k0) parallel(j0)",
    ),
    "rows": (kernels.matmul, "prefetch(p0, i, j)"),
    "tiles": (kernels.matmul, "split(i, 2, tail=balanced) prefetch(p0, i0, i1, j)"),
    "sums": (
        kernels.matmul,
        f"{TILED} partial(out0_acc, k, 1) reorder(j0, k0, i) prefetch(p1, k0, i)",
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
        (kernels.matmul(), "prefetch(q, i, k)", "prefetch: kernel has no parameter 'q'"),
        (kernels.matmul(), "prefetch(p0, i, q)", "prefetch: kernel has no loop 'q'"),
        (kernels.matmul(), "prefetch(p0, i)", "prefetch: p0: no loops are given"),
        (kernels.matmul(), "prefetch(p0, k, i)", "the loops around it are i"),
        (kernels.matmul(), "prefetch(p1, j, k)", "what an iteration of j reads is no block"),
        (kernels.matmul(), "prefetch(out0, i, j)", "prefetch: out0: is not read there"),
        (kernels.matmul(), "prefetch(p0, i, j, lines=0)", "prefetch: factor is 0"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "generic"])
@pytest.mark.parametrize("m", [0, 1, 5, 19])
def test_compiled(target: str, m: int) -> None:
    # No rows at all: what is fetched is divided by their number.
    rows, axis = te.sym("M", lo=0), te.reduce_axis(30)
    a, b = te.placeholder((rows, 30)), te.placeholder((30, 100))
    product = te.compute((rows, 100), lambda i, j: te.sum(a[i, axis] * b[axis, j], axis=axis))
    kernel = tc.build(product, target, constants=[b], threads=1)
    assert "prefetch(p1" in kernel.schedule
    assert "llvm.prefetch" in kernel.llvm_ir
    x, w = np.ones((m, 30), np.float32), np.arange(3000, dtype=np.float32).reshape(30, 100)
    np.testing.assert_allclose(kernel(x, w), x @ w, rtol=1e-6)
