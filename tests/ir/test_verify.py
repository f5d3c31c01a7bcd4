"""The verifier: what is well formed passes, each defect is named."""

from __future__ import annotations

import pytest

from tc import te
from tc.errors import CompileError, InternalError
from tc.ir import monoid as monoids
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Const,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Read,
    Select,
    Sym,
    Var,
    cast,
    minimum,
)
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
from tc.ir.simplify import simplify_func
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F16, F32, I32, I64
from tc.ir.verify import check_indices, verify

M = Sym("M", 1, 64)
A, OUT = Buffer("A", (M, Const(8)), F32), Buffer("out", (M,), F32)
i, j = Var("i"), Var("j")
ONE = Const(1, F32)
LANES = Ramp(Const(0), Const(1), 4)
V = Broadcast(ONE, 4)
ACC = Buffer("acc", (), F32, Scope.REGISTER)
WORK = Store(OUT, (i,), ONE)


def kernel(body: Stmt) -> Func:
    return Func("k", (A, OUT), (M,), ("out",), body)


def loop(body: Stmt, kind: LoopKind = LoopKind.SERIAL, extent: Expr = M, var: Var = i) -> For:
    return For(var, extent, kind, body)


def stored(x: Expr) -> Stmt:
    return loop(Store(OUT, (i,), x))


def lanes_stored(x: Expr) -> Stmt:
    return Store(OUT, (LANES,), x)


GOOD = [
    Seq(()),
    loop(WORK, LoopKind.PARALLEL),
    loop(seq(WORK, WORK)),
    seq(loop(WORK), loop(WORK)),
    Alloc(ACC, loop(seq(Store(ACC, (), ONE), Store(OUT, (i,), Load(ACC, ()))), LoopKind.PARALLEL)),
    loop(loop(If(j < 3, WORK), LoopKind.VECTOR, Const(8), j)),
    stored(Let(Var("x", F32), Load(A, (i, Const(0))), Var("x", F32) * 2.0)),
    lanes_stored(Fma(V, V, V)),
    lanes_stored(Load(A, (LANES, Const(3)), Binary("lt", LANES, LANES))),
    Store(OUT, (Const(0),), LaneReduce("add", V)),
    Alloc(ACC, Update(monoids.sum_of(), (ACC,), (), (ONE,))),
    Assert(M < 3, "small"),
    stored(Select(i < 3, ONE, ONE)),
    stored(Bitcast(cast(i, I32), F32)),
]


@pytest.mark.parametrize("body", GOOD, ids=str)
def test_good(body: Stmt) -> None:
    func = kernel(body)
    assert verify(func) is func


def test_lowered_and_simplified_kernels_are_good() -> None:
    a, b = te.placeholder((M, 8)), te.placeholder((8, 4))
    k, n = te.reduce_axis(8), te.reduce_axis(4)
    product = te.compute((M, 4), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    top = te.compute((M,), lambda i: te.argmax(product[i, n], axis=n))
    func = verify(lower([product, top]))
    verify(simplify_func(func))


def test_an_unrolled_loop_may_vary_up_to_a_bound() -> None:
    verify(kernel(loop(WORK, LoopKind.UNROLLED, extent=minimum(M, Const(8)))))


def test_parallel_loops_that_are_perfectly_nested() -> None:
    inner = loop(WORK, LoopKind.PARALLEL)
    verify(kernel(loop(inner, LoopKind.PARALLEL, var=j)))
    around = loop(loop(inner, LoopKind.PARALLEL, var=j), LoopKind.PARALLEL, var=Var("k"))
    verify(kernel(Alloc(Buffer("s", (M,), F32, Scope.SCRATCH), around)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (WORK, "variable i is not defined here"),
        (seq(loop(WORK), WORK), "variable i is not defined here"),
        (loop(loop(WORK)), "variable i is defined around it already"),
        (stored(Let(Var("i", F32), ONE, ONE)), "variable i is defined around it already"),
        (stored(Let(Var("x", F32), i, ONE)), "x is i64 of 1 lanes"),
        (Store(OUT, (Sym("N", 0, 4),), ONE), "symbol N is no parameter"),
        (Store(OUT, (Sym("M", 0, 4),), ONE), "symbol M is no parameter"),
        (Store(OUT, (), ONE), "0 indices for 1 dims"),
        (Store(OUT, (ONE,), ONE), "an index of type f32"),
        (Store(OUT, (Const(0),), Const(1)), "stores i64"),
        (Store(OUT, (LANES,), ONE), "stores 1 lanes at 4"),
        (Store(OUT, (Const(0),), ONE, ONE), "a mask of type f32"),
        (Store(A, (Const(0), Const(0)), ONE), "writes A, which is no output"),
        (Store(ACC, (), ONE), "buffer acc is not defined here"),
        (Store(Buffer("out", (M, M), F32), (i, i), ONE), "variable i is not defined"),
        (Store(Buffer("out", (M,), F16), (Const(0),), ONE), "buffer out is defined otherwise"),
        (stored(Load(A, (i,))), "1 indices for 2 dims"),
        (stored(Binary("add", ONE, Const(1, F16))), "operands are f32 and f16"),
        (lanes_stored(Binary("add", V, ONE)), "operands have 4 and 1 lanes"),
        (lanes_stored(Fma(V, V, ONE)), "the operands differ"),
        (stored(Select(i, ONE, ONE)), "the condition is i64"),
        (stored(Select(i < 1, ONE, i)), "is f32 or i64"),
        (stored(Bitcast(i, F32)), "i64 has another size"),
        (lanes_stored(Broadcast(V, 4)), "only a scalar is broadcast"),
        (Store(OUT, (Ramp(LANES, LANES, 4),), V), "a ramp is of two scalars"),
        (stored(LaneReduce("add", ONE)), "a scalar has no lanes"),
        (stored(LaneReduce("sub", V)), "lanes are not folded with sub"),
        (stored(Read(te.placeholder((M,), name="T"), (i,))), "belongs to tensor expressions"),
        (If(i + 0, WORK), "variable i is not defined"),
        (loop(If(i, WORK)), "no scalar bool"),
        (Assert(M, "m"), "no scalar bool"),
        (loop(WORK, LoopKind.VECTOR), "a vector loop needs a constant extent"),
        (loop(WORK, LoopKind.UNROLLED), "an unrolled loop needs an extent of 32 at most"),
        (loop(WORK, extent=ONE), "an extent is i64"),
        (loop(WORK, var=Var("i", F32)), "a loop variable is i64"),
        (loop(loop(WORK, LoopKind.PARALLEL), var=j), "a parallel loop that is not outermost"),
        (seq(loop(WORK, LoopKind.PARALLEL), WORK), "a parallel loop that is not outermost"),
        (
            loop(
                seq(loop(WORK, LoopKind.PARALLEL), Store(OUT, (j,), ONE)), LoopKind.PARALLEL, var=j
            ),
            "a second parallel",
        ),
        (Seq((loop(WORK, LoopKind.PARALLEL), loop(WORK, LoopKind.PARALLEL))), "not outermost"),
        (Alloc(Buffer("r", (M,), F32, Scope.REGISTER), Seq(())), "needs a constant shape"),
        (Alloc(Buffer("r", (M,), F32), Seq(())), "a buffer of scope param is allocated"),
        (Alloc(Buffer("A", (), F32, Scope.SCRATCH), Seq(())), "is there already"),
        (Alloc(ACC, Update(monoids.sum_of(), (ACC,), (), (i,))), "variable i"),
        (Alloc(ACC, Update(monoids.sum_of(), (ACC,), (), (Const(1),))), "is i64, not f32"),
        (Alloc(ACC, Update(monoids.sum_of(F16), (ACC,), (), (ONE,))), "state acc is no f16"),
        (Alloc(ACC, Update(monoids.argmax_of(), (ACC,), (), (ONE,))), "2 states"),
    ],
)
def test_bad(body: Stmt, said: str) -> None:
    with pytest.raises(InternalError, match=f"verify k: .*{said}"):
        verify(kernel(body))


@pytest.mark.parametrize(
    ("func", "said"),
    [
        (Func("k", (A, A), (M,), (), Seq(())), "two parameters have this name"),
        (Func("k", (A,), (M,), ("B",), Seq(())), "an output that is no parameter"),
        (Func("k", (A,), (), (), Seq(())), "symbol M is no parameter"),
        (Func("k", (ACC,), (), (), Seq(())), "a parameter of scope register"),
    ],
)
def test_bad_signature(func: Func, said: str) -> None:
    with pytest.raises(InternalError, match=said):
        verify(func)


# --- indices of expressions

X = te.placeholder((M, 8), name="X")
IDS = te.placeholder((M,), I64, name="ids")
k = te.reduce_axis(8)
far = te.reduce_axis(9)


@pytest.mark.parametrize(
    "tensor",
    [
        te.compute((M, 8), lambda i, j: X[i, j]),
        te.compute((M,), lambda i: te.sum(X[i, k], axis=k)),
        te.compute((M, 4), lambda i, j: X[M - 1 - i, j * 2 + 1]),
        te.compute((M, 9), lambda i, j: te.where(j < 8, X[i, j], 0.0)),
        te.compute((M * 8,), lambda i: X[i // 8, i % 8]),
        te.compute((M,), lambda i: X[IDS[i], 0]),
        te.compute((0,), lambda i: X[i + M, 0]),
        te.scan((M, 8), lambda i, j: X[i, j], dim=1),
    ],
    ids=str,
)
def test_indices_within_pass(tensor: Tensor) -> None:
    check_indices(tensor)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (te.compute((M, 9), lambda i, j: X[i, j]), "index 1 is as high as 8, but X has size 8"),
        (te.compute((M,), lambda i: X[i + 1, 0]), "index 0 is as high as M, but X has size M"),
        (te.compute((M,), lambda i: X[i - 1, 0]), "index 0 is as low as -1"),
        (te.compute((M,), lambda i: te.sum(X[i, far], axis=far)), "index 1 is as high as 8"),
        (te.compute((M,), lambda i: X[i, 8] + 1.0), "index 1 is as high as 8"),
        (te.compute((M, 8), lambda i, j: X[i, j % 4 + 8]), "index 1 is as high as"),
        (te.scan((M, 9), lambda i, j: X[i, j], dim=1), "index 1 is as high as 8"),
    ],
)
def test_indices_beyond_are_refused(tensor: Tensor, said: str) -> None:
    with pytest.raises(CompileError, match=said):
        check_indices(tensor)


def test_an_inner_tensor_is_looked_at_too() -> None:
    inner = te.compute((M,), lambda i: X[i, 9], name="inner")
    with pytest.raises(CompileError, match=r"^inner: X\[i_\d+, 9\]"):
        check_indices(te.compute((M,), lambda i: inner[i] * 2.0))


def test_bools_are_no_numbers() -> None:
    flag = Const(True, BOOL)
    with pytest.raises(InternalError, match="stores bool"):
        verify(kernel(Store(OUT, (Const(0),), flag)))
