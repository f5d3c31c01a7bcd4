"""Walking and rewriting: every node's children, identity where nothing changes, moved buffers."""

from __future__ import annotations

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
    equal,
)
from tc.ir.loop import Buffer, Func, Scope, Seq, Store, Update
from tc.ir.parser import parse_func
from tc.ir.types import F32, I32
from tc.ir.visit import (
    children,
    exprs_of,
    free_vars,
    loads_of,
    map_accesses,
    map_expr,
    map_stmt,
    move_buffers,
    replace_buffer,
    sub_exprs,
    sub_stmts,
    substitute,
    uses,
    with_body,
    with_children,
)

V, J = Var("i"), Var("j")
X, Y = Var("x", F32), Var("y", F32)
A = Buffer("a", (Const(4),), F32)
READ, FOLD = te.placeholder((4,), name="t"), te.reduce_axis(4)
NODES: list[Expr] = [
    Const(1), V, te.sym("M"), Unary("neg", V), Binary("add", V, J), Fma(X, Y, X),
    Select(equal(V, J), X, Y), Cast(V, F32), Bitcast(X, I32), Let(X, Y, X + Y), Ramp(V, J, 4),
    Broadcast(X, 4), LaneReduce("add", Broadcast(X, 4)), Load(A, (V,)), Load(A, (V,), equal(V, J)),
    READ[V], te.sum(READ[FOLD], axis=FOLD), te.argmax(READ[FOLD], axis=FOLD),
]  # fmt: skip

TEXT = """\
def f(a: f32[4], b: out f32[4], n: sym[0, 4]):
    with m = alloc(f32[], register):
        with l = alloc(i64[], register):
            m[] = 0.0:f32
            l[] = 0
            for i in range(n):
                if i < 3:
                    m[], l[] <argmax[f32, i64]>= a[i], i
                else:
                    assert i < 4, "far"
            b[0, mask=n < 4] = m[]
"""


@pytest.mark.parametrize("x", NODES, ids=lambda x: type(x).__name__)
def test_a_node_is_its_children(x: Expr) -> None:
    kids = children(x)
    if kids:
        assert with_children(x, kids) == x
    assert map_expr(x, lambda _: None) is x


@pytest.mark.parametrize("x", NODES, ids=lambda x: type(x).__name__)
def test_every_child_is_reached_by_a_rewrite(x: Expr) -> None:
    for n, kid in enumerate(children(x)):
        new = map_expr(x, lambda y, kid=kid: Const(77, y.dtype) if y is kid else None)
        assert isinstance(children(new)[n], Const)


def test_something_that_is_no_node() -> None:
    with pytest.raises(InternalError, match="str is not a node"):
        children("i")  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="Const has no children"):
        with_children(Const(1), ())


def func() -> Func:
    return parse_func(TEXT)


def test_statements_without_a_change_stay_the_same_object() -> None:
    f = func()
    assert map_stmt(f.body, lambda _: None, lambda _: None) is f.body
    assert with_body(f, f.body) is f


def test_rewriting_reaches_every_expression_of_every_statement() -> None:
    f = func()
    seen: list[Expr] = []
    map_stmt(f.body, lambda x: seen.append(x))
    assert sorted(map(str, seen)) == sorted(map(str, exprs_of(f.body)))
    assert {type(s).__name__ for s in sub_stmts(f.body)} == {
        "Alloc", "Seq", "Store", "For", "If", "Update", "Assert",
    }  # fmt: skip


def test_a_statement_that_becomes_nothing() -> None:
    body = map_stmt(func().body, None, lambda s: Seq(()) if isinstance(s, Store) else None)
    assert not any(isinstance(s, Store) for s in sub_stmts(body))
    assert any(isinstance(s, Update) for s in sub_stmts(body))


def test_substitution_and_free_variables() -> None:
    x = Let(X, Y * 2.0, X + Y)
    assert free_vars(x) == {Y}
    assert substitute(V * 3 + J, {V: J, J: V}) == J * 3 + V
    assert substitute(x, {}) is x
    assert uses(V * 3, V)
    assert not uses(V * 3, J)
    total = te.sum(READ[FOLD] * X, axis=FOLD)
    assert free_vars(total) == {X}
    assert len(list(sub_exprs(V * 3 + J))) == 5


def test_moving_one_buffer() -> None:
    f = func()
    body = map_accesses(f.body, "b", lambda i: (Buffer("c", (Const(4), Const(1)), F32), (*i, V)))
    assert "c[0, i, mask=n < 4] = m[]" in str(body)
    new = Buffer("a", (Const(4),), F32, align=64)
    assert next(loads_of(replace_buffer(f.body, "a", new))).buffer is new


def test_the_states_of_a_fold_move_together() -> None:
    f = func()
    wide = {
        "m": Buffer("m", (Const(4),), F32, Scope.REGISTER),
        "l": Buffer("l", (Const(4),), te.I64, Scope.REGISTER),
    }
    moved = str(move_buffers(f.body, wide, lambda i: (Const(2), *i)))
    assert "m[2], l[2] <argmax[f32, i64]>= a[i], i" in moved
    assert "b[0, mask=n < 4] = m[2]" in moved
    with pytest.raises(InternalError, match="the states of a fold share their indices"):
        move_buffers(f.body, {"m": wide["m"]}, lambda i: (Const(2), *i))


def test_a_fold_of_one_state_keeps_the_rest() -> None:
    m = monoids.sum_of()
    u = Update(m, (A,), (V,), (X,))
    new = Buffer("z", (Const(4),), F32)
    assert replace_buffer(u, "a", new) == Update(m, (new,), (V,), (X,))
    assert replace_buffer(u, "other", new) is u
