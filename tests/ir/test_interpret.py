"""The interpreter against NumPy, and tensors evaluated directly against their naive loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc import te
from tc.errors import CompileError, InternalError, TcError
from tc.ir import monoid as monoids
from tc.ir.expr import (
    Binary,
    Broadcast,
    Const,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    Sym,
    Unary,
    Var,
    cast,
    unary,
)
from tc.ir.interpret import evaluate, from_bf16, run, storage, to_bf16
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
    seq,
)
from tc.ir.lower import lower
from tc.ir.tensor import Tensor
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8

RNG = np.random.default_rng(0)
N = Sym("N", 0, 64)
i, j = Var("i"), Var("j")


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def value(x: Expr, **arrays: np.ndarray[Any, Any]) -> Any:
    """The value of one expression, stored to a buffer of one element (or a vector)."""
    out = Buffer("out", (Const(x.lanes),), x.dtype)
    at = Ramp(Const(0), Const(1), x.lanes) if x.lanes > 1 else Const(0)
    params = tuple(Buffer(n, tuple(Const(d) for d in a.shape), F32) for n, a in arrays.items())
    func = Func("f", (*params, out), (), ("out",), Store(out, (at,), x))
    result = np.zeros(x.lanes, storage(x.dtype))
    run(func, {**arrays, "out": result}, {})
    return result if x.lanes > 1 else result[0]


def both(t: Tensor, symbols: dict[str, int], **given: np.ndarray[Any, Any]) -> Any:
    """`t` evaluated directly, after making sure that its naive loops give the same."""
    direct = evaluate(t, given, symbols)
    func = lower([t])
    arrays: dict[str, Any] = dict(zip((p.name for p in func.params), given.values(), strict=False))
    out = np.zeros(direct.shape, direct.dtype)
    run(func, {**arrays, "out0": out}, symbols)
    np.testing.assert_allclose(out, direct, rtol=2e-6, atol=2e-6)
    return direct


# --- tensor expressions


@pytest.mark.parametrize("m", [0, 1, 3, 7])
def test_matmul_with_a_symbolic_dim(m: int) -> None:
    rows = te.sym("M", 0, 64)
    a, b = te.placeholder((rows, 5), name="A"), te.placeholder((5, 4), name="B")
    k = te.reduce_axis(5)
    c = te.compute((rows, 4), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    x, y = floats(m, 5), floats(5, 4)
    got = both(c, {"M": m}, A=x, B=y)
    np.testing.assert_allclose(got, x @ y, rtol=1e-5, atol=1e-5)


def test_reductions_over_two_axes_and_an_epilogue() -> None:
    a = te.placeholder((3, 4, 5), name="A")
    k, n = te.reduce_axis(4), te.reduce_axis(5)
    t = te.compute((3,), lambda i: te.max(a[i, k, n], axis=(k, n)) * 2.0 + 1.0)
    x = floats(3, 4, 5)
    np.testing.assert_allclose(both(t, {}, A=x), x.max((1, 2)) * 2 + 1, rtol=1e-6)


def test_nested_reductions_make_a_softmax() -> None:
    a = te.placeholder((3, 6), name="A")
    k, n = te.reduce_axis(6), te.reduce_axis(6)
    top = te.compute((3,), lambda i: te.max(a[i, k], axis=k))
    t = te.compute(
        (3, 6),
        lambda i, j: te.exp(a[i, j] - top[i]) / te.sum(te.exp(a[i, n] - top[i]), axis=n),
    )
    x = floats(3, 6)
    want = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(both(t, {}, A=x), want / want.sum(1, keepdims=True), rtol=1e-5)


def test_online_softmax_is_attention() -> None:
    s, v = te.placeholder((4, 9), name="S"), te.placeholder((9, 3), name="V")
    k = te.reduce_axis(9)
    fold = monoids.online_softmax_of()
    t = te.compute(
        (4, 3),
        lambda i, j: te.reduce(fold, (s[i, k], 1.0, v[k, j]), k, lambda m, d, o: o / d),
    )
    x, y = floats(4, 9), floats(9, 3)
    p = np.exp(x - x.max(1, keepdims=True))
    want = (p / p.sum(1, keepdims=True)) @ y
    np.testing.assert_allclose(both(t, {}, S=x, V=y), want, rtol=1e-5, atol=1e-6)


def test_argmax_takes_nan_and_the_first_of_equals() -> None:
    a = te.placeholder((3, 4), name="A")
    k = te.reduce_axis(4)
    t = te.compute((3,), lambda i: te.argmax(a[i, k], axis=k))
    x = np.array([[1, 3, 3, 2], [0, math.nan, 5, math.nan], [-1, -1, -1, -1]], np.float32)
    assert both(t, {}, A=x).tolist() == [1, 1, 0]


def test_welford_gives_the_variance() -> None:
    a = te.placeholder((2, 37), name="A")
    k = te.reduce_axis(37)
    t = te.compute(
        (2,),
        lambda i: te.reduce(monoids.welford_of(), (a[i, k], 0.0, 1.0), k, lambda m, s, n: s / n),
    )
    x = floats(2, 37)
    np.testing.assert_allclose(both(t, {}, A=x), x.var(1), rtol=1e-5)


def test_padding_reads_nothing_outside() -> None:
    a = te.placeholder((5,), name="A")
    t = te.compute((9,), lambda i: te.where((Const(2) <= i) & (i < 7), a[i - 2], 0.0))
    x = floats(5)
    assert both(t, {}, A=x).tolist() == [0, 0, *x.tolist(), 0, 0]


def test_scan_is_a_running_fold() -> None:
    a = te.placeholder((3, 5), name="A")
    t = te.scan((3, 5), lambda i, j: a[i, j], dim=1)
    x = floats(3, 5)
    np.testing.assert_allclose(both(t, {}, A=x), np.cumsum(x, 1), rtol=1e-5, atol=1e-6)


def test_scatter_takes_the_last_or_folds() -> None:
    base, at = te.placeholder((4,), name="B"), te.placeholder((6,), I64, name="I")
    plain = te.scatter(base, (6,), lambda n: ([at[n]], cast(n, F32)))
    summed = te.scatter(base, (6,), lambda n: ([at[n]], cast(n, F32)), monoids.sum_of())
    x, index = np.zeros(4, np.float32), np.array([1, 1, 3, 1, 3, 0])
    assert evaluate(plain, {"B": x, "I": index}).tolist() == [5, 3, 0, 4]
    assert evaluate(summed, {"B": x, "I": index}).tolist() == [5, 4, 0, 6]


def test_a_block_of_points_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    a = te.placeholder((3, 23), name="A")
    k = te.reduce_axis(23)
    t = te.compute((3,), lambda i: te.argmin(a[i, k], axis=k))
    x = floats(3, 23)
    monkeypatch.setattr("tc.ir.interpret.tensors._BLOCK", 12)
    assert evaluate(t, {"A": x}).tolist() == x.argmin(1).tolist()


def test_a_wrong_index_in_a_tensor_names_it() -> None:
    table, ids = te.placeholder((4, 2), name="W"), te.placeholder((3,), I64, name="ids")
    t = te.compute((3, 2), lambda i, j: table[ids[i], j])
    assert evaluate(t, {"W": floats(4, 2), "ids": np.array([0, 3, 1])}).shape == (3, 2)
    with pytest.raises(TcError, match=r"buffer W: index 4 of dim 0 is not in \[0, 4\)"):
        evaluate(t, {"W": floats(4, 2), "ids": np.array([0, 4, 1])})


@pytest.mark.parametrize(
    ("given", "symbols", "said"),
    [
        ({}, {"N": 2}, "placeholder A: no array"),
        ({"A": np.zeros(3, np.float32)}, {"N": 2}, r"float32\(3,\), not float32\(2,\)"),
        ({"A": np.zeros(2)}, {"N": 2}, "float64"),
        ({"A": np.zeros(2, np.float32)}, {}, "symbol N: has no value"),
        ({"A": np.zeros(2, np.float32)}, {"N": 65}, r"symbol N: is 65, which is not in \[0, 64\]"),
    ],
)
def test_wrong_inputs_are_named(given: dict[str, Any], symbols: dict[str, int], said: str) -> None:
    a = te.placeholder((N,), name="A")
    with pytest.raises(CompileError, match=said):
        evaluate(te.compute((N,), lambda i: a[i]), given, symbols)


# --- kernels


def kernel(body: Stmt, *params: Buffer) -> Func:
    return Func("f", params, (N,), ("out",), body)


def test_update_changes_all_states_at_once() -> None:
    a, out = Buffer("A", (N,), F32), Buffer("out", (Const(2),), I64)
    best = Buffer("best", (), F32, Scope.REGISTER)
    where = Buffer("where", (), I64, Scope.REGISTER)
    fold = monoids.argmax_of()
    loop = For(i, N, LoopKind.SERIAL, Update(fold, (best, where), (), (Load(a, (i,)), i)))
    start = [Store(b, (), c) for b, c in zip((best, where), fold.identity, strict=True)]
    end = Store(out, (Const(0),), Load(where, ()))
    func = kernel(Alloc(best, Alloc(where, seq(*start, loop, end))), a, out)
    x, got = floats(13), np.zeros(2, np.int64)
    run(func, {"A": x, "out": got}, {"N": 13})
    assert got[0] == x.argmax()


def test_vectors_load_store_mask_and_reduce() -> None:
    a, out = Buffer("A", (N,), F32), Buffer("out", (Const(9),), F32)
    lanes = Ramp(Const(0), Const(1), 8)
    inside = Binary("lt", lanes, Broadcast(N, 8))
    x = Load(a, (lanes,), inside)
    two = Broadcast(Const(2, F32), 8)
    body = seq(
        Store(out, (lanes,), Binary("mul", x, two), inside),
        Store(out, (Const(8),), LaneReduce("add", x)),
    )
    got = np.full(9, -1, np.float32)
    run(kernel(body, a, out), {"A": np.arange(5, dtype=np.float32), "out": got}, {"N": 5})
    assert got.tolist() == [0, 2, 4, 6, 8, -1, -1, -1, 10]


def test_select_on_lanes_touches_only_what_it_picks() -> None:
    a, out = Buffer("A", (N,), F32), Buffer("out", (Const(4),), F32)
    lanes = Ramp(Const(0), Const(1), 4)
    x = Select(Binary("lt", lanes, Broadcast(N, 4)), Load(a, (lanes,)), Broadcast(Const(7, F32), 4))
    got = np.zeros(4, np.float32)
    func = kernel(Store(out, (lanes,), x), a, out)
    run(func, {"A": np.ones(2, np.float32), "out": got}, {"N": 2})
    assert got.tolist() == [1, 1, 7, 7]


def test_a_flat_parameter_takes_an_array_of_as_many_elements() -> None:
    out = Buffer("out", (N * 2,), F32)
    body = For(i, N * 2, LoopKind.PARALLEL, Store(out, (i,), cast(i, F32)))
    got = np.zeros((3, 2), np.float32)
    run(kernel(body, out), {"out": got}, {"N": 3})
    assert got.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(3, np.float64), "buffer out: has dtype float64, not float32"),
        (np.zeros(4, np.float32), r"buffer out: has shape \(4,\), not \(3,\)"),
        (None, "buffer out: f: no array is given"),
    ],
)
def test_wrong_buffers_are_named(array: Any, said: str) -> None:
    func = kernel(Seq(()), Buffer("out", (N,), F32))
    with pytest.raises(CompileError, match=said):
        run(func, {} if array is None else {"out": array}, {"N": 3})


@pytest.mark.parametrize("place", [-1, 3])
@pytest.mark.parametrize("store", [True, False])
def test_an_index_out_of_bounds_names_buffer_and_index(place: int, store: bool) -> None:
    out = Buffer("out", (N,), F32)
    one = Const(1, F32)
    body = (
        Store(out, (Const(place),), one)
        if store
        else Store(out, (Const(0),), Load(out, (Const(place),)))
    )
    with pytest.raises(TcError, match=rf"buffer out: index {place} of dim 0 is not in \[0, 3\)"):
        run(kernel(body, out), {"out": np.zeros(3, np.float32)}, {"N": 3})


def test_asserts_are_reported_at_the_end() -> None:
    out = Buffer("out", (N,), F32)
    body = seq(
        For(i, N, LoopKind.SERIAL, Assert(i < 1, "i is too large")),
        If(N < 1, Seq(()), Store(out, (Const(0),), Const(5, F32))),
    )
    got = np.zeros(3, np.float32)
    with pytest.raises(TcError, match=r"^i is too large$"):
        run(kernel(body, out), {"out": got}, {"N": 3})
    assert got[0] == 5


def test_what_is_read_before_it_is_written_shows() -> None:
    out = Buffer("out", (), F32)
    tmp = Buffer("tmp", (Const(2),), F32, Scope.SCRATCH)
    func = kernel(Alloc(tmp, Store(out, (), Load(tmp, (Const(1),)))), out)
    got = np.zeros((), np.float32)
    run(func, {"out": got}, {})
    assert np.isnan(got)


# --- operators


def test_integers_wrap_and_round_down() -> None:
    assert value(Binary("add", Const(127, I8), Const(1, I8))) == -128
    assert value(Binary("sub", Const(0, U8), Const(1, U8))) == 255
    assert value(Binary("mul", Const(1 << 62), Const(4))) == 0
    assert value(Binary("floordiv", Const(-7), Const(2))) == -4
    assert value(Binary("mod", Const(-7), Const(4))) == 1
    assert value(Binary("shr", Const(-8, I32), Const(1, I32))) == -4
    assert value(Binary("pow", Const(3, I32), Const(4, I32))) == 81


def test_nan_goes_through_min_and_max() -> None:
    nan, one = Const(math.nan, F32), Const(1, F32)
    for op in ("min", "max"):
        assert np.isnan(value(Binary(op, nan, one)))
        assert np.isnan(value(Binary(op, one, nan)))
    assert not value(Binary("eq", nan, nan))


def test_casts() -> None:
    assert value(cast(Const(-2.7, F32), I32)) == -2
    assert value(cast(Const(300), U8)) == 44
    assert value(cast(Const(-0.0, F32), BOOL)) == False  # noqa: E712  # a NumPy bool
    assert value(cast(Const(math.nan, F32), BOOL)) == True  # noqa: E712
    assert value(cast(Const(True, BOOL), F32)) == 1


def test_let_binds_once() -> None:
    x = Var("x", F32)
    body = Binary("add", x, Binary("mul", x, x))
    assert value(Let(x, Const(3, F32), body)) == 12


@given(st.floats(width=32), st.floats(width=32), st.floats(width=32))
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    from fractions import Fraction

    got = value(Fma(Const(a, F32), Const(b, F32), Const(c, F32)))
    if not all(map(math.isfinite, (a, b, c))):
        with np.errstate(all="ignore"):
            want = np.float64(a) * np.float64(b) + np.float64(c)
        np.testing.assert_equal(got, np.float32(want))
        return
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    below, above = np.nextafter(got, np.float32(-np.inf)), np.nextafter(got, np.float32(np.inf))
    if not (np.isfinite(got) and np.isfinite(below) and np.isfinite(above)):
        return
    error = abs(exact - Fraction(float(got)))
    assert error <= abs(exact - Fraction(float(below)))
    assert error <= abs(exact - Fraction(float(above)))


def test_fma_where_rounding_twice_would_be_wrong() -> None:
    # 1 + 2^-24 lies halfway; the product's tail of 2^-60 decides.
    a, b, c = 1 + 2.0**-12, 2.0**-24, 1.0
    assert value(Fma(Const(b, F32), Const(a, F32), Const(c, F32))) == np.float32(1 + 2.0**-23)
    tiny = Const(2.0**-60, F64)
    assert value(Fma(tiny, tiny, Const(1.0, F64))) == 1.0


@pytest.mark.parametrize(
    ("op", "reference"),
    [("erf", math.erf), ("tanh", math.tanh), ("exp", math.exp), ("rsqrt", lambda x: x**-0.5)],
)
def test_functions_are_rounded_from_float64(op: str, reference: Callable[[float], float]) -> None:
    assert value(unary(op, Const(0.75, F32))) == np.float32(reference(0.75))
    assert value(unary(op, Const(0.75, F16))) == np.float16(reference(0.75))


@given(st.floats(width=32))
def test_bf16_rounds_to_nearest_even(x: float) -> None:
    import torch

    want = torch.tensor(x, dtype=torch.float32).to(torch.bfloat16)
    got = from_bf16(to_bf16(np.float32(x)))
    np.testing.assert_equal(np.float32(got), want.float().numpy())


def test_bf16_arithmetic_rounds_each_result() -> None:
    x = Binary("add", Const(1.0, BF16), Const(1 / 256, BF16))  # halfway: to even
    assert from_bf16(value(x)) == 1.0
    assert value(x).dtype == np.uint16


def test_an_integer_division_with_a_slash_is_a_defect() -> None:
    with pytest.raises(InternalError, match="div of i64"):
        value(Binary("div", Const(4), Const(2)))


def test_a_variable_without_a_value_is_a_defect() -> None:
    with pytest.raises(InternalError, match="variable i has no value"):
        value(Unary("neg", i))
