"""Dependences that forbid a step: kernels whose result would change, all refused."""

from __future__ import annotations

import pytest

from tc.errors import ScheduleError
from tc.ir.parser import parse_func
from tests.schedule.running import check, scheduled

SHIFT = """\
def f(x: f32[9], y: out f32[9]):
    for i in range(8):
        y[i + 1] = y[i] + x[i]
"""
BACK = """\
def f(x: f32[9], y: out f32[9]):
    for i in range(8):
        y[i] = y[i + 1] + x[i]
"""
DIAGONAL = """\
def f(x: f32[8, 8], y: out f32[8, 8]):
    for i in range(7):
        for j in range(7):
            y[i + 1, j] = y[i, j + 1] + x[i, j]
"""
NEIGHBOUR = """\
def f(x: f32[8], y: out f32[8], z: out f32[8]):
    for i in range(8):
        y[i] = x[i] * 2.0:f32
    for j in range(8):
        z[j] = y[min(j + 1, 7)]
"""
SAME_ELEMENT = """\
def f(x: f32[8], y: out f32[1]):
    for i in range(8):
        y[0] = x[i]
"""
OVERLAP = """\
def f(x: f32[8], y: out f32[16]):
    for i in range(5):
        for j in range(4):
            y[i * 3 + j] = x[i]
"""
SHARED_NAME = """\
def f(x: f32[8], y: out f32[32]):
    for i in range(4):
        for j in range(6):
            y[i * 4 + j] = x[j]
        for j in range(2):
            y[i * 4 + j] = x[j + 1]
"""
WRAPPED = """\
def f(x: f32[8], y: out f32[4]):
    for i in range(8):
        y[i % 4] = x[i]
"""


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (SHIFT, "vectorize(i, 4)"),
        (SHIFT, "parallel(i)"),
        (BACK, "parallel(i)"),
        (BACK, "vectorize(i, 4)"),
        (SHIFT, "split(i, 2) reorder(i1, i0)"),
        (DIAGONAL, "reorder(j, i)"),
        (DIAGONAL, "parallel(i)"),
        (NEIGHBOUR, "merge(i, j)"),
        (SAME_ELEMENT, "vectorize(i, 4)"),
        (SAME_ELEMENT, "parallel(i)"),
        (OVERLAP, "parallel(i)"),
        (OVERLAP, "reorder(j, i)"),
        (SHARED_NAME, "parallel(i)"),
        (WRAPPED, "parallel(i)"),
    ],
)
def test_refused(text: str, steps: str) -> None:
    with pytest.raises(ScheduleError, match="may touch the same element"):
        scheduled(parse_func(text), steps)


DISJOINT = """\
def f(x: f32[M, 4], y: out f32[M, 8], M: sym[0, 20]):
    for i in range(M):
        for j in range(4):
            y[i, j] = x[i, j]
            y[i, j + 4] = x[i, 3 - j]
"""
FLAT = """\
def f(x: f32[M, 4], y: out f32[M * 4], M: sym[0, 20]):
    for i in range(M):
        for j in range(4):
            y[i * 4 + j] = x[i, j]
"""


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (DISJOINT, "parallel(i)"),
        (FLAT, "parallel(i)"),
        (FLAT, "reorder(j, i)"),
        (FLAT, "vectorize(j, 4)"),
        (FLAT, "split(i, 3, tail=ragged) parallel(i0)"),
        (FLAT, "fuse(i, j, e) parallel(e)"),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 3, 4, 7])
def test_allowed(text: str, steps: str, size: int) -> None:
    naive = parse_func(text)
    check(naive, scheduled(naive, steps), {"M": size})


GUARDED_SUM = """\
def f(x: f32[8], y: out f32[1], n: sym[0, 8]):
    with acc = alloc(f32[1], scratch):
        acc[0] = 1.0:f32
        for i in range(8):
            if i < n:
                acc[0] = acc[0] + x[i]
        y[0] = acc[0]
"""
REUSED = """\
def f(x: f32[8], y: out f32[8], n: sym[0, 8]):
    with t = alloc(f32[8], scratch):
        for j in range(8):
            if j < 8:
                t[j] = 0.0:f32
        for i in range(8):
            if i < n:
                t[i] = x[i]
        for k in range(8):
            y[k] = t[k]
"""
ASSERTED = """\
def f(x: f32[8], y: out f32[8], n: sym[0, 8]):
    with t = alloc(f32[8], scratch):
        for i in range(8):
            if i < n:
                assert x[i] < 100.0:f32, "large"
                t[i] = x[i]
        for k in range(n):
            y[k] = t[k]
"""
UNINITIALISED = """\
def f(x: f32[8], y: out f32[8], n: sym[0, 8]):
    with t = alloc(f32[8], scratch):
        for i in range(8):
            if i < n:
                t[i] = x[i]
        for k in range(n):
            y[k] = t[k]
"""


@pytest.mark.parametrize("text", [GUARDED_SUM, REUSED, ASSERTED])
def test_relax_keeps_guards_that_matter(text: str) -> None:
    naive = parse_func(text)
    kept = scheduled(naive, "relax()")
    assert "if i < n:" in str(kept)
    check(naive, kept, {"n": 5})


def test_relax_drops_the_guard_of_elements_that_nobody_reads() -> None:
    naive = parse_func(UNINITIALISED)
    relaxed = scheduled(naive, "relax()")
    assert "if" not in str(relaxed)
    for n in (0, 1, 5, 8):
        check(naive, relaxed, {"n": n})


CHANGED_LATER = """\
def f(x: f32[8], y: out f32[8]):
    with t = alloc(f32[8], scratch):
        for i in range(8):
            y[i] = x[i]
        for a in range(8):
            t[a] = y[a] * 2.0:f32
        for j in range(8):
            y[j] = 0.0:f32
        for k in range(8):
            y[k] = t[k]
"""
MASKED = """\
def f(x: f32[8], y: out f32[8]):
    with t = alloc(f32[8], scratch):
        for a in range(8):
            t[a, mask=a < 5] = x[a]
        for k in range(5):
            y[k] = t[k]
"""
GUARDED_STORE = """\
def f(x: f32[8], y: out f32[8]):
    with t = alloc(f32[8], scratch):
        for a in range(8):
            if a < 5:
                t[a] = x[a]
        for k in range(5):
            y[k] = t[k]
"""


@pytest.mark.parametrize(
    ("text", "steps", "message"),
    [
        (CHANGED_LATER, "inline(t)", "inline: t: y, which it is computed from, changes later"),
        (CHANGED_LATER, "compute_at(t, k)", "compute_at: t: y, which it is computed from, changes"),
        (MASKED, "inline(t)", "inline: t: it is computed by more than one store"),
        (GUARDED_STORE, "inline(t)", "inline: t: it is computed by more than one store"),
    ],
)
def test_moving_a_buffer_is_refused(text: str, steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        scheduled(parse_func(text), steps)
    assert message in str(error.value)


TRIANGLE = """\
def f(x: f32[8, 8], y: out f32[8]):
    for i in range(8):
        y[i] = 7.0:f32
        for k in range(i):
            y[i] <sum[f32]>= x[i, k]
"""


def test_specialize_keeps_what_stands_beside_a_loop_of_no_iterations() -> None:
    naive = parse_func(TRIANGLE)
    check(naive, scheduled(naive, "specialize(k)"), {})


def test_loops_whose_length_depends_on_one_another_do_not_trade_places() -> None:
    with pytest.raises(ScheduleError):
        scheduled(parse_func(TRIANGLE), "reorder(k, i)")
    with pytest.raises(ScheduleError, match="names no loop"):
        scheduled(parse_func(TRIANGLE), "reorder()")
