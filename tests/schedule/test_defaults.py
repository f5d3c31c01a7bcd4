"""The default schedule of each family: it applies, and the result is that of the naive loops."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tc import te
from tc.ir import monoid as monoids
from tc.ir.lower import lower
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.schedule.defaults.tiles import register_tile
from tc.schedule.pack import packings
from tc.target import Target
from tests.schedule.running import assert_same, packed, results, turned, wanted

# What machines with wider vectors have is compiled and run in test_wide.py.
TARGETS = ("x86-64-v3", "arm-neon", "generic")
Group = tuple[tuple[te.Tensor, ...], tuple[te.Placeholder, ...], frozenset[str]]
M = te.sym("M", 1, 512)
S = te.sym("S", 1, 512)


def group(outputs: Any, inputs: Any, constants: Any = ()) -> Group:
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return outputs, tuple(inputs), frozenset(t.name for t in constants)


def linear(b: te.DimLike, s: te.DimLike, k: int, n: int) -> Group:
    x, w, bias = te.placeholder((b, s, k)), te.placeholder((n, k)), te.placeholder((n,))
    c = te.reduce_axis(k)
    y = te.compute((b, s, n), lambda i, j, o: te.sum(x[i, j, c] * w[o, c], axis=c) + bias[o])
    return group(y, (x, w, bias), (w,))


def linear_rows(b: te.DimLike, k: int, n: int) -> Group:
    x, w = te.placeholder((b, k)), te.placeholder((n, k))
    c = te.reduce_axis(k)
    return group(te.compute((b, n), lambda i, o: te.sum(x[i, c] * w[o, c], axis=c)), (x, w), (w,))


def columns_by_columns(b: int, k: int, n: int) -> Group:
    x, w = te.placeholder((k, b)), te.placeholder((k, n))
    c = te.reduce_axis(k)
    return group(te.compute((b, n), lambda i, o: te.sum(x[c, i] * w[c, o], axis=c)), (x, w), (w,))


def linear_kn(b: te.DimLike, k: int, n: int) -> Group:
    x, w = te.placeholder((b, k)), te.placeholder((k, n))
    c = te.reduce_axis(k)
    y = te.compute((b, n), lambda i, o: te.maximum(te.sum(x[i, c] * w[c, o], axis=c), 0.0))
    return group(y, (x, w), (w,))


def experts(m: te.DimLike, k: int, n: int) -> Group:
    """Each row with its matrix of three."""
    x, w, g = te.placeholder((m, k)), te.placeholder((3, n, k)), te.placeholder((m,), te.I64)
    c = te.reduce_axis(k)
    y = te.compute(
        (m, n), lambda i, o: te.sum(x[i, c] * w[te.minimum(te.maximum(g[i], 0), 2), o, c], axis=c)
    )
    return group(y, (x, w, g), (w,))


def windows(c: int, n: te.DimLike, k: int, stride: int) -> Group:
    """A convolution of each channel by itself."""
    x, w = te.placeholder((c, n)), te.placeholder((c, k))
    t = te.reduce_axis(k)
    y = te.compute(
        (c, (n - k) // stride + 1), lambda i, j: te.sum(x[i, j * stride + t] * w[i, t], axis=t)
    )
    return group(y, (x, w), (w,))


def cut_off(m: te.DimLike, n: int, span: int) -> Group:
    """As in groups of `span` columns, of which the last is not whole."""
    x, w = te.placeholder((m, 4, 3)), te.placeholder((n, 3))
    c = te.reduce_axis(3)
    y = te.compute((m, n), lambda i, j: te.sum(x[i, j // span, c] * w[j, c], axis=c))
    return group(y, (x, w), (w,))


def mm(m: te.DimLike, k: int, n: te.DimLike, across: bool = False) -> Group:
    """A product of two matrices that are no constants, the second one's columns apart or not."""
    x, w = te.placeholder((m, k)), te.placeholder((n, k) if across else (k, n))
    c = te.reduce_axis(k)
    y = te.compute((m, n), lambda i, j: te.sum(x[i, c] * (w[j, c] if across else w[c, j]), axis=c))
    return group(y, (x, w))


def by_heads(h: int, m: te.DimLike, k: int, n: int) -> Group:
    """Rows of each head by a constant matrix of its own."""
    x, w = te.placeholder((h, m, k)), te.placeholder((h, k, n))
    c = te.reduce_axis(k)
    y = te.compute((h, m, n), lambda b, i, j: te.sum(x[b, i, c] * w[b, c, j], axis=c))
    return group(y, (x, w), (w,))


def in_groups(n: te.DimLike, groups: int, c: int, o: int, k: int) -> Group:
    """A convolution of each of `groups` of c channels, to as many of o channels."""
    x, w = te.placeholder((groups * c, n)), te.placeholder((groups * o, c, k))
    r, t = te.reduce_axis(c), te.reduce_axis(k)
    y = te.compute(
        (groups * o, n - k + 1),
        lambda i, j: te.sum(x[i // o * c + r, j + t] * w[i, r, t], axis=(r, t)),
    )
    return group(y, (x, w), (w,))


def matmul(b: te.DimLike, h: int, i: te.DimLike, k: te.DimLike, j: te.DimLike) -> Group:
    x, y = te.placeholder((b, h, i, k)), te.placeholder((b, h, k, j))
    c = te.reduce_axis(k)
    z = te.compute((b, h, i, j), lambda n, m, p, q: te.sum(x[n, m, p, c] * y[n, m, c, q], axis=c))
    return group(z, (x, y))


def scores(h: int, s: te.DimLike, d: int) -> Group:
    q, k = te.placeholder((1, h, s, d)), te.placeholder((1, h, s, d))
    c = te.reduce_axis(d)
    z = te.compute((1, h, s, s), lambda b, n, i, j: te.sum(q[b, n, i, c] * k[b, n, j, c], axis=c))
    return group(z, (q, k))


def layer_norm(b: te.DimLike, n: int) -> Group:
    x, r = te.placeholder((b, 3, n)), te.placeholder((b, 3, n))
    g, o = te.placeholder((n,)), te.placeholder((n,))
    w = monoids.welford_of()
    k = te.reduce_axis(n)
    y = te.compute((b, 3, n), lambda i, s, j: x[i, s, j] + r[i, s, j])

    def fold(i: te.Expr, s: te.Expr, result: Callable[..., te.Expr]) -> te.Expr:
        return te.reduce(w, (y[i, s, k], te.const(0.0), te.const(1.0)), k, result)

    mean = te.compute((b, 3), lambda i, s: fold(i, s, lambda m, _, __: m))
    var = te.compute((b, 3), lambda i, s: fold(i, s, lambda _, v, c: v / c))
    z = te.compute(
        (b, 3, n),
        lambda i, s, j: (y[i, s, j] - mean[i, s]) * te.rsqrt(var[i, s] + 1.0) * g[j] + o[j],
    )
    return group((y, z), (x, r, g, o))


def rms_norm(b: te.DimLike, n: int) -> Group:
    x, g = te.placeholder((b, n)), te.placeholder((n,))
    k = te.reduce_axis(n)
    s = te.compute((b,), lambda i: te.sum(x[i, k] * x[i, k], axis=k))
    y = te.compute((b, n), lambda i, j: x[i, j] * te.rsqrt(s[i] / float(n) + 1.0) * g[j])
    return group(y, (x, g))


def softmax(b: te.DimLike, n: te.DimLike) -> Group:
    x = te.placeholder((b, n))
    k, q = te.reduce_axis(n), te.reduce_axis(n)
    m = te.compute((b,), lambda i: te.max(x[i, k], axis=k))
    e = te.compute((b, n), lambda i, j: te.exp(x[i, j] - m[i]))
    s = te.compute((b,), lambda i: te.sum(e[i, q], axis=q))
    return group(te.compute((b, n), lambda i, j: e[i, j] / s[i]), (x,))


def attention(
    h: int, s: te.DimLike, t: te.DimLike, d: int, mask: str = "none", groups: int = 1, b: Any = 1
) -> Group:
    kv = h // groups
    q = te.placeholder((b, h, s, d))
    k, v = te.placeholder((b, kv, t, d)), te.placeholder((b, kv, t, d))
    add = te.placeholder((b, 1, s, t))
    c = te.reduce_axis(d)
    j1, j2, j3 = (te.reduce_axis(t) for _ in range(3))

    def score(n: te.Expr, m: te.Expr, i: te.Expr, j: te.Expr) -> te.Expr:
        x = te.sum(q[n, m, i, c] * k[n, m // groups, j, c], axis=c) * 0.5
        if mask == "causal":
            return te.where(j <= i, x, float("-inf"))
        return x + add[n, 0, i, j] if mask == "additive" else x

    a = te.compute((b, h, s, t), score)
    top = te.compute((b, h, s), lambda n, m, i: te.max(a[n, m, i, j1], axis=j1))
    e = te.compute((b, h, s, t), lambda n, m, i, j: te.exp(a[n, m, i, j] - top[n, m, i]))
    den = te.compute((b, h, s), lambda n, m, i: te.sum(e[n, m, i, j2], axis=j2))
    o = te.compute(
        (b, h, s, d),
        lambda n, m, i, x: (
            te.sum(e[n, m, i, j3] * v[n, m // groups, j3, x], axis=j3) / den[n, m, i]
        ),
    )
    return group(o, (q, k, v, add) if mask == "additive" else (q, k, v))


def gelu(b: te.DimLike, n: te.DimLike) -> Group:
    x = te.placeholder((b, n))
    return group(te.compute((b, n), lambda i, j: x[i, j] * 0.5 * (te.erf(x[i, j]) + 1.0)), (x,))


def nothing(b: te.DimLike, n: te.DimLike) -> Group:
    x = te.placeholder((b, 0, n))
    return group(te.compute((b, 0, n), lambda i, j, k: x[i, j, k] * 2.0), (x,))


def bias_broadcast(b: te.DimLike, n: int) -> Group:
    x, y, z = te.placeholder((b, 3, n)), te.placeholder((n,)), te.placeholder((b, 1, 1))
    return group(
        te.compute((b, 3, n), lambda i, s, j: te.maximum(x[i, s, j] + y[j] * z[i, 0, 0], 0.0)),
        (x, y, z),
    )


def two_maps(b: te.DimLike, n: int) -> Group:
    x = te.placeholder((b, n))
    t = te.compute((b, n), lambda i, j: x[i, j] * 2.0)
    outs = (
        te.compute((b, n), lambda i, j: t[i, j] + 1.0),
        te.compute((b, n), lambda i, j: t[i, j] * x[i, j]),
    )
    return group(outs, (x,))


def mean_dim1(b: te.DimLike, s: te.DimLike, n: int) -> Group:
    x = te.placeholder((b, s, n))
    k = te.reduce_axis(s)
    count = te.cast(te.wrap(s), te.F32)
    return group(te.compute((b, n), lambda i, j: te.sum(x[i, k, j], axis=k) / count), (x,))


def argmax(b: te.DimLike, n: te.DimLike) -> Group:
    x = te.placeholder((b, n))
    k = te.reduce_axis(n)
    return group(te.compute((b,), lambda i: te.argmax(x[i, k], axis=k)), (x,))


def total(b: te.DimLike, n: int) -> Group:
    x = te.placeholder((b, n))
    i, j = te.reduce_axis(b), te.reduce_axis(n)
    return group(te.compute((), lambda: te.sum(x[i, j], axis=(i, j))), (x,))


def embedding(b: te.DimLike, n: int) -> Group:
    table, ids = te.placeholder((7, n)), te.placeholder((b, 3), te.I64)
    return group(te.compute((b, 3, n), lambda i, s, j: table[ids[i, s], j]), (table, ids), (table,))


def transpose(b: te.DimLike, s: te.DimLike, n: int) -> Group:
    x = te.placeholder((b, s, n))
    return group(te.compute((b, n, s), lambda i, j, k: x[i, k, j]), (x,))


def cumsum(b: te.DimLike, n: te.DimLike) -> Group:
    x = te.placeholder((b, n))
    return group(te.scan((b, n), lambda i, j: x[i, j], 1), (x,))


def scatter(b: te.DimLike, n: int) -> Group:
    base, ids, x = te.placeholder((n,)), te.placeholder((b,), te.I64), te.placeholder((b,))
    return group(
        te.scatter(base, (b,), lambda i: ((ids[i] % n,), x[i]), monoids.sum_of()), (base, ids, x)
    )


CASES: dict[str, Callable[[], Group]] = {
    "linear": lambda: linear(M, S, 5, 17),
    "linear one column": lambda: linear(M, S, 3, 1),
    "linear k=1": lambda: linear(M, S, 1, 33),
    "linear rows": lambda: linear_rows(M, 7, 65),
    "linear static": lambda: linear_rows(7, 13, 41),
    "linear one row": lambda: linear_rows(1, 13, 41),
    "columns by columns": lambda: columns_by_columns(37, 5, 33),
    "columns of nothing": lambda: columns_by_columns(37, 0, 33),
    "linear kn": lambda: linear_kn(M, 6, 31),
    "experts": lambda: experts(M, 6, 31),
    "experts static": lambda: experts(9, 5, 16),
    "experts one row": lambda: experts(1, 3, 1),
    "mm": lambda: mm(40, 7, 50),
    "mm symbolic": lambda: mm(M, 3, S),
    "mm across": lambda: mm(40, 5, 35, True),
    "mm across symbolic": lambda: mm(M, 3, S, True),
    "by heads": lambda: by_heads(2, M, 5, 33),
    "matmul": lambda: matmul(M, 2, S, 5, 9),
    "matmul symbolic k, j": lambda: matmul(1, 1, M, S, S),
    "matmul static": lambda: matmul(1, 2, 3, 4, 5),
    "q k^T": lambda: scores(2, S, 6),
    "layer norm": lambda: layer_norm(M, 37),
    "layer norm n=1": lambda: layer_norm(M, 1),
    "rms norm": lambda: rms_norm(M, 130),
    "rms norm static": lambda: rms_norm(1, 3),
    "nothing": lambda: nothing(M, 33),
    "softmax": lambda: softmax(M, S),
    "softmax static": lambda: softmax(3, 65),
    "attention": lambda: attention(2, S, S, 5),
    "attention batch": lambda: attention(1, S, S, 8, b=M),
    "attention causal": lambda: attention(1, S, S, 16, "causal"),
    "attention additive": lambda: attention(1, S, M, 4, "additive"),
    "attention GQA": lambda: attention(4, S, M, 3, "none", 2),
    "attention one query": lambda: attention(2, 1, S, 4),
    "attention static": lambda: attention(1, 9, 9, 4),
    "gelu": lambda: gelu(M, S),
    "gelu static": lambda: gelu(5, 33),
    "bias": lambda: bias_broadcast(M, 19),
    "bias n=1": lambda: bias_broadcast(M, 1),
    "two maps": lambda: two_maps(M, 6),
    "mean dim 1": lambda: mean_dim1(M, S, 18),
    "mean dim 1, n=1": lambda: mean_dim1(M, S, 1),
    "rows of all places but one": lambda: linear(S, M - 1, 24, 5),
    "windows": lambda: windows(2, M + 6, 3, 1),
    "windows in strides": lambda: windows(1, 2 * M + 6, 4, 2),
    "groups": lambda: in_groups(M + 2, 2, 3, 8, 3),
    "groups of a vector and a half": lambda: in_groups(M, 3, 2, 12, 1),
    "groups of odd width": lambda: in_groups(M + 1, 2, 4, 7, 2),
    "groups cut off": lambda: cut_off(M, 20, 8),
    "a group cut off": lambda: cut_off(M, 12, 16),
    "argmax": lambda: argmax(M, S),
    "argmax static": lambda: argmax(2, 70),
    "total": lambda: total(M, 5),
    "embedding": lambda: embedding(M, 9),
    "transpose": lambda: transpose(M, S, 5),
    "cumsum": lambda: cumsum(M, S),
    "scatter": lambda: scatter(M, 5),
}


def sizes_for(target: Target) -> list[int]:
    """One, a part of a vector, and a vector and a part."""
    lanes = target.vector_lanes(32)
    return [1, min(lanes - 1, 5), lanes + 1]


def marked(name: str, where: str) -> Any:
    """Interpreting takes seconds: a quick run looks at one target, and not at attention."""
    slow = where != "x86-64-v3" or name.startswith(("attention", "layer norm"))
    return pytest.param(name, where, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("name", "where"), [marked(n, w) for w in TARGETS for n in CASES])
def test_default(name: str, where: str) -> None:
    target = Target.parse(where)
    outputs, inputs, constants = CASES[name]()
    naive = lower(outputs, inputs)
    schedule = default_schedule(outputs, inputs, constants, target)
    func = apply(naive, schedule)
    names = [s.name for s in naive.symbols]
    sizes = sizes_for(target)
    for n, size in enumerate(sizes if names else [1]):
        # The other symbol goes the other way, so that both extremes meet both.
        symbols = dict(zip(names, (size, (4, 2, 1)[n]), strict=False))
        arrays, want = wanted(naive, symbols, high=3)
        given = dict(arrays)
        for p in packings(schedule):
            given[p.buffer] = packed(given[p.buffer], p)
        told = f"{symbols}\n{schedule}\n{func}"
        assert_same(results(func, given, symbols), want, told)
        if n == 1:
            assert_same(results(turned(func), given, symbols), want, "turned " + told)


@pytest.mark.parametrize(
    ("width", "factor"), [(48, 24), (64, 16), (56, 8), (16, 16), (12, 12), (4, 4), (7, None)]
)
def test_groups_of_channels_are_products(width: int, factor: int | None) -> None:
    """Columns of each are whole vectors, of which there may be more than one in a tile."""
    outputs, inputs, constants = in_groups(M + 2, 3, 8, width, 3)
    text = str(default_schedule(outputs, inputs, constants, Target.parse("x86-64-v3")))
    assert (f"pack(p1, 0, {factor})" in text) is (factor is not None), text


@pytest.mark.parametrize(
    ("made", "step"),
    [
        (mm(512, 512, 512), "cache(p1, j0, along=j1, pad=16, swap=0)"),
        (mm(M, 512, 512), "cache(p1, j0, along=j1, least=2, over=i0, pad=16, swap=0)"),
        (mm(512, 512, 512, True), "cache(p1, j0, along=j1, pad=16, swap=1)"),
        (mm(4, 512, 512), None),  # each element is met once
        (mm(4, 512, 512, True), None),
        (mm(16, 64, 64), None),  # the L1 cache has it all
        (by_heads(3, 64, 512, 512), None),  # packed
    ],
)
def test_blocks_of_a_matrix_that_many_rows_meet_are_copied(made: Group, step: str | None) -> None:
    text = str(default_schedule(*made, Target.parse("x86-64-v3")))
    assert step in text if step else "cache(" not in text, text


@pytest.mark.parametrize(("depth", "sums"), [(1024, None), (1536, 768), (2048, 1024), (3072, 1024)])
def test_sums_in_blocks_where_the_next_block_would_not_fit_beside_this(
    depth: int, sums: int | None
) -> None:
    made = linear(M, 1, depth, 384)
    text = str(default_schedule(*made, Target.parse("x86-64-v3 l2=512K")))
    assert f"partial(out0_acc, k, {sums})" in text if sums else "partial" not in text, text


def test_lines_pass_within_a_group_where_its_weights_are_large() -> None:
    x, w = te.placeholder((1, 256, 16, 16)), te.placeholder((256, 128, 3, 3))
    r, i, j = (te.reduce_axis(n) for n in (128, 3, 3))
    y = te.compute(
        (1, 256, 14, 14),
        lambda b, o, h, v: te.sum(
            x[b, o // 128 * 128 + r, h + i, v + j] * w[o, r, i, j], (r, i, j)
        ),
    )
    text = str(default_schedule((y,), (x, w), frozenset({w.name}), Target.parse("x86-64-v3")))
    assert text.endswith("parallel(b) parallel(o0) parallel(o10) parallel(h) parallel(v0)"), text


@pytest.mark.parametrize("heavy", [False, True])
def test_maps_of_short_steps_take_several_vectors_at_once(heavy: bool) -> None:
    x = te.placeholder((512, 768))
    y = te.compute((512, 768), lambda i, j: te.exp(x[i, j]) if heavy else x[i, j] * 2.0 + 1.0)
    text = str(default_schedule(*group(y, (x,)), Target.parse("x86-64-v3")))
    assert ("unroll(e11)" in text) is not heavy, text


def test_rows_with_one_matrix_are_multiplied_together() -> None:
    outputs, inputs, constants = experts(M, 64, 64)
    text = str(default_schedule(outputs, inputs, constants, Target.parse("x86-64-v3")))
    assert "agree(" in text and "pack(p1, 1, 24)" in text


@pytest.mark.parametrize("where", TARGETS)
def test_threads_write_apart_where_rows_are_all_places_but_one(where: str) -> None:
    outputs, inputs, constants = linear(S, M - 1, 520, 20)
    schedule = default_schedule(outputs, inputs, constants, Target.parse(where))
    assert "parallel" in str(schedule)
    apply(lower(outputs, inputs), schedule)  # refuses what may touch one element twice


@pytest.mark.parametrize(("rows", "asked"), [(1024, True), (16, False), (te.sym("R", 1), True)])
def test_rows_from_beyond_the_caches_are_asked_for_ahead(rows: te.DimLike, asked: bool) -> None:
    outputs, inputs, constants = linear_rows(rows, 768, 96)
    schedule = default_schedule(outputs, inputs, constants, Target.parse("x86-64-v3"))
    assert ("prefetch(p0, " in str(schedule)) is asked, schedule


@pytest.mark.parametrize(
    ("rows", "lines"), [(4, 2), (8, 4), (16, 2), (24, 1), (1024, 1), (te.sym("R", 1), 2)]
)
def test_each_tile_asks_for_its_part_of_the_next_block(rows: te.DimLike, lines: int) -> None:
    """A body of four steps reads six lines of a block of 24 columns."""
    text = str(default_schedule(*linear_rows(rows, 768, 96), Target.parse("x86-64-v3")))
    (asked,) = re.findall(r"prefetch\(p1, [^)]*lines=(\d+)\)", text)
    assert int(asked) == lines, text


def test_of_what_one_row_streams_nothing_far_is_asked_for() -> None:
    target = Target.parse("x86-64-v3")
    for rows, asked in ((1, False), (2, True)):
        schedule = default_schedule(*linear_rows(rows, 768, 96), target)
        assert ("prefetch(p1, " in str(schedule)) is asked, schedule


@pytest.mark.parametrize(
    ("rows", "depth", "columns", "tile"),
    [(512, 512, 512, (6, 16)), (64, 1024, 512, (4, 24)), (64, 1024, 128, (6, 16)),
     (128, 768, 768, (4, 24))],
)  # fmt: skip
def test_tiles_leave_few_columns_over_and_their_rows_do_not_collide(
    rows: int, depth: int, columns: int, tile: tuple[int, int]
) -> None:
    text = str(default_schedule(*linear_kn(rows, depth, columns), Target.parse("x86-64-v3")))
    assert f"split(i, {tile[0]}, " in text and f"split(o, {tile[1]}, " in text, text


def test_one_row_has_accumulators_enough_whatever_the_width_of_vectors() -> None:
    def tile(target: str, rows: int) -> tuple[int, int]:
        found = register_tile(Target.parse(target), 32, rows, 3072)
        return found.mr, found.nr

    assert tile("arm-neon", 1) == (1, 48)
    assert tile("arm-neon", 2) == (2, 32)
    assert tile("arm-neon", 3) == (3, 16)
    assert tile("x86-64-v3", 1) == (1, 32)  # 8 vectors do not fit beside their accumulators
    assert tile("x86-64-v4", 1) == (1, 64)


@pytest.mark.parametrize(
    ("length", "rows"), [(24, 1), (64, 4), (384, 4), (512, 8), (2048, 8), (te.sym("C"), 4)]
)
def test_a_long_row_has_sums_enough_for_both_units(length: te.DimLike, rows: int) -> None:
    x, c = te.placeholder((te.sym("R"), length)), te.reduce_axis(length)
    outputs, inputs, constants = group(
        te.compute((te.sym("R"),), lambda i: te.sum(x[i, c], axis=c)), (x,)
    )
    schedule = str(default_schedule(outputs, inputs, constants, Target.parse("x86-64-v3")))
    assert f"rfactor(k, 8, rows={rows})" in schedule, schedule
