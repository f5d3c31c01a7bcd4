"""`prefetch`: asking for the next block while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tc
from tc import te
from tc.errors import ScheduleError
from tc.ir.expr import Const, cast
from tc.ir.loop import Func, If, Prefetch
from tc.ir.lower import lower
from tc.ir.passes.versions import versions
from tc.ir.types import F32
from tc.ir.visit import sub_stmts
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, machines, scheduled

BLOCKS = "split(i, 3, tail=ragged) online(r, i1, e, block=4) compute_at(t0, r0)"
TILED = "reorder(i, j) split(j, 4, tail=guard) reorder(j0, i, k, j1) pack(p1, 1, 4)"


def diagonal() -> Func:
    """A map of the elements whose places in both dims are alike."""
    x = te.placeholder((40, 40))
    return lower((te.compute((40,), lambda i: x[i, i] * 2.0),))


# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "blocks": (kernels.matmul, f"{TILED} prefetch(p1, j0, i, k)"),
    "lines": (kernels.matmul, f"{TILED} prefetch(p1, j0, i, k, lines=2)"),
    "vectors": (
        kernels.matmul,
        f"{TILED} split(k, 2) vectorize(j1, 4) unroll(k1) prefetch(p1, j0, i, k0) parallel(j0)",
    ),
    "hurry": (
        kernels.matmul,
        "split(i, 2, tail=balanced) split(j, 4, tail=guard) reorder(j0, i0, k, i1, j1)"
        " pack(p1, 1, 4) relax() hurry(p1, j0, i0, k, i1, 1, 64) prefetch(p1, j0, i0, k)",
    ),
    "hurry_blocks": (  # a block of the reduction, which the tail of the rows meets too
        lambda: kernels.matmul(k=12),
        "split(i, 2, tail=ragged) split(j, 4, tail=guard) reorder(j0, i0, k, i1, j1)"
        " pack(p1, 1, 4) relax() partial(out0_acc, k, 6) reorder(j0, k0, i0)"
        " hurry(p1, k0, i0, k1, i1, 2, 128) unroll(i1)",
    ),
    "near": (kernels.matmul, f"{TILED} prefetch(p1, j0, k, near=64)"),
    "rows": (kernels.matmul, "prefetch(p0, i, j)"),
    "tiles": (kernels.matmul, "split(i, 2, tail=balanced) prefetch(p0, i0, i1, j)"),
    "sums": (
        kernels.matmul,
        f"{TILED} partial(out0_acc, k, 1) reorder(j0, k0, i) prefetch(p1, k0, i)",
    ),
    "values": (kernels.attention, f"{BLOCKS} prefetch(p2, r0, i1_v, e_v, rows=5)"),
    "tail": (  # of what is summed reads of the same block
        kernels.attention,
        f"{BLOCKS} split(r_v, 2, tail=cut) prefetch(p2, r0, i1_v, e_v, rows=5)",
    ),
    "steps": (
        kernels.attention,
        f"{BLOCKS} split(r_v, 2, tail=cut) prefetch(p2, r0, i1_v, e_v, r_v0, rows=5)",
    ),
    "keys": (  # the tail reads of the same block, without hints
        lambda: kernels.attention(d=20),
        f"{BLOCKS} split(j, 2, tail=cut) reorder(j0, i_1, j1)"
        " prefetch(p1, r0, j0, i_1, lines=2, rows=20)",
    ),
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
        (kernels.matmul(), "prefetch(p0, i, j, near=8, rows=1)", "near and rows are both given"),
        (kernels.matmul(), "hurry(p1, j, i, k, q, 1, 64)", "hurry: kernel has no loop 'q'"),
        (kernels.matmul(), "hurry(p1, j, i, k, i, 1, 64)", "the loops around it are i, j, k"),
        (kernels.matmul(), "reorder(j, i, k) hurry(p1, j, i, k, j, 1, 64)", "and j inside"),
        (diagonal(), "split(i, 4) prefetch(p0, i0, i1, rows=1)", "a block of it has no rows"),
    ],
)
def test_refused(kernel: Func, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(kernel, steps)
    assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("target", machines("host", "x86-64-v3", "generic"))
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


@pytest.mark.parametrize(
    ("rows", "columns", "asked"),
    [(None, 900, True), (1, 900, False), (3, 900, True), (40, 900, False), (3, 100, False)],
)
def test_a_single_tile_of_some_rows_asks_for_its_own_block(
    rows: int | None, columns: int, asked: bool
) -> None:
    axis = te.reduce_axis(512)
    a = te.placeholder((te.sym("M") if rows is None else rows, 512))
    b = te.placeholder((columns, 512))  # a hundred are at home in the cache
    product = te.compute(
        (a.shape[0], columns), lambda i, j: te.sum(a[i, axis] * b[j, axis], axis=axis)
    )
    kernel = tc.build(product, "x86-64-v3", constants=[b], threads=1)
    assert ("hurry(" in kernel.schedule) is asked, kernel.schedule
    if asked:
        assert "call void @llvm.prefetch" in kernel.llvm_ir


@pytest.mark.parametrize(("rows", "near"), [(1, True), (2, False)])
def test_versions(rows: int, near: bool) -> None:
    steps = (
        "reorder(i, j) split(i, 2, tail=balanced) split(j, 4, tail=guard)"
        " reorder(j0, i0, k, i1, j1) pack(p1, 1, 4) relax() unroll(i1)"
        " prefetch(p1, j0, i0, k) prefetch(p1, j0, k, near=64)"
    )
    every = sub_stmts(versions(scheduled(kernels.matmul(), steps)).body)
    bodies = [x for x in every if isinstance(x, If) and x.cond.b == Const(rows)]
    hints = [x for b in bodies for x in sub_stmts(b.then) if isinstance(x, Prefetch)]
    assert bodies and {x.near for x in hints} == {near}


@pytest.mark.parametrize(("dtype", "count"), [("bf16", 1), ("f32", 0)])
@pytest.mark.parametrize("m", [None, 1, 6])
def test_streamed(dtype: str, count: int, m: int | None) -> None:
    # One row of short weights asks for what is near; f32, or more rows, do not.
    rows = te.sym("M") if m is None else m
    axis = te.reduce_axis(64)
    a, b = te.placeholder((rows, 64)), te.placeholder((100, 64), dtype)
    product = te.compute(
        (rows, 100), lambda i, j: te.sum(a[i, axis] * cast(b[j, axis], F32), axis=axis)
    )
    kernel = tc.build(product, "x86-64-v3", constants=[b], threads=1)
    assert kernel.schedule.count("near=") == (count if m != 6 else 0)
    own, _, _ = kernel.llvm_ir.partition("define internal")  # a program asks for words of its own
    assert ("i32 0, i32 3, i32 1)" in own) == (count == 1 and m != 6)
