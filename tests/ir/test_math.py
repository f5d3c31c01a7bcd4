"""Expansion of transcendental operators: error bounds, special values, size and naming."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tc.errors import UnsupportedError
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Expr,
    Fma,
    Let,
    Load,
    Select,
    Unary,
    Var,
)
from tc.ir.loop import Buffer, For, Func, LoopKind, Store
from tc.ir.math.expand import EXPANDED, ULP, Names, expand_expr
from tc.ir.passes.expand_math import expand_math
from tc.ir.types import BF16, BOOL, F16, F32, F64, I32, I64, U8, DType
from tc.ir.visit import exprs_of, sub_exprs

Array = np.ndarray[Any, np.dtype[Any]]
INF, NAN = math.inf, math.nan
NUMPY = {BOOL: np.bool_, U8: np.uint8, I32: np.int32, I64: np.int64, F16: np.float16,
         F32: np.float32, F64: np.float64}  # fmt: skip
_UNARY: Mapping[str, Callable[[Any], Any]] = {
    "neg": np.negative, "not": np.logical_not, "abs": np.abs, "sqrt": np.sqrt, "round": np.rint,
    "trunc": np.trunc,
}  # fmt: skip
_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "eq": np.equal,
    "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift,
}  # fmt: skip


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a b + c in f64 by exact products and sums (Dekker), rounded twice only in rare ties."""
    p = a * b
    split = 134217729.0
    ah = a * split - (a * split - a)
    bh = b * split - (b * split - b)
    al, bl = a - ah, b - bh
    e = ((ah * bh - p) + ah * bl + al * bh) + al * bl
    s = p + c
    t = s - p
    low = (p - (s - t)) + (c - t) + e
    return np.where(np.isfinite(low) & (low != 0), s + low, s)


def evaluate(x: Expr, env: Mapping[str, Array]) -> Array:
    """The meaning of `x` with arrays for its variables, element by element."""

    def go(node: Expr) -> Array:
        return evaluate(node, env)

    match x:
        case Const(value, dtype):
            return np.asarray(value, NUMPY[dtype])
        case Var(name):
            return env[name]
        case Let(var, value, body):
            return evaluate(body, {**env, var.name: go(value)})
        case Broadcast(inner, _):
            return go(inner)
        case Unary(op, a):
            return _UNARY[op](go(a))
        case Binary(op, a, b):
            return _BINARY[op](go(a), go(b))
        case Fma(a, b, c) if x.dtype is F32:
            wide = [go(v).astype(np.float64) for v in (a, b, c)]
            return (wide[0] * wide[1] + wide[2]).astype(np.float32)
        case Fma(a, b, c):
            return fma64(go(a), go(b), go(c))
        case Select(cond, then, other):
            return np.where(go(cond), go(then), go(other))
        case Cast(inner, dtype):
            return go(inner).astype(NUMPY[dtype])
        case Bitcast(inner, dtype):
            return go(inner).view(NUMPY[dtype])
    raise AssertionError(f"not in straight-line arithmetic: {type(x).__name__}")


def run(op: str, dtype: DType, *operands: Any, fused: bool = True) -> Array:
    """The expanded operator on arrays."""
    variables = [Var(f"x{i}", dtype) for i in range(len(operands))]
    node = Unary(op, variables[0]) if len(operands) == 1 else Binary(op, *variables)
    arrays = [np.atleast_1d(np.asarray(v, NUMPY[dtype])) for v in operands]
    with np.errstate(all="ignore"):
        expanded = expand_expr(node, Names(), fused)
        out = evaluate(expanded, {f"x{i}": a for i, a in enumerate(arrays)})
    assert out.dtype == NUMPY[dtype]
    return out


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCE: Mapping[str, Callable[..., Array]] = {
    **{op: getattr(np, op) for op in (
        "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "sinh", "cosh",
        "tanh", "sign",
    )},
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
    "sigmoid": _sigmoid, "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip


def ulps(got: Array, want: Array) -> Array:
    """The error in units in the last place of the type of `got`; inf counts as 2^(max + 1)."""
    info = np.finfo(got.dtype)
    wide = np.longdouble if got.dtype == np.float64 else np.float64
    top = wide(2.0) ** info.maxexp
    finite = np.where(np.isinf(got), np.copysign(top, got), got.astype(wide))
    want = np.clip(want, -top, top).astype(wide)
    exponent = np.clip(np.frexp(want)[1], info.minexp + 1, info.maxexp) - 1 - info.nmant
    error = np.abs(finite - want) / np.ldexp(wide(1), exponent)
    both_nan = np.isnan(got) & np.isnan(want)
    return np.where(both_nan, 0, np.where(np.isnan(error), INF, error)).astype(np.float64)


def every_magnitude(dtype: DType, count: int) -> Array:
    """Floats spread evenly over all bit patterns, of both signs, and dense around small ones."""
    as_int, top = (np.int32, 0x7F800000) if dtype is F32 else (np.int64, 0x7FF0000000000000)
    rng = np.random.default_rng(7)
    bits = rng.integers(0, top + 1, count).astype(as_int).view(NUMPY[dtype])
    near = rng.uniform(-10, 10, 2 * count).astype(NUMPY[dtype])
    wide = rng.uniform(-800, 800, count).astype(NUMPY[dtype])
    return np.concatenate([bits, -bits, near, wide, rng.uniform(0, 2, count).astype(near.dtype)])


BINARY_OPS = {"pow", "atan2", "fmod"}
UNARY_OPS = sorted(EXPANDED - BINARY_OPS - {"exp_nonpos"})


@pytest.mark.parametrize("op", UNARY_OPS)
def test_f32_error_is_within_the_bound(op: str) -> None:
    x = every_magnitude(F32, 100_000)
    with np.errstate(all="ignore"):
        want = REFERENCE[op](x.astype(np.float64))
    for fused in (True, False):
        error = ulps(run(op, F32, x, fused=fused), want)
        worst = int(np.argmax(error))
        assert error[worst] <= ULP[op, F32] + (not fused), (op, fused, x[worst], error[worst])


@pytest.mark.parametrize("op", UNARY_OPS)
def test_f64_error_is_within_the_bound(op: str) -> None:
    x = every_magnitude(F64, 10_000)
    if op in ("sin", "cos", "tan"):
        x = np.concatenate([x[np.abs(x) <= 2.0**27], np.linspace(-(2.0**27), 2.0**27, 9_999)])
    precise = op not in ("erf", "erfc")  # math.erf is itself good to an ulp, and f64 only
    with np.errstate(all="ignore"):
        want = REFERENCE[op](x.astype(np.longdouble) if precise else x)
    error = ulps(run(op, F64, x), want)
    worst = int(np.argmax(error))
    assert error[worst] <= ULP[op, F64] + (not precise), (op, x[worst], error[worst])


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("op", ["pow", "atan2"])
def test_binary_error_is_within_the_bound(op: str, dtype: DType) -> None:
    rng = np.random.default_rng(3)
    n = 30_000
    exponent = rng.uniform(-12, 12, (2, n))
    a, b = (np.copysign(2.0**exponent, rng.uniform(-1, 1, (2, n)))).astype(NUMPY[dtype])
    wild = np.resize(every_magnitude(dtype, n // 5), n)
    a = np.concatenate([a, np.abs(a), np.abs(wild), a, wild])
    b = np.concatenate([b, b, b, np.rint(b), np.roll(wild, 1)])
    with np.errstate(all="ignore"):
        want = REFERENCE[op](a.astype(np.longdouble), b.astype(np.longdouble))
    for fused in (True, False):
        error = ulps(run(op, dtype, a, b, fused=fused), want)
        worst = int(np.argmax(error))
        assert error[worst] <= ULP[op, dtype], (fused, a[worst], b[worst], error[worst])
    assert np.isfinite(want).sum() > n


SPECIALS = [0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 2.0, -2.0, 0.5, 1e-40, -1e-40, 1e30, -1e30]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("op", UNARY_OPS)
def test_specials_and_signs_of_zero_are_those_of_numpy(op: str, dtype: DType) -> None:
    x = np.array(SPECIALS, NUMPY[dtype])
    if dtype is F64 and op in ("sin", "cos", "tan"):
        x = x[(np.abs(x) < 1e9) | np.isinf(x) | np.isnan(x)]
    with np.errstate(all="ignore"):
        want = REFERENCE[op](x.astype(np.float64))
    if op == "sign":
        want = np.where(np.isnan(x), 0.0, want)  # as PyTorch
    got = run(op, dtype, x)
    assert (ulps(got, want) <= ULP[op, dtype] + 1).all(), list(zip(x, got, want, strict=True))
    exact = np.isin(want, [0.0, 1.0, -1.0]) & (got == want)
    assert (np.signbit(got) == np.signbit(want))[exact & ~np.isnan(want)].all()
    assert (np.isinf(got) == np.isinf(want.astype(NUMPY[dtype]))).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("op", ["pow", "atan2"])
def test_binary_specials_are_those_of_numpy(op: str, dtype: DType) -> None:
    values = np.array([*SPECIALS, 3.0, -3.0, 1.5, -0.5], NUMPY[dtype])
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = REFERENCE[op](a.astype(np.float64), b.astype(np.float64))
    got = run(op, dtype, a, b)
    bad = ~(ulps(got, want) <= ULP[op, dtype] + 1)
    bad |= (np.signbit(got) != np.signbit(want)) & (np.abs(want) != INF) & ~np.isnan(want)
    assert not bad.any(), list(zip(a[bad], b[bad], got[bad], want[bad], strict=True))


@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
def test_f64_angles_of_many_turns(op: str) -> None:
    x = np.concatenate([np.linspace(2.0**27, 2.0**47, 999), [1e30, -1e30, 1e300, 1.7e308]])
    want = REFERENCE[op](x.astype(np.longdouble))
    got = run(op, F64, x)
    error = np.abs(got - want) / (1 + want * want)
    near = np.abs(x) < 2.0**47
    assert error[near].max() < 1e-15
    assert (np.abs(got[~near]) <= 1).all()


@pytest.mark.parametrize("dtype", [F32, F64])
def test_fmod(dtype: DType) -> None:
    rng = np.random.default_rng(5)
    top = 90 if dtype is F32 else 600
    b, a = np.copysign(2.0 ** rng.uniform(-top, top, (2, 20_000)), rng.uniform(-1, 1, (2, 20_000)))
    multiple = np.nextafter(b * rng.integers(1, 1 << 20, len(b)), 0, dtype=NUMPY[dtype])
    special = np.meshgrid(*2 * [[*SPECIALS, 7.0, -0.3, 3e38, 1e-45, 1e25, 1e-25]])
    a, b = (np.concatenate(v).astype(NUMPY[dtype]) for v in
            zip((a, b), (multiple, b), (v.ravel() for v in special), strict=True))  # fmt: skip
    with np.errstate(all="ignore"):
        want, quotient = np.fmod(a, b), np.abs(a / b.astype(np.longdouble))
    got = run("fmod", dtype, a, b)
    assert (np.isnan(got) == np.isnan(want)).all()
    some = ~np.isnan(want)
    assert (np.signbit(got) == np.signbit(a))[some].all()
    assert (np.abs(got) < np.abs(b))[some].all()
    exact = some & (quotient < (2.0**150 if dtype is F32 else 2.0**53))
    np.testing.assert_array_equal(got[exact], want[exact])


@pytest.mark.parametrize("dtype", [F32, F64])
def test_exp_of_what_is_not_positive(dtype: DType) -> None:
    x = np.linspace(-87.3, 0, 200_003).astype(NUMPY[dtype])
    x = np.concatenate([x, [-0.0, -1e-30, -1e-3]]).astype(NUMPY[dtype])
    error = ulps(run("exp_nonpos", dtype, x), np.exp(x.astype(np.longdouble)))
    assert error.max() <= ULP["exp_nonpos", dtype], x[np.argmax(error)]
    assert error[x > -30].max() <= 3
    ends = run("exp_nonpos", dtype, [0.0, -0.0, -INF, -1e30, -1e3, NAN])
    assert ends.tolist()[:5] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert np.isnan(ends[5])
    small = run("exp_nonpos", dtype, np.linspace(-110, -87, 10_001).astype(NUMPY[dtype]))
    assert (small >= 0).all()
    assert (small <= 1.7e-38).all()


def test_saturated_values_are_exact() -> None:
    for op in ("tanh", "erf"):
        x = np.array([-INF, -1e4, -9.1, 9.1, 50.0, INF])
        for dtype in (F32, F64):
            got = run(op, dtype, x)
            assert (np.abs(got) <= 1).all()
            assert got[[0, 1, -2, -1]].tolist() == [-1.0, -1.0, 1.0, 1.0]
        dense = run(op, F32, np.linspace(-12, 12, 200_001))
        assert np.abs(dense).max() == 1.0
    assert run("exp", F32, [-INF, -104.1, 88.8, INF]).tolist() == [0.0, 0.0, INF, INF]
    assert run("sigmoid", F32, [-INF, -104.1, 0.0, 30.0, INF]).tolist() == [0.0, 0.0, 0.5, 1, 1]


def test_exact_cases() -> None:
    n = np.arange(-149, 128)
    assert (run("exp2", F32, n) == np.ldexp(1.0, n)).all()
    assert (run("log2", F32, np.ldexp(1.0, n)) == n).all()
    n = np.arange(-1074, 1024)
    assert (run("exp2", F64, n) == np.ldexp(1.0, n)).all()
    assert (run("log2", F64, np.ldexp(1.0, n)) == n).all()


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, 0.5, -0.5, -1.0])
def test_simple_powers_need_no_logarithm(exponent: float) -> None:
    x = Var("x", F32)
    out = expand_expr(Binary("pow", x, Const(exponent, F32)), Names())
    assert not any(isinstance(n, Bitcast) for n in sub_exprs(out))
    values = np.linspace(0.1, 30, 999, dtype=np.float32)
    got = evaluate(out, {"x": values})
    assert ulps(got, values.astype(np.float64) ** exponent).max() <= 1.5


def test_half_precision_goes_through_f32() -> None:
    x = np.arange(-(2**15), 2**15).astype(np.int16).view(np.float16)
    with np.errstate(all="ignore"):
        want = np.exp(x.astype(np.float64))
    assert ulps(run("exp", F16, x), want).max() <= ULP["exp", F16]
    out = expand_expr(Unary("tanh", Var("x", BF16)), Names())
    assert out.dtype is BF16
    assert {n.dtype for n in sub_exprs(out) if isinstance(n, (Fma, Binary))} <= {F32, BOOL, I32}


@pytest.mark.parametrize("op", sorted(EXPANDED))
def test_vectors_have_lanes_everywhere_and_no_branches(op: str) -> None:
    load = Load(Buffer("a", (Const(64),), F32), (Const(0),))
    operands = [Broadcast(load, 8), Var("y", F32, 8)]
    node = Binary(op, *operands) if op in BINARY_OPS else Unary(op, operands[0])
    out = expand_expr(node, Names())
    assert (out.dtype, out.lanes) == (F32, 8)
    for n in sub_exprs(out):
        if isinstance(n, (Unary, Binary, Fma, Select, Cast, Bitcast)):
            kids = [getattr(n, f) for f in n.__slots__ if isinstance(getattr(n, f), Expr)]
            assert {k.lanes for k in kids} == {8}, n
        if isinstance(n, (Binary, Fma)):
            dtypes = {getattr(n, f).dtype for f in n.__slots__ if f != "op"}
            assert len(dtypes) == 1, n
    assert sum(isinstance(n, Load) for n in sub_exprs(out)) == 1


def size(x: Expr) -> int:
    return sum(1 for _ in sub_exprs(x))


def test_nested_operators_grow_linearly() -> None:
    x: Expr = Var("x", F32)
    sizes = []
    for _ in range(4):
        x = Unary("exp", x)
        sizes.append(size(expand_expr(x, Names())))
    steps = np.diff(sizes)
    assert steps.max() - steps.min() <= 2
    assert sizes[0] < 80


def test_hot_operators_stay_small() -> None:
    """What softmax and GELU run for each element; a count that grows is a slower kernel."""
    limits = {"exp": 19, "exp_nonpos": 13, "tanh": 19, "erf": 22, "sigmoid": 23}
    for op, limit in limits.items():
        out = expand_expr(Unary(op, Var("x", F32)), Names())
        work = [n for n in sub_exprs(out) if isinstance(n, (Fma, Binary, Select, Unary))]
        assert len(work) <= limit, (op, len(work))


def kernel(value: Callable[[Expr], Expr]) -> Func:
    i, n = Var("i"), Const(16)
    a, b = Buffer("exp_n1", (n,), F32), Buffer("B", (n,), F32)
    body = For(i, n, LoopKind.SERIAL, Store(b, (i,), value(Load(a, (i,)))))
    return Func("k", (a, b), (), ("B",), body)


def test_the_pass_leaves_no_transcendental_and_is_idempotent() -> None:
    def value(x: Expr) -> Expr:
        for op in UNARY_OPS:
            x = Unary(op, x) * x if op in ("erf", "exp") else Unary(op, x)
        return Binary("pow", Binary("atan2", x, Const(2.0, F32)), Const(1.7, F32))

    once = expand_math(kernel(value))
    left = {n.op for n in exprs_of(once.body) if isinstance(n, (Unary, Binary))}
    assert not left & EXPANDED
    again = expand_math(once)
    assert again is once
    assert expand_math(kernel(value)) == once


def test_names_are_unique_and_start_with_the_operator() -> None:
    out = expand_math(kernel(lambda x: Unary("exp", x) + Unary("tanh", x)))
    names = [n.var.name for n in exprs_of(out.body) if isinstance(n, Let)]
    assert len(names) == len(set(names)) > 4
    assert "exp_n1" not in names  # a buffer is called that
    assert {n.split("_")[0] for n in names} == {"exp", "tanh"}


def test_integers() -> None:
    x = Var("x", I32)
    got = evaluate(expand_expr(Unary("sign", x), Names()), {"x": np.array([-7, 0, 9], np.int32)})
    assert got.tolist() == [-1, 0, 1]
    with pytest.raises(UnsupportedError, match="exp of i32: only floats have it; cast to a float"):
        expand_expr(Unary("exp", x), Names())
