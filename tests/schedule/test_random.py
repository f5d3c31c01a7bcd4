"""Random schedules: whatever the primitives accept, the result is that of the naive loops."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tc import te
from tc.errors import ScheduleError
from tc.ir.loop import Alloc, For, Func, Seq
from tc.ir.lower import lower
from tc.ir.visit import sub_stmts
from tc.schedule.apply import apply_step
from tc.schedule.rewrite import loops
from tc.schedule.split import TAILS
from tc.schedule.step import Schedule, Step
from tests.schedule import kernels
from tests.schedule.running import check

N = te.sym("N", 0, 64)
M = te.sym("M", 1, 64)


def attention(s: te.DimLike, d: int) -> Func:
    q, k, v = (te.placeholder((2, s, d)) for _ in range(3))
    c = te.reduce_axis(d)
    a = te.compute((2, s, s), lambda h, i, j: te.sum(q[h, i, c] * k[h, j, c], axis=c))
    j1, j2, j3 = (te.reduce_axis(s) for _ in range(3))
    top = te.compute((2, s), lambda h, i: te.max(a[h, i, j1], axis=j1))
    e = te.compute((2, s, s), lambda h, i, j: te.exp(a[h, i, j] - top[h, i]))
    total = te.compute((2, s), lambda h, i: te.sum(e[h, i, j2], axis=j2))
    out = te.compute(
        (2, s, d), lambda h, i, x: te.sum(e[h, i, j3] * v[h, j3, x], axis=j3) / total[h, i]
    )
    return lower((out,))


def unfused_matmul(m: te.DimLike, k: int, n: int) -> Func:
    a, b, c = te.placeholder((m, k)), te.placeholder((k, n)), te.placeholder((n,))
    r = te.reduce_axis(k)
    t = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r))
    return lower((te.compute((m, n), lambda i, j: te.maximum(t[i, j] + c[j], 0.0)),))


def gather(m: te.DimLike, n: int) -> Func:
    table, ids = te.placeholder((5, n)), te.placeholder((m,), te.I64)
    t = te.compute((m, n), lambda i, j: table[ids[i], j])
    return lower((te.compute((m, n), lambda i, j: t[i, j] * 2.0),))


def triangle(m: te.DimLike) -> Func:
    x = te.placeholder((m, m))

    def row(i: te.Expr) -> te.Expr:
        k = te.reduce_axis(i + 1)
        return te.sum(x[i, k], axis=k)

    return lower((te.compute((m,), row),))


def kernel(rng: random.Random) -> Func:
    def d() -> int:
        return rng.choice((1, 2, 3, 4, 5, 7, 8, 9))

    def m() -> te.DimLike:
        return rng.choice((M, N, d()))

    k = rng.choice((kernels.K, d()))
    makers: list[Callable[[], Func]] = [
        lambda: kernels.matmul(m(), k, d()),
        lambda: unfused_matmul(m(), d(), d()),
        lambda: kernels.softmax(m(), k),
        lambda: kernels.add(m(), k),
        lambda: kernels.pair(m()),
        lambda: kernels.two_steps(m(), d()),
        lambda: kernels.window(rng.choice((M, d())), d()),
        lambda: attention(rng.choice((M, d())), d()),
        lambda: kernels.argmax(m(), k),
        lambda: kernels.welford(m(), k),
        lambda: kernels.online_softmax(m(), k),
        lambda: kernels.attention(m(), k, 2, rng.random() < 0.5, rng.choice((0, 2))),
        lambda: kernels.masked_max(m(), k),
        lambda: kernels.padded(rng.choice((M, 3, 5))),
        lambda: kernels.scan(m(), d()),
        lambda: kernels.scatter(m(), d()),
        lambda: gather(m(), d()),
        lambda: kernels.experts(m(), k, d()),
        lambda: triangle(rng.choice((M, d()))),
    ]
    return rng.choice(makers)()


def random_step(rng: random.Random, func: Func) -> Step:
    """A step over loops and buffers that exist, though it may not be legal."""
    nests = list(loops(func.body))
    names = list(dict.fromkeys(x.var.name for x in nests)) or ["none"]
    local = [s.buffer.name for s in sub_stmts(func.body) if isinstance(s, Alloc)] or ["none"]
    params = [p.name for p in func.params]
    loop, factor = rng.choice(names), rng.choice((1, 2, 3, 4, 8))
    tail = rng.choice(TAILS)
    scope = rng.choice(("scratch", "register"))
    path = [y.var.name for y in loops(rng.choice(nests))] if nests else names
    nested = [(x.var.name, x.body.var.name) for x in nests if isinstance(x.body, For)]
    pairs = [
        (a.var.name, b.var.name)
        for s in sub_stmts(func.body)
        if isinstance(s, Seq)
        for a, b in zip(s.body, s.body[1:], strict=False)
        if isinstance(a, For) and isinstance(b, For)
    ]
    other = rng.choice(names)
    order = rng.sample(list(dict.fromkeys(path)), rng.randint(1, len(dict.fromkeys(path))))
    choices = [
        Step("split", (loop, factor), (("tail", tail),)),
        Step("tile", (loop, other, factor, 2), (("tail", tail),)),
        Step("fuse", (*rng.choice(nested or [(loop, other)]), rng.choice(("f", "g", loop + "f")))),
        Step("merge", rng.choice(pairs or [(loop, other)])),
        Step("reorder", tuple(order)),
        Step("reorder", tuple(reversed(path[:2]))),
        Step("unroll", (loop,)),
        Step("vectorize", (loop, factor)),
        Step("parallel", (names[0],)),
        Step("compute_at", (rng.choice(local), loop), (("scope", scope),)),
        Step("inline", (rng.choice(local),)),
        Step("cache", (rng.choice(params), loop), (("pad", factor), ("swap", rng.choice((0, 1))))),
        Step("relax"),
        Step("rfactor", (loop, factor), (("rows", rng.choice((1, 2, 3))),)),
        Step("specialize", (loop,)),
        Step("prefetch", (rng.choice(params), *path), (("lines", rng.choice((1, 2))),)),
        Step("stage", (rng.choice(local),)),
        Step("partial", (rng.choice(local), loop, factor)),
        Step("online", (rng.choice(names), *path[-2:][:1], path[-1]), (("block", factor - 1),)),
        Step("online", ("r", "i", "e"), (("block", factor - 1),)),
        Step("narrow", (rng.choice(names), loop)),
        Step("permute", (rng.choice(local), *rng.choice(((1, 0), (0, 2, 1), (1, 0, 2))))),
        Step("uniform", (loop,)),
        Step("agree", (loop, rng.choice(params))),
        Step("streams", (loop, factor)),
        Step("zigzag", (loop,)),
    ]
    return rng.choice(choices)


@pytest.mark.slow
@settings(max_examples=90)
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_schedule_that_is_accepted_keeps_the_result(rng: random.Random, length: int) -> None:
    naive = func = kernel(rng)
    done = Schedule()
    for _ in range(length):
        step = random_step(rng, func)
        try:
            func = apply_step(func, step)
        except ScheduleError:
            continue
        done = Schedule((*done.steps, step))
    assert Schedule.parse(str(done)) == done
    for _ in range(2):
        sizes = {s.name: max(s.lo, rng.choice((0, 1, 2, 3, 4, 5, 7, 8, 9))) for s in naive.symbols}
        check(naive, func, sizes)
