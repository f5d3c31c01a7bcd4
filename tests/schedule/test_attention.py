"""Attention under its default schedules, against dense softmax in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tc
from tc import te
from tc.graph.inline import inlined
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F32
from tc.ops.attention import build_attention
from tests.schedule.running import machines

TARGETS = machines("host", "x86-64-v3", "generic")
# (batch, queries, keys): none, one, primes, a vector and its neighbours, several blocks.
SIZES = ((1, 1, 1), (2, 3, 7), (1, 15, 16), (1, 17, 17), (2, 37, 131), (1, 50, 260), (0, 5, 5))
# Which dims of (batch, heads, queries, keys) a mask has; the others are broadcast.
MASKS = {"keys": "b..k", "rows": "b.q.", "full": "b.qk", "bias": ".hqk", "tail": "...k"}

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """What is attended; `mask` is one of MASKS, of bool or `additive`, `causal` top or bottom."""

    heads: int = 2
    groups: int = 2
    depth: int = 16
    width: int = 16
    mask: str = ""
    additive: bool = False
    causal: str = ""
    window: int = 0
    queries: int = 0

    def __str__(self) -> str:
        return "_".join(f"{k}{v}" for k, v in vars(self).items() if v != vars(Variant())[k])


def expression(v: Variant) -> tuple[Tensor, ...]:
    b, n, m = te.sym("b", 0), te.sym("n"), te.sym("m", 0)
    rows: Any = v.queries or n
    q = te.placeholder((b, v.heads, rows, v.depth), F32, "q")
    k = te.placeholder((b, v.groups, m, v.depth), F32, "k")
    w = te.placeholder((b, v.groups, m, v.width), F32, "v")
    full: tuple[Any, ...] = (b, v.heads, rows, m)
    mask: Tensor | None = None
    if v.mask:
        shape = [d if c != "." else 1 for d, c in zip(full, MASKS[v.mask], strict=True)]
        mask = te.placeholder(shape, F32 if v.additive else BOOL, "mask")
    if v.causal or v.window:
        given, shift = mask, m - rows if v.causal == "bottom" else 0

        def seen(*at: te.Expr) -> te.Expr:
            i, j = at[2:]
            out = j <= i + shift
            if v.window:
                out = out & (i + shift - j < v.window)
            if given is None:
                return out
            return out & given[tuple(
                x if c != "." else 0 for x, c in zip(at, MASKS[v.mask], strict=True)
            )]  # fmt: skip

        mask = te.compute(full, lambda *at: seen(*at), te.fresh("seen"))
    made = build_attention(q, k, w, mask, 0.0, False, None, v.heads != v.groups)
    return inlined((made,))


def arrays(v: Variant, b: int, n: int, m: int) -> Arrays:
    rng = np.random.default_rng(n * m + v.depth)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    made: Arrays = {
        "q": normal(b, v.heads, n, v.depth),
        "k": normal(b, v.groups, m, v.depth),
        "v": normal(b, v.groups, m, v.width),
    }
    if v.mask:
        sizes = (b, v.heads, n, m)
        mask = normal(*(d if c != "." else 1 for d, c in zip(sizes, MASKS[v.mask], strict=True)))
        made["mask"] = mask if v.additive else mask < 0.8
    return made


def wanted(v: Variant, given: Arrays) -> Any:
    """In float64; 0 for a row that sees nothing."""
    q = given["q"].astype(float)
    n, m = q.shape[2], given["k"].shape[2]
    k, w = (np.repeat(given[x].astype(float), v.heads // v.groups, 1) for x in ("k", "v"))
    s = q @ k.swapaxes(2, 3) / np.sqrt(v.depth)
    if v.mask:
        mask = given["mask"]
        s = s + mask if v.additive else np.where(mask, s, -np.inf)
    i, j = np.arange(n)[:, None], np.arange(m)[None, :]
    i = i + (m - n if v.causal == "bottom" else 0)
    if v.causal or v.window:
        s = np.where((j <= i) & ((i - j < v.window) if v.window else True), s, -np.inf)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isinf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    return (p @ w) / np.where(total == 0, 1, total)


def run(kernel: Any, given: Arrays) -> Any:
    return kernel(*(given[info.name] for info in kernel.inputs))


# Each width of a head, each mask and each way to be causal; masks and widths are independent.
EVERYWHERE = (
    Variant(heads=3, groups=1, depth=80, width=33),
    Variant(mask="keys", depth=1, width=1),
    Variant(mask="full", additive=True, depth=129, width=129),
    Variant(causal="top"),
    Variant(causal="bottom", window=33, mask="full"),
    Variant(queries=1, heads=6, groups=2, causal="bottom", window=40),
    Variant(queries=3, heads=6, groups=2),
    Variant(queries=20, causal="bottom"),
)
# What else there is of masks and widths is the same expression for every target.
VARIANTS = (
    *EVERYWHERE,
    Variant(depth=24, width=40),
    Variant(mask="rows", depth=3, width=3),
    Variant(mask="full", depth=32, width=32),
    Variant(mask="bias", depth=80, width=80),
    Variant(mask="tail", depth=128, width=128),
    Variant(mask="keys", additive=True, heads=6, groups=2),
    Variant(mask="bias", additive=True, depth=64, width=64),
    Variant(mask="tail", additive=True),
    Variant(causal="top", window=5),
    Variant(causal="bottom", heads=6, groups=2),
    Variant(causal="bottom", mask="keys"),
    Variant(queries=1, heads=6, groups=2),
    Variant(queries=4, causal="bottom", mask="keys"),
)
CASES = [(v, t) for t in TARGETS for v in (VARIANTS if t == "host" else EVERYWHERE)]


@pytest.mark.slow
@pytest.mark.parametrize(("v", "target"), CASES, ids=str)
def test_as_dense_softmax(v: Variant, target: str) -> None:
    kernel = tc.build(expression(v), target, threads=2)
    for b, n, m in SIZES:
        given = arrays(v, b, v.queries or n, m)
        made, want = run(kernel, given), wanted(v, given)
        np.testing.assert_allclose(made, want, atol=2e-6, rtol=2e-5, err_msg=str((b, n, m)))


def test_next_block_of_keys_and_values_is_fetched_wherever_rows_lie() -> None:
    n, m = te.sym("n"), te.sym("m")
    shapes = ((1, n, 2, 16), (1, m, 2, 16), (1, m, 2, 16))
    given = [te.placeholder(s, F32, name) for s, name in zip(shapes, "qkv", strict=True)]

    def heads(t: Tensor) -> Tensor:
        """Of each token, as the layer before leaves them."""
        return te.compute((1, 2, t.shape[1], 16), lambda b, h, i, c: t[b, i, h, c])

    apart = tc.build(inlined((build_attention(*map(heads, given)),)), "x86-64-v3", threads=1)
    near = tc.build(expression(Variant()), "x86-64-v3", threads=1)
    assert apart.schedule.count("rows=16)") == near.schedule.count("rows=16)") == 2
    values = arrays(Variant(), 1, 50, 260)
    want = wanted(Variant(), values)
    for kernel, turn in ((apart, True), (near, False)):
        made = kernel(*(np.ascontiguousarray(x.swapaxes(1, 2)) if turn else x
                        for x in (values[name] for name in "qkv")))  # fmt: skip
        np.testing.assert_allclose(made, want, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_channels_before_tokens(target: str) -> None:
    """As convolutions leave them: elements of a query, a key, a value and a result lie apart."""
    n, m = te.sym("n"), te.sym("m", 0)
    given = [te.placeholder((1, 2, 16, x), F32, name) for x, name in ((n, "q"), (m, "k"), (m, "v"))]

    def tokens(t: Tensor) -> Tensor:
        return te.compute((1, 2, t.shape[3], 16), lambda b, h, i, c: t[b, h, c, i])

    made = build_attention(*map(tokens, given))
    kernel = tc.build(
        inlined((te.compute((1, 2, 16, n), lambda b, h, c, i: made[b, h, i, c]),)),
        target,
        threads=2,
    )
    assert "last=" in str(kernel.schedule), kernel.schedule
    for sizes in ((1, 1, 1), (1, 17, 17), (1, 50, 260)):
        values = arrays(Variant(), *sizes)
        out = kernel(*(np.ascontiguousarray(values[name].swapaxes(2, 3)) for name in "qkv"))
        want = wanted(Variant(), values).swapaxes(2, 3)
        np.testing.assert_allclose(out, want, atol=2e-6, rtol=2e-5, err_msg=str(sizes))


def test_only_the_part_of_a_row_that_is_a_head_is_fetched() -> None:
    n = te.sym("n")
    joined = te.placeholder((1, n, 96), F32)  # queries, keys and values of two heads of 16

    def part(first: int) -> Tensor:
        return te.compute((1, 2, n, 16), lambda b, h, i, c: joined[b, i, h * 16 + c + first])

    kernel = tc.build(inlined((build_attention(*map(part, (0, 32, 64))),)), "x86-64-v3", threads=1)
    hints = [x.strip() for x in str(kernel.loops).splitlines() if "prefetch" in x]
    columns = {x.rpartition(", ")[2].removesuffix("]") for x in hints}
    assert columns == {"i1 * 16 + 32", "i1 * 16 + 64"}
    values = arrays(Variant(), 1, 130, 130)
    rows = [values[name].swapaxes(1, 2).reshape(1, 130, 32) for name in "qkv"]
    made = kernel(np.concatenate(rows, 2))
    np.testing.assert_allclose(made, wanted(Variant(), values), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("rows", [50, 1], ids=["many", "one"])
@pytest.mark.parametrize("silent", ["queries", "keys"])
def test_batch_of_one_that_one_side_does_not_mention(rows: int, silent: str) -> None:
    q, joined = te.placeholder((1, rows, 32), F32), te.placeholder((1, 130, 64), F32)

    def part(t: Tensor, first: int, zero: bool) -> Tensor:
        shape = (1, 2, t.shape[1], 16)
        return te.compute(shape, lambda b, h, i, c: t[0 if zero else b, i, h * 16 + c + first])

    queries = part(q, 0, silent == "queries")
    both = [part(joined, first, silent == "keys") for first in (0, 32)]
    kernel = tc.build(inlined((build_attention(queries, *both),)), "x86-64-v3", threads=1)
    assert "online(" in kernel.schedule
    values = arrays(Variant(), 1, rows, 130)
    flat = [values[name].swapaxes(1, 2).reshape(1, -1, 32) for name in "qkv"]
    made = kernel(flat[0], np.concatenate(flat[1:], 2))
    np.testing.assert_allclose(made, wanted(Variant(), values), atol=2e-6, rtol=2e-5)


def test_two_threads_give_the_same_bits_each_time() -> None:
    v = Variant(heads=3, groups=1, causal="bottom")
    kernel, given = tc.build(expression(v), threads=2), arrays(v, 1, 200, 200)
    first = run(kernel, given).copy()
    for _ in range(5):
        np.testing.assert_array_equal(run(kernel, given), first)


@pytest.mark.parametrize("rows", [0, 1], ids=["many", "one"])
def test_very_large_scores_do_not_overflow(rows: int) -> None:
    v = Variant(queries=rows)
    given = arrays(v, 1, rows or 20, 150)
    given["q"] *= np.float32(1e18)
    given["k"] *= np.float32(1e18)
    made = run(tc.build(expression(v)), given)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made, wanted(v, given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1], ids=["many", "one"])
def test_rows_that_see_nothing_are_zero_and_others_as_ever(rows: int) -> None:
    v = Variant(mask="full", queries=rows)
    given = arrays(v, 2, rows or 40, 130)
    given["mask"][0] = False
    given["mask"][1, :, -1, :120] = False  # nothing in the first blocks
    made = run(tc.build(expression(v)), given)
    assert (made[0] == 0).all()
    np.testing.assert_allclose(made, wanted(v, given), rtol=2e-5, atol=2e-6)


def test_nan_and_inf_spread_as_the_formula_has_it() -> None:
    v = Variant()
    given = arrays(v, 1, 33, 120)
    given["q"][0, 0, 5, 3] = np.nan
    given["v"][0, 1, 70, 2] = np.inf
    given["k"][0, 1, 119, 1] = np.inf
    made = run(tc.build(expression(v)), given)
    with np.errstate(invalid="ignore"):
        want = wanted(v, given)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(want))
    np.testing.assert_allclose(made, want, rtol=2e-5, atol=2e-6, equal_nan=True)


def test_keys_that_no_query_sees_are_not_read() -> None:
    v = Variant(causal="top")
    given = arrays(v, 1, 60, 400)
    given["k"][:, :, 200:], given["v"][:, :, 200:] = np.nan, np.nan
    made = run(tc.build(expression(v)), given)
    less = {**given, "k": given["k"][:, :, :60], "v": given["v"][:, :, :60]}
    np.testing.assert_allclose(made, wanted(v, less), rtol=2e-5, atol=2e-6)


def test_heads_of_any_width_by_one_kernel() -> None:
    b, h, n, m, d, e = (te.sym(name) for name in "bhnmde")
    q, k, v = (te.placeholder((b, h, *s), F32) for s in ((n, d), (m, d), (m, e)))
    kernel = tc.build(build_attention(q, k, v), "x86-64-v3", threads=2)
    for depth, width in ((1, 1), (5, 7), (8, 8), (16, 16), (17, 15), (33, 31), (64, 64), (80, 49)):
        given = arrays(Variant(depth=depth, width=width), 1, 53, 140)
        want = wanted(Variant(depth=depth, width=width), given)
        made = kernel(given["q"], given["k"], given["v"])
        np.testing.assert_allclose(made, want, atol=2e-6, rtol=2e-5, err_msg=str((depth, width)))


def test_one_query_over_heads_of_any_width() -> None:
    b, h, m, d, e = (te.sym(name) for name in "bhmde")
    q, k, v = (te.placeholder((b, h, *s), F32) for s in ((1, d), (m, d), (m, e)))
    kernel = tc.build(build_attention(q, k, v), "x86-64-v3", threads=2)
    for depth, width in ((1, 1), (5, 7), (8, 8), (17, 15), (64, 64), (33, 41)):
        given = arrays(Variant(depth=depth, width=width), 1, 1, 140)
        want = wanted(Variant(depth=depth, width=width), given)
        made = kernel(given["q"], given["k"], given["v"])
        np.testing.assert_allclose(made, want, atol=2e-6, rtol=2e-5, err_msg=str((depth, width)))
