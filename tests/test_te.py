"""Writing tensor expressions: what the constructors make, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Reduce
from tc.ir.interpret import run
from tc.ir.lower import lower


def test_the_matmul_of_the_manual() -> None:
    m = te.sym("M")
    a, b = te.placeholder((m, 3)), te.placeholder((3, 2))
    k = te.reduce_axis(3)
    c = te.compute((m, 2), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    func = lower((c,))
    assert [p.name for p in func.params] == ["p0", "p1", "out0"]
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((3, 2), np.float32)
    out = np.zeros((4, 2), np.float32)
    run(func, {"p0": x, "p1": y, "out0": out}, {"M": 4})
    np.testing.assert_array_equal(out, x @ y)


def test_shapes_take_integers_symbols_and_expressions() -> None:
    m = te.sym("M", 2, 8)
    t = te.placeholder((m, m * 2 + 1, 4))
    assert [str(d) for d in t.shape] == [
        "M where M: sym[2, 8]", "M * 2 + 1 where M: sym[2, 8]", "4",
    ]  # fmt: skip
    assert t.rank == 3
    assert t.dtype is te.F32


def test_python_numbers_take_the_type_of_the_other_side() -> None:
    x = te.placeholder((4,), "f64")
    assert te.compute((4,), lambda i: x[i] * 2).dtype is te.F64
    assert te.compute((4,), lambda i: 1 - x[i]).dtype is te.F64


def test_axes_without_a_parameter_get_names() -> None:
    x = te.placeholder((2, 3))
    t = te.compute((2, 3), lambda *i: x[i] + 1.0)
    assert len({v.name for v in t.axes}) == 2


@pytest.mark.parametrize("name", ["prod", "max", "min", "sum"])
def test_reductions_of_one_state(name: str) -> None:
    x, k = te.placeholder((2, 5)), te.reduce_axis(5)
    t = te.compute((2,), lambda i: getattr(te, name)(x[i, k], axis=k))
    data = np.array([[1, 2, -3, 4, 5], [2, 2, 2, 2, -1]], np.float32)
    out = np.zeros(2, np.float32)
    run(lower((t,)), {"p0": data, "out0": out}, {})
    np.testing.assert_array_equal(out, getattr(np, name)(data, axis=1))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_the_first_of_equal_values_is_the_index(name: str) -> None:
    x, k = te.placeholder((3, 4)), te.reduce_axis(4)
    t = te.compute((3,), lambda i: getattr(te, name)(x[i, k], axis=k))
    data = np.array([[1, 7, 7, 1], [3, 3, 3, 3], [1, np.nan, 9, np.nan]], np.float32)
    out = np.zeros(3, np.int64)
    run(lower((t,)), {"p0": data, "out0": out}, {})
    np.testing.assert_array_equal(out, getattr(np, name)(data, axis=1))


def test_any_and_all() -> None:
    x = te.placeholder((2, 3), te.BOOL)
    k, q = te.reduce_axis(3), te.reduce_axis(3)
    some = te.compute((2,), lambda i: te.any(x[i, k], axis=k))
    every = te.compute((2,), lambda i: te.all(x[i, q], axis=q))
    data = np.array([[True, False, True], [False, False, False]])
    out0, out1 = np.zeros(2, bool), np.ones(2, bool)
    run(lower((some, every)), {"p0": data, "out0": out0, "out1": out1}, {})
    assert out0.tolist() == [True, False]
    assert out1.tolist() == [False, False]


def test_a_reduction_over_two_axes_is_one_fold() -> None:
    x = te.placeholder((2, 3))
    i, j = te.reduce_axis(2), te.reduce_axis(3)
    body = te.sum(x[i, j], axis=(i, j))
    assert isinstance(body, Reduce)
    assert len(body.axes) == 2


def test_negative_dims_of_a_scan_count_from_the_end() -> None:
    x = te.placeholder((2, 3))
    assert te.scan((2, 3), lambda i, j: x[i, j], -1).dim == 1
    with pytest.raises(CompileError, match="scan along dim 2: the shape has 2 dims"):
        te.scan((2, 3), lambda i, j: x[i, j], 2)


def test_numbers_are_expressions_too() -> None:
    k = te.reduce_axis(4)
    c = te.compute((2,), lambda i: te.sum(1.0, axis=k) + te.exp(0.0) + te.where(i < 1, 1.0, 2.0))
    out = np.zeros(2, np.float32)
    run(lower((c,)), {"out0": out}, {})
    assert out.tolist() == [6.0, 7.0]


X, AXIS = te.placeholder((10, 20), name="x"), te.reduce_axis(20)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: te.reduce_axis(-3), "-3 is no size"),
        (lambda: te.sum(X[0, 0], axis=5), "axis=5: give te.reduce_axis"),
        (lambda: te.sum(X[0, 0], axis=(AXIS, AXIS)), "one stands there twice"),
        (lambda: te.schedule(X), "output x is an input; copy it"),
        (lambda: te.schedule(()), "is no tensor; give what te.compute made"),
        (lambda: row(X[0, AXIS]), "is an index of nothing around it; reduce over it"),
        (lambda: row(X[X[0, 0], 0]), "an index of x is of f32; te.cast it"),
        (lambda: row(X[0, 0] + te.placeholder((4,), name="x")[0]), "x: two are called that"),
        (lambda: te.schedule(te.compute((1,), lambda i: X[i, 0]), ()), "x is read, but is not"),
        (
            lambda: row(te.placeholder((te.sym("N"),))[0] + te.placeholder((te.sym("N", 2),))[0]),
            "symbol N: has two sets of bounds",
        ),
        (lambda: te.compute((3,), lambda i: X[i, 0] if i > 1 else 0.0), "1 < i.*: is neither true"),
        (lambda: te.compute((3,), lambda i: X[i, 0] > 0 and i > 1), "0.0:f32 < x.*and ~c"),
        (lambda: te.compute((3,), lambda i: not i), "nor false before the kernel runs"),
        (lambda: te.compute((3, 3), lambda i, j: i == j), "False in an expr.*write te.equal"),
        (lambda: row(te.select(AXIS == 3, X[0, 0], 0.0)), "False in an expr.*write te.equal"),
        (lambda: row(X[0, 0] * (AXIS != 3)), "True in an expr.*write te.equal"),
    ],
)
def test_what_makes_no_kernel(made: Callable[[], object], said: str) -> None:
    with pytest.raises(CompileError, match=said):
        made()


def row(body: te.Expr) -> object:
    return te.schedule(te.compute((3,), lambda i: body))


def test_names_are_never_given_twice() -> None:
    assert te.fresh("t") != te.fresh("t")


def test_one_rank_of_indices() -> None:
    x = te.placeholder((2, 3), name="x")
    with pytest.raises(CompileError, match="x: has 2 dims and was given 1 indices"):
        x[0]


def test_a_function_of_too_many_indices() -> None:
    with pytest.raises(CompileError, match="the function takes 2 indices, the shape has 1"):
        te.compute((2,), lambda i, j: i + j)


@pytest.mark.parametrize(("name", "lo", "hi"), [("1x", 1, 2), ("M", 3, 2), ("M", -1, 2)])
def test_symbols_that_are_none(name: str, lo: int, hi: int) -> None:
    with pytest.raises(CompileError, match="needs an identifier and 0 <= lo <= hi"):
        te.sym(name, lo, hi)


def test_element_types_that_are_none() -> None:
    with pytest.raises(CompileError, match="dtype 'f31': no such element type; known are bool"):
        te.dtype("f31")
    with pytest.raises(CompileError, match="dtype 'f31'"):
        te.placeholder((2,), "f31")


def test_element_types_may_be_named() -> None:
    x = te.placeholder((3,), dtype="bf16")
    assert te.cast(x[0], "f32") == te.cast(x[0], te.F32)
    assert te.const(1, "i64") == te.const(1, te.I64)
    with pytest.raises(CompileError, match="dtype 'float': no such element type; known are"):
        te.cast(x[0], "float")
