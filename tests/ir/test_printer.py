"""The text of nodes: parentheses, constants, declarations. Reading it back is tested beside it."""

from __future__ import annotations

import math

import pytest

from tc import te
from tc.errors import InternalError
from tc.ir import monoid as monoids
from tc.ir.expr import (
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
    Select,
    Unary,
    Var,
)
from tc.ir.loop import Alloc, Assert, Buffer, For, Func, If, LoopKind, Scope, Seq, Store, Update
from tc.ir.parser import parse_func
from tc.ir.printer import computation_lines, expr_text
from tc.ir.text import text
from tc.ir.types import BF16, BOOL, F32, F64, I32, I64

V, J, X = Var("i"), Var("j"), Var("x", F32)
A = Buffer("a", (Const(4), te.sym("M", 1, 9)), F32)


def b(op: str, x: Expr, y: Expr) -> Expr:
    return Binary(op, x, y)


@pytest.mark.parametrize(
    ("x", "want"),
    [
        (b("mul", b("add", V, J), V), "(i + j) * i"),
        (b("add", b("mul", V, J), V), "i * j + i"),
        (b("sub", V, b("sub", J, V)), "i - (j - i)"),
        (b("sub", b("sub", V, J), V), "i - j - i"),
        (b("floordiv", b("mul", V, J), V), "i * j // i"),
        (b("mul", V, b("floordiv", J, V)), "i * (j // i)"),
        (b("mod", V, b("add", J, V)), "i % (j + i)"),
        (b("and", b("lt", V, J), b("le", J, V)), "(i < j) & (j <= i)"),
        (b("eq", b("lt", V, J), b("lt", J, V)), "(i < j) == (j < i)"),
        (b("or", b("xor", V, J), b("and", V, J)), "i ^ j | i & j"),
        (b("shl", V, b("shr", J, V)), "i << (j >> i)"),
        (b("mul", Unary("neg", V), J), "-i * j"),
        (Unary("neg", b("add", V, J)), "-(i + j)"),
        (Unary("neg", Unary("neg", V)), "-(-i)"),
        (b("sub", V, Unary("neg", J)), "i - -j"),
        (Unary("not", b("lt", V, J)), "~(i < j)"),
        (b("sub", V, Const(-3)), "i - (-3)"),
        (b("pow", X, X), "pow(x:f32, x:f32)"),
        (b("min", V, J), "min(i, j)"),
        (Fma(X, X, X), "fma(x:f32, x:f32, x:f32)"),
        (Select(b("lt", V, J), V, J), "select(i < j, i, j)"),
        (Cast(V, F32), "cast(i, f32)"),
        (Bitcast(X, I32), "bitcast(x:f32, i32)"),
        (Let(X, Const(1, F32), X), "let(x:f32 = 1.0:f32, x:f32)"),
        (Ramp(V, Const(1), 8), "ramp(i, 1, 8)"),
        (Broadcast(X, 8), "broadcast(x:f32, 8)"),
        (LaneReduce("max", Var("v", F32, 8)), "lane_max(v:f32x8)"),
        (Unary("exp", X), "exp(x:f32)"),
    ],
)
def test_expressions(x: Expr, want: str) -> None:
    assert expr_text(x) == want


@pytest.mark.parametrize(
    ("c", "want"),
    [
        (Const(3), "3"), (Const(-3), "-3"), (Const(True, BOOL), "true"),
        (Const(False, BOOL), "false"), (Const(7, I32), "7:i32"), (Const(1.5, F32), "1.5:f32"),
        (Const(-0.0, F32), "-0.0:f32"), (Const(math.inf, F64), "inf:f64"),
        (Const(-math.inf, F32), "-inf:f32"), (Const(math.nan, BF16), "nan:bf16"),
        (Const(1e-7, F64), "1e-07:f64"), (Const(-(1 << 63), I64), str(-(1 << 63))),
    ],
)  # fmt: skip
def test_constants(c: Const, want: str) -> None:
    assert str(c) == want


def test_what_stands_alone_declares_its_names() -> None:
    assert str(Load(A, (V, J))) == "a[i, j] where M: sym[1, 9], a: f32[4, M]"
    assert str(Load(A, (V, J), b("lt", V, J))).startswith("a[i, j, mask=i < j] where")
    t = te.placeholder((4,), te.I32, name="t")
    assert str(t[V]) == "t[i] where t: i32[4]"


def test_statements() -> None:
    acc = Buffer("acc", (), F32, Scope.REGISTER)
    body = Seq(
        (
            Store(acc, (), Const(0, F32)),
            For(V, Const(4), LoopKind.VECTOR, Update(monoids.sum_of(), (acc,), (), (X,))),
            If(b("lt", V, J), Seq(()), Assert(b("le", V, J), 'a "b" \\')),
            Store(A, (V, J), Load(acc, ()), b("lt", V, J)),
        )
    )
    assert str(Alloc(acc, body)).split("\n") == [
        "with acc = alloc(f32[], register):",
        "    acc[] = 0.0:f32",
        "    for i in vector(4):",
        "        acc[] <sum[f32]>= x:f32",
        "    if i < j:",
        "        pass",
        "    else:",
        '        assert i <= j, "a \\"b\\" \\\\"',
        "    a[i, j, mask=i < j] = acc[]",
        "where M: sym[1, 9], a: f32[4, M]",
    ]


@pytest.mark.parametrize("kind", LoopKind)
def test_loops(kind: LoopKind) -> None:
    word = {"serial": "range", "unrolled": "unroll"}.get(kind.value, kind.value)
    assert str(For(V, Const(4), kind, Seq(()))) == f"for i in {word}(4):\n    pass"


def test_a_kernel_breaks_a_long_head() -> None:
    params = tuple(Buffer(f"parameter{n}", (Const(16),), F32, align=64) for n in range(4))
    text = str(Func("f", params, (te.sym("M", 1, 9),), ("parameter3",), Seq(())))
    assert text.split("\n") == [
        "def f(",
        "    parameter0: f32[16] align 64,",
        "    parameter1: f32[16] align 64,",
        "    parameter2: f32[16] align 64,",
        "    parameter3: out f32[16] align 64,",
        "    M: sym[1, 9],",
        "):",
        "    pass",
    ]


def test_tensors_print_with_what_they_come_from() -> None:
    x, k = te.placeholder((2, 3), name="x"), te.reduce_axis(3)
    s = te.compute((2,), lambda i: te.sum(x[i, k], axis=k), name="s")
    y = te.scan((2,), lambda i: s[i], 0, name="y")
    first, second, third = str(y).split("\n")
    assert first == "x: f32[2, 3]"
    assert second.startswith("s: f32[2] = (i_")
    assert "reduce<sum[f32]>(k_" in second
    assert third.startswith("y: f32[2] = scan<sum[f32], 0> (")


def test_what_is_no_node_has_no_text() -> None:
    with pytest.raises(InternalError, match="int is not a node of tc.ir"):
        text(3)


def test_a_computation_is_its_statements_without_their_loops() -> None:
    text = """\
def k(A: f32[n, 4], Y: out f32[n], n: sym[0, 9]):
    for i in range(n):
        with acc = alloc(f32[], register):
            acc[] = 0.0:f32
            for j in range(4):
                if j <= i:
                    acc[] <sum[f32]>= A[i, j]
                else:
                    acc[] <sum[f32]>= 1.0:f32
            Y[i] = acc[]
"""
    assert list(computation_lines(parse_func(text).body)) == [
        "acc[] = 0.0:f32",
        "if j <= i: acc[] <sum[f32]>= A[i, j]",
        "else: acc[] <sum[f32]>= 1.0:f32",
        "Y[i] = acc[]",
    ]
