"""Tensor expressions to loops: the text, names, checks of indices, and the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tc import te
from tc.errors import InternalError, TcError
from tc.ir import monoid as monoids
from tc.ir.expr import Expr, Let, Sym, Var
from tc.ir.interpret import evaluate, run
from tc.ir.loop import Func
from tc.ir.lower import lower, lower_named
from tc.ir.verify import verify

M = te.sym("M", 0, 9)


def matmul() -> Func:
    a, b, k = te.placeholder((M, 3)), te.placeholder((3, 2)), te.reduce_axis(3)
    return lower((te.compute((M, 2), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k) + 1.0),))


def gather() -> Func:
    x, ids = te.placeholder((5, 2)), te.placeholder((M,), te.I64)
    return lower((te.compute((M, 2), lambda i, j: x[ids[i], j]),))


def guarded_gather() -> Func:
    x, ids = te.placeholder((5,)), te.placeholder((M,), te.I64)
    return lower((te.compute((M,), lambda i: te.select(ids[i] < 5, x[ids[i]], -1.0)),), (x, ids))


def bound_gather() -> Func:
    """A place that is data, worked out once and read twice."""
    x, ids, at = te.placeholder((M, 2)), te.placeholder((M,), te.I64), Var("at")
    both = x[at, 0] + x[at, 1]
    return lower((te.compute((M,), lambda i: Let(at, ids[i] - 1, both)),), (x, ids))


def nested() -> Func:
    x, i, j = te.placeholder((M, 3)), te.reduce_axis(M), te.reduce_axis(3)
    return lower((te.compute((), lambda: te.max(te.sum(x[i, j], axis=j), axis=i)),))


def argmax() -> Func:
    x, k = te.placeholder((2, M)), te.reduce_axis(M)
    return lower((te.compute((2,), lambda i: te.argmax(x[i, k], axis=k)),))


def scan() -> Func:
    x = te.placeholder((2, M))
    return lower((te.scan((2, M), lambda i, j: x[i, j], 1),))


def scatter() -> Func:
    base, at, x = te.placeholder((4,)), te.placeholder((M,), te.I64), te.placeholder((M,))
    return lower((te.scatter(base, (M,), lambda i: ((at[i],), x[i]), monoids.sum_of()),))


def two_outputs() -> Func:
    x = te.placeholder((M,))
    t = te.compute((M,), lambda i: x[i] * 2.0)
    return lower((te.compute((M,), lambda i: t[i] + 1.0), te.compute((M,), lambda i: -t[i])))


def shared_axis() -> Func:
    x, k = te.placeholder((2, 3)), te.reduce_axis(3)
    return lower((te.compute((2,), lambda i: te.sum(x[i, k], axis=k) / te.max(x[i, k], axis=k)),))


def guarded_sum() -> Func:
    """A reduction that is wanted, and defined, at some points alone."""
    x, ids, k = te.placeholder((M, 2)), te.placeholder((M,), te.I64), te.reduce_axis(2)
    rows = te.compute(
        (M + 2,),
        lambda i: te.where(
            i < M, te.where(ids[i] < 9, te.sum(x[ids[i], k], axis=k), -1.0), te.sum(x[0, k], axis=k)
        ),
    )
    return lower((rows,), (x, ids))


KERNELS = (
    matmul, gather, guarded_gather, bound_gather, nested, argmax, scan, scatter, two_outputs,
    shared_axis, guarded_sum,
)  # fmt: skip


@pytest.mark.parametrize("make", KERNELS)
def test_text(make: Callable[[], Func], golden: Callable[[str, str], None]) -> None:
    golden(make.__name__, str(make()))


@pytest.mark.parametrize("make", KERNELS)
def test_text_does_not_depend_on_who_built_the_expression(make: Callable[[], Func]) -> None:
    te.fresh("another")
    assert str(make()) == str(make())


def test_matmul() -> None:
    a, b = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((3, 2), np.float32)
    out = np.zeros((4, 2), np.float32)
    run(matmul(), {"p0": a, "p1": b, "out0": out}, {"M": 4})
    np.testing.assert_array_equal(out, a @ b + 1)


def test_nested_reductions() -> None:
    x, out = np.array([[1, 2, 3], [7, 0, 0]], np.float32), np.zeros((), np.float32)
    run(nested(), {"p0": x, "out0": out}, {"M": 2})
    assert out == 7


def test_no_points_give_the_identity() -> None:
    out = np.zeros((), np.float32)
    run(nested(), {"p0": np.zeros((0, 3), np.float32), "out0": out}, {"M": 0})
    assert out == -np.inf


def test_one_axis_shared_by_two_reductions() -> None:
    x, out = np.array([[1, 2, 3], [7, 0, 0]], np.float32), np.zeros(2, np.float32)
    run(shared_axis(), {"p0": x, "out0": out}, {})
    np.testing.assert_array_equal(out, [2, 1])


def test_scan_and_scatter() -> None:
    x, out = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.zeros((2, 3), np.float32)
    run(scan(), {"p0": x, "out0": out}, {"M": 3})
    np.testing.assert_array_equal(out, np.cumsum(x, axis=1))
    base, into = np.ones(4, np.float32), np.zeros(4, np.float32)
    ids, values = np.array([2, 0, 2]), np.array([1, 2, 3], np.float32)
    run(scatter(), {"p0": base, "p1": ids, "p2": values, "out0": into}, {"M": 3})
    np.testing.assert_array_equal(into, [3, 1, 5, 1])


@pytest.mark.parametrize("bad", [5, -1])
def test_an_index_out_of_range_is_told_and_touches_nothing(bad: int) -> None:
    x, out = np.ones((5, 2), np.float32), np.full((2, 2), 9, np.float32)
    with pytest.raises(TcError, match="index out of range in dim 0 of a f32 tensor of rank 2"):
        run(gather(), {"p0": x, "p1": np.array([1, bad]), "out0": out}, {"M": 2})
    np.testing.assert_array_equal(out, [[1, 1], [0, 0]])


@pytest.mark.parametrize("bad", [4, 0])
def test_a_place_that_is_bound_to_data_is_checked_where_it_is_known(bad: int) -> None:
    x, out = np.arange(6, dtype=np.float32).reshape(3, 2), np.full(3, 9, np.float32)
    verify(bound_gather())
    run(bound_gather(), {"p0": x, "p1": np.array([2, 1, 3]), "out0": out}, {"M": 3})
    np.testing.assert_array_equal(out, [5, 1, 9])
    with pytest.raises(TcError, match="index out of range in dim 0 of a f32 tensor of rank 2"):
        run(bound_gather(), {"p0": x, "p1": np.array([1, 2, bad]), "out0": out}, {"M": 3})
    np.testing.assert_array_equal(out, [1, 5, 0])


def test_an_index_that_is_not_taken_is_not_checked() -> None:
    x, out = np.arange(5, dtype=np.float32), np.zeros(3, np.float32)
    run(guarded_gather(), {"p0": x, "p1": np.array([1, 77, 4]), "out0": out}, {"M": 3})
    np.testing.assert_array_equal(out, [1, -1, 4])


@pytest.mark.parametrize(("least", "checked"), [(1, False), (0, True)])
def test_a_place_held_within_a_size_that_is_one_at_least_is_not_checked(
    least: int, checked: bool
) -> None:
    size = te.sym("N", least, 9)
    x, ids = te.placeholder((size,)), te.placeholder((3,), te.I64)

    def held(i: Expr) -> Expr:
        return x[te.maximum(te.minimum(ids[i], size - 1), 0)]

    func = lower((te.compute((3,), held),), (x, ids))
    assert ("assert" in str(func)) == checked
    out = np.zeros(3, np.float32)
    run(func, {"p0": np.ones(4, np.float32), "p1": np.array([-7, 3, 99]), "out0": out}, {"N": 4})
    np.testing.assert_array_equal(out, 1)


def test_a_reduction_that_is_not_taken_reads_and_checks_nothing() -> None:
    arrays = {
        "p0": np.arange(4, dtype=np.float32).reshape(2, 2), "p1": np.array([1, 77]),
        "out0": np.zeros(4, np.float32),
    }  # fmt: skip
    verify(guarded_sum())
    run(guarded_sum(), arrays, {"M": 2})
    np.testing.assert_array_equal(arrays["out0"], [5, -1, 1, 1])
    arrays["p1"][0] = 8
    with pytest.raises(TcError, match="index out of range in dim 0 of a f32 tensor of rank 2"):
        run(guarded_sum(), arrays, {"M": 2})


def test_a_reduction_may_use_what_is_bound_around_it() -> None:
    x, ids, at, k = (
        te.placeholder((3, 2)),
        te.placeholder((2,), te.I64),
        Var("at"),
        te.reduce_axis(2),
    )
    total = te.sum(x[at, k], axis=k)
    func = verify(lower((te.compute((2,), lambda i: Let(at, ids[i], total)),), (x, ids)))
    out = np.zeros(2, np.float32)
    x_data = np.arange(6, dtype=np.float32).reshape(3, 2)
    run(func, {"p0": x_data, "p1": np.array([2, 0]), "out0": out}, {})
    np.testing.assert_array_equal(out, [9, 1])


def test_a_scatter_out_of_range_is_told() -> None:
    arrays = {
        "p0": np.ones(4, np.float32), "p1": np.array([9]), "p2": np.ones(1, np.float32),
        "out0": np.zeros(4, np.float32),
    }  # fmt: skip
    with pytest.raises(TcError, match="index out of range"):
        run(scatter(), arrays, {"M": 1})
    np.testing.assert_array_equal(arrays["out0"], 1)


def test_names_of_loops_and_buffers() -> None:
    x = te.placeholder((M,), name="x")
    t = te.compute((M,), lambda row: x[row] * 2.0, name="t")
    y = te.compute((M,), lambda row: t[row] + 1.0, name="y")
    low = lower_named((y,))
    assert low.buffers == {"x": "p0", "t": "t0", "y": "out0"}
    assert low.loops[("y", y.axes[0].name)] == "row"
    assert low.loops[("t", t.axes[0].name)] == "row_1"


def test_inputs_keep_the_given_order_and_may_be_unused() -> None:
    x, y = te.placeholder((2,)), te.placeholder((M,))
    func = lower((te.compute((2,), lambda i: x[i] + 1.0),), (y, x))
    assert [str(p.shape[0]) for p in func.params[:2]] == ["M where M: sym[0, 9]", "2"]
    assert func.symbols == (M,)


def test_one_symbol_with_two_bounds_is_refused() -> None:
    x, y = te.placeholder((Sym("A", 1, 4),)), te.placeholder((Sym("A", 1, 5),))
    with pytest.raises(InternalError, match="symbol A has two sets of bounds"):
        lower((te.compute((1,), lambda i: x[i] + y[i]),))


def test_one_tensor_as_two_outputs_is_refused() -> None:
    x = te.placeholder((2,))
    t = te.compute((2,), lambda i: x[i] + 1.0)
    with pytest.raises(InternalError, match="twice among the outputs"):
        lower((t, t))


def test_an_input_as_output_is_refused() -> None:
    x = te.placeholder((2,))
    with pytest.raises(InternalError, match="is an input"):
        lower((x,))


def test_an_input_that_was_not_given_is_refused() -> None:
    x, y = te.placeholder((2,)), te.placeholder((2,))
    with pytest.raises(InternalError, match="is read, but is not among the inputs"):
        lower((te.compute((2,), lambda i: x[i] + y[i]),), (x,))


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_loops_and_expression_agree(n: int) -> None:
    x, k, q = te.placeholder((M, 3)), te.reduce_axis(3), te.reduce_axis(3)
    m = te.compute((M,), lambda i: te.max(x[i, k], axis=k))
    e = te.compute((M, 3), lambda i, j: te.exp(x[i, j] - m[i]))
    y = te.compute((M, 3), lambda i, j: e[i, j] / te.sum(e[i, q], axis=q))
    data = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    out = np.zeros((n, 3), np.float32)
    run(lower((y,)), {"p0": data, "out0": out}, {"M": n})
    want = evaluate(y, {x.name: data}, {"M": n})
    np.testing.assert_allclose(out, want, rtol=1e-6)
