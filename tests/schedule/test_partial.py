"""`partial`: sums in blocks, between which the accumulator waits in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tc
from tc import te
from tc.errors import ScheduleError
from tc.ir.loop import Func
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, scheduled


def deep() -> Func:
    """A product over a depth that may be anything."""
    return kernels.matmul(k=kernels.K)


# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "plain": (kernels.matmul, "partial(out0_acc, k, 2)"),
    "even": (lambda: kernels.matmul(k=8), "partial(out0_acc, k, 4)"),
    "depth": (deep, "partial(out0_acc, k, 3)"),
    "short": (kernels.matmul, "partial(out0_acc, k, 3)"),
    "tiled": (
        deep,
        "split(i, 2, tail=balanced) split(j, 4, tail=guard) reorder(j0, i0, k, i1, j1) relax() "
        "partial(out0_acc, k, 2) split(i0, 3, tail=equal) reorder(i00, j0, k0, i01) "
        "vectorize(j1, 4) unroll(i1, touching=out0_acc) parallel(i00) parallel(j0)",
    ),
    "staged": (
        deep,
        "stage(out0_acc) split(j, 4, tail=guard) reorder(j0, i, k, j1) relax() "
        "partial(out0_acc, k, 2) split(i, 3, tail=equal) reorder(i0, j0, k0, i1)",
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
        (kernels.matmul(), "partial(q, k, 2)", "partial: kernel has no local buffer 'q'"),
        (kernels.matmul(), "partial(out0_acc, q, 2)", "partial: kernel has no loop 'q'"),
        (kernels.matmul(), "partial(out0_acc, k, 0)", "partial: factor is 0"),
        (
            kernels.matmul(),
            "partial(out0_acc, i, 2)",
            "partial: out0_acc: the loop 'i' is not one of the statements it lives for",
        ),
        (
            kernels.matmul(),
            "rfactor(k, 2) partial(out0_acc, k0, 2)",
            "partial: out0_acc: the loop 'k0' is not one of the statements it lives for",
        ),
        (kernels.matmul(), "split(k, 2) partial(out0_acc, kt, 1)", "another loop reduces into it"),
        (kernels.argmax(), "partial(out0_acc, k, 2)", "partial: "),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)


def test_sums_that_wait_keep_rows_in_their_order() -> None:
    # Each row's blocks must come in turn: k0 may leave i, which carries nothing, but not the sum.
    with pytest.raises(ScheduleError, match="reorder"):
        scheduled(kernels.total(), "partial(out0_acc, k, 2) reorder(k1, k0, i)")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host l2=64K", "generic l2=64K"])
@pytest.mark.parametrize("m", [0, 1, 5, 300])
def test_long_products_sum_in_blocks(target: str, m: int) -> None:
    rows, axis = te.sym("M", lo=0), te.reduce_axis(1536)
    a, b = te.placeholder((rows, 1536)), te.placeholder((1536, 250))
    product = te.compute((rows, 250), lambda i, j: te.sum(a[i, axis] * b[axis, j], axis=axis))
    kernel = tc.build(product, target, constants=[b], threads=2)
    assert "partial(out0_acc, k, " in kernel.schedule
    random = np.random.default_rng(m)
    x = random.normal(size=(m, 1536)).astype(np.float32)
    w = random.normal(size=(1536, 250)).astype(np.float32)
    np.testing.assert_allclose(kernel(x, w), x.astype(np.float64) @ w, rtol=0, atol=1e-3)
