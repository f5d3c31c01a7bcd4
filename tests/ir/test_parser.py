"""What is printed reads back as the same node; what is not the printer's text is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tc import te
from tc.errors import CompileError
from tc.ir import monoid as monoids
from tc.ir.expr import (
    BINARY_OPS,
    UNARY_OPS,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Reduce,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.lower import lower
from tc.ir.parse_expr import parse_monoid
from tc.ir.parser import parse, parse_expr, parse_func, parse_stmt
from tc.ir.types import BOOL, I64, DType

SYMBOLS = (Sym("M", 0, 512), Sym("N", 1, 8))
A = Buffer("A", (SYMBOLS[0], Const(8)), DType.F32)
B = Buffer("B", (SYMBOLS[0] * 8 + 1,), DType.I64, Scope.SCRATCH, 64)
C = Buffer("C", (), DType.BF16, Scope.REGISTER)
BUFFERS = (A, B, C)
MONOIDS = (
    monoids.sum_of(DType.F32), monoids.max_of(DType.I8), monoids.any_of(), monoids.all_of(),
    monoids.argmax_of(DType.F32), monoids.welford_of(DType.F64), monoids.online_softmax_of(),
)  # fmt: skip

types = st.sampled_from(list(DType))
widths = st.sampled_from([1, 1, 4, 16])
variables = st.builds(Var, st.sampled_from(["i", "j0", "acc_1", "x"]), types, widths)


@st.composite
def constants(draw: st.DrawFn) -> Const:
    dtype = draw(types)
    if dtype is BOOL:
        return Const(draw(st.booleans()), dtype)
    if dtype.is_float:
        number = draw(st.floats(allow_nan=False) | st.just(math.nan))
        return Const(number, dtype)
    return Const(draw(st.integers(-(1 << 63), (1 << 63) - 1)), dtype)


def grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    masks = st.none() | inner
    return st.one_of(
        st.builds(Binary, st.sampled_from(sorted(BINARY_OPS)), inner, inner),
        st.builds(negated, st.sampled_from(sorted(UNARY_OPS)), inner),
        st.builds(Fma, inner, inner, inner),
        st.builds(Select, inner, inner, inner),
        st.builds(Cast, inner, types),
        st.builds(Bitcast, inner, types),
        st.builds(Let, variables, inner, inner),
        st.builds(Ramp, inner, inner, st.integers(2, 16)),
        st.builds(Broadcast, inner, st.integers(2, 16)),
        st.builds(LaneReduce, st.sampled_from(["add", "max", "and"]), inner),
        st.builds(lambda i, j, m: Load(A, (i, j), m), inner, inner, masks),
        st.builds(lambda i: Load(B, (i,)), inner),
        st.just(Load(C, ())),
    )


def negated(op: str, x: Expr) -> Expr:
    """A negated literal is a literal, in the text as in `tc.ir.expr.unary`."""
    return x if op == "neg" and isinstance(x, Const) else Unary(op, x)


exprs = st.recursive(
    st.one_of(constants(), variables, st.sampled_from(SYMBOLS)), grown, max_leaves=12
)


@st.composite
def updates(draw: st.DrawFn) -> Update:
    fold = draw(st.sampled_from(MONOIDS))
    states = len(fold.left)
    indices = tuple(draw(st.lists(exprs, max_size=2)))
    values = tuple(draw(st.lists(exprs, min_size=states, max_size=states)))
    return Update(fold, states_of(fold, len(indices)), indices, values)


def states_of(fold: monoids.Monoid, rank: int) -> tuple[Buffer, ...]:
    shape = (Const(4),) * rank
    return tuple(Buffer(f"{fold.name}{rank}_{n}", shape, t) for n, t in enumerate(fold.dtypes))


STATES = tuple(b for fold in MONOIDS for rank in range(3) for b in states_of(fold, rank))


@st.composite
def allocated(draw: st.DrawFn, inner: st.SearchStrategy[Stmt]) -> Stmt:
    scope = draw(st.sampled_from([Scope.REGISTER, Scope.SCRATCH]))
    buffer = Buffer("tmp", (Const(8), SYMBOLS[1]), draw(types), scope, draw(widths))
    body: Stmt = Store(buffer, (draw(exprs), draw(exprs)), draw(exprs))
    return Alloc(buffer, sequence([body, draw(inner)]))


def sequence(parts: list[Stmt]) -> Stmt:
    flat = [p for part in parts for p in (part.body if isinstance(part, Seq) else (part,))]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def nested(inner: st.SearchStrategy[Stmt]) -> st.SearchStrategy[Stmt]:
    loop_vars = st.builds(Var, st.sampled_from(["i", "j0", "k_1"]))
    return st.one_of(
        st.builds(For, loop_vars, exprs, st.sampled_from(LoopKind), inner),
        st.builds(If, exprs, inner, st.none() | inner),
        st.lists(inner, min_size=2, max_size=3).map(sequence),
        allocated(inner),
    )


stmts = st.recursive(
    st.one_of(
        st.builds(lambda i, v, m: Store(A, (i, i), v, m), exprs, exprs, st.none() | exprs),
        st.builds(lambda v: Store(C, (), v), exprs),
        updates(),
        st.builds(Assert, exprs, st.text(st.characters(codec="utf-8"))),
        st.builds(lambda i, j: Prefetch(A, (i, j)), exprs, exprs),
        st.just(Seq(())),
    ),
    nested,
    max_leaves=5,
)


@settings(max_examples=150)
@given(exprs)
def test_expressions_come_back(x: Expr) -> None:
    assert parse(str(x)) == x


@settings(max_examples=100)
@given(stmts)
def test_statements_come_back(s: Stmt) -> None:
    assert parse_stmt(str(s)) == s


@settings(max_examples=100)
@given(stmts, st.booleans())
def test_kernels_come_back(s: Stmt, empty: bool) -> None:
    params = tuple(Buffer(b.name, b.shape, b.dtype, Scope.PARAM, b.align) for b in BUFFERS)
    swap = dict(zip(BUFFERS, params, strict=True))
    body: Stmt = Seq(()) if empty else with_params(s, swap)
    func = Func("kernel_1", (*params, *STATES), SYMBOLS, ("B", "sum1_0"), body)
    assert parse(str(func)) == func


def with_params(s: Stmt, swap: dict[Buffer, Buffer]) -> Stmt:
    from tc.ir.visit import replace_buffer

    for old, new in swap.items():
        s = replace_buffer(s, old.name, new)
    return s


def test_lowered_kernels_come_back() -> None:
    m = te.sym("M")
    a, w = te.placeholder((m, 16), "bf16"), te.placeholder((16,), I64)
    k, n = te.reduce_axis(16), te.reduce_axis(m)
    top = te.compute((m,), lambda i: te.argmax(te.cast(a[i, k], DType.F32), axis=k))
    t = te.compute((m, 16), lambda i, j: te.sum(a[top[n] + w[j], j], axis=n))
    func = lower([t])
    assert parse(str(func)) == func


def test_reductions_come_back_with_loads_for_reads() -> None:
    x = Load(A, (Var("k"), Var("n")))
    fold = monoids.online_softmax_of()
    result = fold.left[2] / fold.left[1]
    axes, extents = (Var("k"), Var("n")), (SYMBOLS[0], Const(8))
    reduction = Reduce(fold, axes, extents, (x, Const(1, DType.F32), x), result)
    assert parse_expr(str(reduction * 2.0)) == reduction * 2.0


def test_what_the_text_means() -> None:
    i, m = Var("i"), Sym("M", 0, 9)
    assert parse("i + 2 * (M - 1) where M: sym[0, 9]") == i + Const(2) * (m - 1)
    assert parse("-i * 3") == Binary("mul", Unary("neg", i), Const(3))
    assert parse("~p:bool & (i < 3)") == ~Var("p", BOOL) & (i < 3)
    assert parse("(-3) - -3") == Binary("sub", Const(-3), Const(-3))


@pytest.mark.parametrize("fold", MONOIDS, ids=str)
def test_monoids_come_back(fold: monoids.Monoid) -> None:
    assert parse_monoid(str(fold)) == fold


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("i +", "the text ends too early"),
        ("i + )", "an expression cannot start with `\\)`"),
        ("i j", "unexpected `j`"),
        ("i ? 3", r"what is `\? 3`\?"),
        ("A[i]", "buffer A is not declared"),
        ("frobnicate(i)", "no function frobnicate of 1 operands"),
        ("cast(i, f33)", "no such type; known are bool"),
        ("ramp(i, 1, n)", "expected a number, found `n`"),
        ("let(i = 1, i)", "let binds `name:type`"),
        ("select(i, j", r"expected `,`, found ``"),
        ("i where A f32", "a buffer is `name: type"),
        ("for i in often(3):\n    pass", "no such kind of loop; known are range"),
        ("for i in range(3):", "expected a block"),
        ("for 3 in range(3):\n    pass", "3 is no variable"),
        ("for i in range(3):\n        pass", "unexpected indentation"),
        ("A[i] <median[f32]>= 1\nwhere A: f32[3]", "no such monoid; known are all"),
        ("A[i] <argmax[f32]>= 1\nwhere A: f32[3]", "the states of this monoid are argmax"),
        ("3 = 4", "no such statement"),
        ("assert i < 3, message", "an assert ends with its message"),
        ("with t = alloc(f32[3], heap):\n    pass", "no such scope: heap"),
        ("def f(A: f32[3])", "a kernel is"),
    ],
)
def test_bad_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(CompileError, match=said):
        parse(text)


def test_every_entry_reads_its_own_kind() -> None:
    kinds: list[tuple[Any, Any]] = [
        (parse_expr("i"), Var("i")),
        (parse_stmt("pass"), Seq(())),
        (parse_func("def f():\n    pass"), Func("f", (), (), (), Seq(()))),
    ]
    for got, want in kinds:
        assert got == want
