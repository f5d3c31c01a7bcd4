"""`streams`: a reduction that reads from several places at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tc
from tc import te
from tc.errors import ScheduleError
from tc.ir.expr import Const
from tc.ir.loop import Alloc, Func, If
from tc.ir.passes.versions import versions
from tc.ir.visit import sub_stmts
from tc.schedule.pack import packings
from tc.schedule.step import Schedule
from tests.schedule import kernels
from tests.schedule.running import SIZES, check_all, machines, scheduled

ROWS = "split(i, 2, tail=balanced) reorder(i0, k, i1, j)"


def product() -> Func:
    return kernels.matmul(k=12)


def row() -> Func:
    return kernels.matmul(m=1, k=12)


# name -> the kernel, the schedule
CASES: dict[str, tuple[Callable[[], Func], str]] = {
    "one": (row, "reorder(i, k, j) streams(k, 3)"),
    "rows": (product, f"{ROWS} unroll(i1) streams(k, 4, over=i1)"),
    "steps": (product, f"{ROWS} split(k, 2) unroll(k1) streams(k0, 3, over=i1)"),
    "vectors": (
        product,
        "split(i, 2, tail=balanced) split(j, 4, tail=guard) reorder(i0, j0, k, i1, j1)"
        " pack(p1, 1, 4) relax() vectorize(j1, 4) unroll(i1) prefetch(p1, j0, k)"
        " streams(k, 2, over=i1) parallel(i0)",
    ),
    "blocks": (product, f"{ROWS} partial(out0_acc, k, 6) streams(k1, 2, over=i1)"),
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
    ("steps", "message"),
    [
        ("streams(q, 2)", "streams: kernel has no loop 'q'"),
        (f"{ROWS} streams(k, 0)", "streams: factor is 0"),
        (f"{ROWS} streams(k, 5)", "its length is no multiple of 5"),
        (f"{ROWS} streams(k, 2, over=q)", "streams: kernel has no loop 'q'"),
        (f"{ROWS} streams(k, 2, over=i0)", "i0 is not inside it"),
        ("streams(j, 5)", "it does more than to sum up one value"),
        (f"{ROWS} split(j, 4, tail=guard) streams(k, 2)", "without conditions"),
        ("reorder(k, i, j) streams(i, 1)", "its length is no multiple of 1"),
        ("reorder(i, k, j) streams(j, 5)", "it does more than to sum up one value"),
    ],
)
def test_refused(steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(product(), steps)
    assert message in str(error.value)


def test_versions() -> None:
    # The version of one row has streams alone, the others have none.
    _, steps = CASES["rows"]
    every = sub_stmts(versions(scheduled(product(), steps)).body)
    bodies = {x.cond.b: x.then for x in every if isinstance(x, If) and isinstance(x.cond.b, Const)}
    assert set(bodies) == {Const(1), Const(2)}
    for length, body in bodies.items():
        inside = list(sub_stmts(body))
        wide = [x for x in inside if isinstance(x, Alloc) and "streams" in x.buffer.name]
        assert len(wide) == (1 if length == Const(1) else 0)
        assert not any(isinstance(x, If) for x in inside)


@pytest.mark.slow
@pytest.mark.parametrize("target", machines("host", "x86-64-v3", "x86-64-v4", "generic"))
@pytest.mark.parametrize("m", [None, 1, 6])
def test_default(target: str, m: int | None) -> None:
    rows, axis = te.sym("M") if m is None else m, te.reduce_axis(192)
    a, b = te.placeholder((rows, 192)), te.placeholder((100, 192))
    made = te.compute((rows, 100), lambda i, j: te.sum(a[i, axis] * b[j, axis], axis=axis))
    kernel = tc.build(made, target, constants=[b], threads=1)
    assert ("streams(" in kernel.schedule) == (m != 6)
    if target not in ("host", "generic"):
        return
    rng = np.random.default_rng(0)
    for count in (1, 2, 5) if m is None else (m,):
        x, w = (rng.integers(-4, 5, s).astype(np.float32) for s in ((count, 192), (100, 192)))
        np.testing.assert_array_equal(kernel(x, w), x @ w.T)


def test_short_weights_are_one_stream() -> None:
    axis = te.reduce_axis(192)
    a, b = te.placeholder((te.sym("M"), 192)), te.placeholder((100, 192), "bf16")
    made = te.compute(
        (te.sym("M"), 100), lambda i, j: te.sum(a[i, axis] * te.cast(b[j, axis], "f32"), axis=axis)
    )
    schedule = tc.build(made, "host", constants=[b], threads=1).schedule
    assert "near=" in schedule and "streams(" not in schedule
