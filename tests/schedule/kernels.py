"""Small tensor expressions that the tests of the primitives schedule."""

from __future__ import annotations

from tc import te
from tc.ir import monoid as monoids
from tc.ir.expr import Let, Var
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.types import F32

N = te.sym("N", 0, 64)
M = te.sym("M", 1, 64)
K = te.sym("K", 1, 64)


def double(n: te.DimLike = N) -> Func:
    """A map of one axis."""
    x = te.placeholder((n,))
    return lower((te.compute((n,), lambda i: x[i] * 2.0),))


def add(n: te.DimLike = N, m: te.DimLike = 5) -> Func:
    """A map of two axes."""
    x, y = te.placeholder((n, m)), te.placeholder((m,))
    return lower((te.compute((n, m), lambda i, j: x[i, j] + y[j]),))


def total(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    """Sums of rows."""
    x, r = te.placeholder((n, k)), te.reduce_axis(k)
    return lower((te.compute((n,), lambda i: te.sum(x[i, r], axis=r)),))


def matmul(m: te.DimLike = M, k: te.DimLike = 3, n: te.DimLike = 5) -> Func:
    """A product with an epilogue."""
    a, b, c = te.placeholder((m, k)), te.placeholder((k, n)), te.placeholder((n,))
    r = te.reduce_axis(k)
    out = te.compute((m, n), lambda i, j: te.maximum(te.sum(a[i, r] * b[r, j], axis=r) + c[j], 0.0))
    return lower((out,))


def half_weights(m: te.DimLike = M, k: te.DimLike = 3, n: te.DimLike = 5) -> Func:
    """A product whose second factor is converted at every access."""
    a, b = te.placeholder((m, k)), te.placeholder((k, n), "f16")
    r = te.reduce_axis(k)
    out = te.compute((m, n), lambda i, j: te.sum(a[i, r] * te.cast(b[r, j], "f32"), axis=r))
    return lower((out,))


def experts(m: te.DimLike = M, k: te.DimLike = 3, n: te.DimLike = 5) -> Func:
    """Each row times one of three matrices, whose number is data."""
    x, w, g = te.placeholder((m, k)), te.placeholder((3, k, n)), te.placeholder((m,), te.I64)

    def element(i: te.Expr, j: te.Expr) -> te.Expr:
        r = te.reduce_axis(k)
        return te.sum(x[i, r] * w[te.minimum(te.maximum(g[i], 0), 2), r, j], axis=r)

    return lower((te.compute((m, n), element),))


def two_steps(n: te.DimLike = M, m: te.DimLike = 4) -> Func:
    """An intermediate t0 that the output reads where it was computed."""
    x = te.placeholder((n, m))
    t = te.compute((n, m), lambda a, b: te.exp(x[a, b]))
    return lower((te.compute((n, m), lambda i, j: t[i, j] + x[i, j]),))


def named_place(n: int = 8) -> Func:
    """A limit and a place that a name is part of, which nothing outside of the element knows."""
    x, ids, v = te.placeholder((n,)), te.placeholder((n,), te.I64), Var("v")

    def element(i: te.Expr) -> te.Expr:
        found = x[te.minimum(te.maximum(ids[i] + v, 0), n - 1)]
        return Let(v, ids[i] + 1, te.select(i + v < n, found, 0.0))

    return lower((te.compute((n,), element),))


def window(n: te.DimLike = M, k: int = 3) -> Func:
    """An intermediate t0 that each output reads in several places: a sliding sum."""
    x, r = te.placeholder((n,)), te.reduce_axis(k)
    t = te.compute(
        (n + (k - 1),), lambda a: te.select(a < n, x[te.minimum(a, te.wrap(n) - 1)] * 2.0, 0.0)
    )
    return lower((te.compute((n,), lambda i: te.sum(t[i + r], axis=r)),))


def softmax(n: te.DimLike = M, m: te.DimLike = K) -> Func:
    x = te.placeholder((n, m))
    k, q = te.reduce_axis(m), te.reduce_axis(m)
    top = te.compute((n,), lambda a: te.max(x[a, k], axis=k))
    e = te.compute((n, m), lambda b, c: te.exp(x[b, c] - top[b]))
    s = te.compute((n,), lambda d: te.sum(e[d, q], axis=q))
    return lower((te.compute((n, m), lambda i, j: e[i, j] / s[i]),))


def bound_name(n: te.DimLike = M, m: te.DimLike = K) -> Func:
    """An intermediate t0 whose result has a Let: its variable is no loop's."""
    x, k = te.placeholder((n, m)), te.reduce_axis(m)

    def top(a: te.Expr) -> te.Expr:
        found = te.max(x[a, k], axis=k)
        v = Var("v", F32)
        return Let(v, found, te.select(v > 0.0, v, v * v))

    t = te.compute((n,), top)
    return lower((te.compute((n, m), lambda i, j: x[i, j] - t[i]),))


def pair(n: te.DimLike = N) -> Func:
    """Two outputs of one shape."""
    x = te.placeholder((n,))
    outs = (te.compute((n,), lambda i: x[i] + 1.0), te.compute((n,), lambda j: x[j] * 2.0))
    return lower(outs)


def argmax(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    x, r = te.placeholder((n, k)), te.reduce_axis(k)
    return lower((te.compute((n,), lambda i: te.argmax(x[i, r], axis=r)),))


def welford(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    x, r = te.placeholder((n, k)), te.reduce_axis(k)

    def variance(i: te.Expr) -> te.Expr:
        lifted = (x[i, r], te.const(0.0), te.const(1.0))
        return te.reduce(monoids.welford_of(), lifted, r, lambda mean, m2, count: m2 / count + mean)

    return lower((te.compute((n,), variance),))


def online_softmax(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    s, v, r = te.placeholder((n, k)), te.placeholder((k,)), te.reduce_axis(k)

    def out(i: te.Expr) -> te.Expr:
        lifted = (s[i, r], te.const(1.0), v[r])
        return te.reduce(monoids.online_softmax_of(), lifted, r, lambda _, total, acc: acc / total)

    return lower((te.compute((n,), out),))


def attention(
    n: te.DimLike = M, m: te.DimLike = K, d: int = 3, causal: bool = False, window: int = 0
) -> Func:
    """An online softmax over scores that are products; values have 5 elements."""
    q, k, v = te.placeholder((n, d)), te.placeholder((m, d)), te.placeholder((m, 5))

    def score(i: te.Expr, j: te.Expr) -> te.Expr:
        c = te.reduce_axis(d, "c")
        x, low = te.sum(q[i, c] * k[j, c], c), float("-inf")
        if window:
            x = te.where(i - j < window, x, low)
        return te.where(j <= i, x, low) if causal else x

    s = te.compute((n, m), score)
    r = te.reduce_axis(m, "r")

    def out(i: te.Expr, e: te.Expr) -> te.Expr:
        states = (s[i, r], te.const(1.0), v[r, e])
        return te.reduce(
            monoids.online_softmax_of(), states, r,
            lambda _, total, acc: te.where(total > 0.0, acc / total, 0.0),
        )  # fmt: skip

    return lower((te.compute((n, 5), out),))


def unnormalised(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    """A product whose reduction is a plain sum."""
    x, y, r = te.placeholder((n, k)), te.placeholder((k, 5)), te.reduce_axis(k, "r")
    return lower((te.compute((n, 5), lambda i, e: te.sum(x[i, r] * y[r, e], axis=r)),))


def unfused(n: te.DimLike = M, m: te.DimLike = K) -> Func:
    """A map of two dims through a local buffer."""
    x = te.placeholder((n, m))
    t = te.compute((n, m), lambda i, j: x[i, j] * 2.0)
    return lower((te.compute((n, m), lambda i, j: te.maximum(t[i, j], 1.0) + x[i, j]),))


def masked_max(n: te.DimLike = M, k: te.DimLike = K) -> Func:
    """A maximum over what lies at most two places back."""
    x, r = te.placeholder((n, k)), te.reduce_axis(k, "r")

    def top(i: te.Expr) -> te.Expr:
        near = (r <= i) & (i <= r + 2)
        return te.max(te.where(near, x[i, r], float("-inf")), axis=r)

    return lower((te.compute((n,), lambda i: top(i)),))


def padded(n: te.DimLike = M, m: int = 8) -> Func:
    """Rows of zeros after those that there are."""
    x = te.placeholder((n, 3))
    return lower((te.compute((3, m), lambda i, j: te.where(j < n, x[j, i], 0.0)),))


def scan(n: te.DimLike = M, m: te.DimLike = 5) -> Func:
    x = te.placeholder((n, m))
    return lower((te.scan((n, m), lambda i, j: x[i, j], 1),))


def scatter(n: te.DimLike = M, m: int = 4) -> Func:
    """Duplicates fold in."""
    base, at, x = te.placeholder((m,)), te.placeholder((n,), te.I64), te.placeholder((n,))
    return lower((te.scatter(base, (n,), lambda i: ((at[i] % m,), x[i]), monoids.sum_of()),))
