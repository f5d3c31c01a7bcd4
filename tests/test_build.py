"""`tc.build`: kernels as functions of NumPy arrays and torch tensors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import tc
from tc import te
from tc.schedule.apply import Scheduled

RANDOM = np.random.default_rng(0)


def matmul(
    n: int = 70, k: int = 33, least: int = 1
) -> tuple[te.Compute, te.Placeholder, te.Placeholder]:
    m = te.sym("M", least, 4096)
    a, b = te.placeholder((m, k), name="a"), te.placeholder((k, n), name="b")
    axis = te.reduce_axis(k)
    return te.compute((m, n), lambda i, j: te.sum(a[i, axis] * b[axis, j], axis=axis)), a, b


def arrays(m: int, n: int = 70, k: int = 33) -> tuple[np.ndarray, np.ndarray]:
    return RANDOM.random((m, k), np.float32), RANDOM.random((k, n), np.float32)


def scheduled() -> Scheduled:
    c, a, b = matmul(least=0)
    return te.schedule(c, [a, b]).tile("i", "j", 8, 32).vectorize("j1", 16).unroll("i1")


@pytest.mark.parametrize("m", [0, 1, 7, 8, 9, 130])
def test_a_schedule_of_ones_own(m: int) -> None:
    f = tc.build(scheduled(), target="host")
    a, b = arrays(m)
    np.testing.assert_allclose(f(a, b), a @ b, rtol=1e-5)


def test_no_schedule_is_the_plain_loops() -> None:
    f = tc.build(te.schedule(matmul()[0]))
    assert f.schedule == ""
    assert "unroll" not in f.loops and "vector" not in f.loops
    a, b = arrays(5)
    np.testing.assert_allclose(f(a, b), a @ b, rtol=1e-5)


def test_the_default_schedule_with_packed_weights() -> None:
    c, _, b = matmul()
    f = tc.build(c, constants=[b])
    assert "pack(p1" in f.schedule
    left, right = arrays(20)
    packed = f.pack(right, 1)
    np.testing.assert_allclose(f(left, packed), left @ right, rtol=1e-5)
    np.testing.assert_allclose(f(left, right), left @ right, rtol=1e-5)


def test_torch_in_torch_out() -> None:
    c, _, b = matmul()
    f = tc.build(c, constants=[b])
    left, right = (torch.from_numpy(x) for x in arrays(20))
    for given in (right, f.pack(right, 1), right.T.contiguous().T):
        out = f(left, given)
        assert isinstance(out, torch.Tensor)
        torch.testing.assert_close(out, left @ right)


def test_any_layout() -> None:
    f = tc.build(scheduled(), target="host")
    a, b = arrays(9)
    unaligned = np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(a.shape)
    wide = np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3]
    for given in (a[::-1], a[:, ::-1], wide, np.asfortranarray(a), unaligned):
        np.testing.assert_allclose(f(given, b), given @ b, rtol=1e-5)
        np.testing.assert_allclose(f(a, b[::-1]), a @ b[::-1], rtol=1e-5)
    row = np.broadcast_to(a[:1], a.shape)
    np.testing.assert_allclose(f(row, b), row @ b, rtol=1e-5)


def test_several_outputs_and_types() -> None:
    n = te.sym("n", 0)
    x = te.placeholder((n,), "i64", name="x")
    double = te.compute((n,), lambda i: x[i] * 2)
    positive = te.compute((n,), lambda i: x[i] > 0)
    f = tc.build([double, positive])
    given = np.array([-3, 0, 5])
    two, flags = f(given)
    np.testing.assert_array_equal(two, given * 2)
    np.testing.assert_array_equal(flags, given > 0)
    assert flags.dtype == np.bool_


def test_what_can_be_looked_at() -> None:
    f = tc.build(scheduled())
    assert "for i0 in range((M + 7) // 8):" in f.loops
    assert "define" in f.llvm_ir and "fma" in f.llvm_ir
    assert "GOMP_parallel" in f.asm
    assert repr(f).startswith("<Kernel (f32[M, 33], f32[33, 70]) -> f32[M, 70] for ")
    assert "fma" in f.c_source and "for (int64_t i0 = 0;" in f.c_source


def test_many_threads_may_call_it() -> None:
    f = tc.build(scheduled())
    cases = [arrays(m) for m in range(1, 33)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda case: f(*case), cases))
    for (a, b), out in zip(cases, found, strict=True):
        np.testing.assert_allclose(out, a @ b, rtol=1e-5)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "0 inputs: the program takes 2; pass a, b"),
        (arrays(3, k=32), "input a: has 32 in dim 1, expected 33"),
        ((arrays(3)[0].astype(np.float64), arrays(3)[1]), "input a: is of dtype float64"),
        ((arrays(3)[0][0], arrays(3)[1]), "input a: has rank 1"),
    ],
)
def test_arrays_that_do_not_fit(args: tuple[object, ...], said: str) -> None:
    with pytest.raises(tc.TcError, match=said):
        tc.build(scheduled())(*args)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(tc.UnsupportedError, match="unknown target"):
        tc.build(scheduled(), target="abacus")
    with pytest.raises(tc.UnsupportedError, match="threads=0"):
        tc.build(scheduled(), threads=0)
    with pytest.raises(tc.CompileError, match="build of int"):
        tc.build(3)  # type: ignore[arg-type]
    with pytest.raises(tc.ScheduleError, match="no loop"):
        tc.build(te.schedule(matmul()[0]).unroll("q"))


def test_packing_what_is_not_packed() -> None:
    f = tc.build(scheduled())
    with pytest.raises(tc.CompileError, match="packs inputs none"):
        f.pack(arrays(3)[1], 1)
    c, _, b = matmul()
    one, other = tc.build(c, constants=[b]), tc.build(c, constants=[b])
    left, right = arrays(3)
    with pytest.raises(tc.CompileError, match="packed for another kernel"):
        other(left, one.pack(right, 1))


def test_what_is_packed_is_taken_in_its_place_alone() -> None:
    a, b = te.placeholder((32, 32), name="a"), te.placeholder((32, 32), name="b")
    k = te.reduce_axis(32)
    product = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    f = tc.build(product, constants=[b], threads=1)
    plain = tc.build(te.compute((32, 32), lambda i, j: a[i, j] + 1.0), threads=1)
    array = np.ones((32, 32), np.float32)
    packed = f.pack(array, 1)
    with pytest.raises(tc.CompileError, match="packed input 0: was packed as input 1"):
        f(packed, array)
    for call in (plain, plain.bind, lambda p: f.pack(p, 1)):
        with pytest.raises(tc.TcError, match="is of type Packed"):
            call(packed)


def test_an_index_out_of_range_is_told() -> None:
    table, ids = te.placeholder((10, 4), name="table"), te.placeholder((3,), "i64", name="ids")
    f = tc.build(te.schedule(te.compute((3, 4), lambda i, j: table[ids[i], j]), [table, ids]))
    rows = RANDOM.random((10, 4), np.float32)
    np.testing.assert_array_equal(f(rows, np.array([1, 9, 0])), rows[[1, 9, 0]])
    for bad in (10, -1):
        with pytest.raises(tc.TcError, match="index out of range"):
            f(rows, np.array([1, bad, 0]))


def test_a_bound_call_reads_what_its_arrays_hold_now() -> None:
    a, b = te.placeholder((5, 7), name="a"), te.placeholder((7, 40), name="b")
    k = te.reduce_axis(7)
    product = te.compute((5, 40), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    kernel = tc.build(product, constants=[b], threads=1)
    x, w = np.ones((5, 7), np.float32), np.random.rand(7, 40).astype(np.float32)
    bound = kernel.bind(x, kernel.pack(w, 1))
    first = bound()
    np.testing.assert_allclose(first, x @ w, rtol=1e-6)
    x *= 2
    assert bound() is first is bound.outputs[0]
    np.testing.assert_allclose(first, x @ w, rtol=1e-6)
    with pytest.raises(tc.TcError, match="not dense.*contiguous"):
        kernel.bind(np.ones((7, 5), np.float32).T, w)
    with pytest.raises(tc.TcError, match="shape"):
        kernel.bind(np.ones((5, 8), np.float32), w)


def test_a_bound_call_tells_what_it_cannot_index() -> None:
    table, ids = te.placeholder((4,), name="table"), te.placeholder((3,), dtype="i64", name="ids")
    kernel = tc.build(te.compute((3,), lambda i: table[ids[i]]), threads=1)
    rows = np.array([0, 3, 1])
    bound = kernel.bind(np.arange(4, dtype=np.float32), rows)
    assert bound().tolist() == [0, 3, 1]
    rows[1] = 4
    with pytest.raises(tc.TcError):
        bound()
    rows[1] = 2
    assert bound().tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((130, 70), (1, 0)),
        ((50, 19), (1, 0)),
        ((3, 3), (1, 0)),
        ((300, 5), (1, 0)),
        ((7, 13, 5), (2, 1, 0)),
        ((64, 1, 9), (2, 1, 0)),
        ((2, 50, 64), (0, 2, 1)),
        ((4, 3, 20, 33), (0, 3, 1, 2)),
    ],
)
def test_transposed_maps(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    source = te.placeholder(shape)

    def body(*index: object) -> object:
        return source[tuple(index[axes.index(n)] for n in range(len(shape)))] * 2.0

    kernel = tc.build(te.compute(tuple(shape[n] for n in axes), body), threads=2)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    np.testing.assert_array_equal(kernel(x), x.transpose(axes) * 2)
