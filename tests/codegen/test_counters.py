"""Strides of an innermost loop are added up, from where this thread's range begins."""

from __future__ import annotations

import numpy as np
import pytest

import tc
from tc import te
from tc.schedule.apply import Scheduled


def product() -> Scheduled:
    a, b = te.placeholder((5, 64)), te.placeholder((64, 24))
    k = te.reduce_axis(64)
    c = te.compute((5, 24), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    return te.schedule(c)


def test_an_inner_loop_does_not_multiply():
    kernel = tc.build(product().split("k", 4).unroll("k1"), target="x86-64-v3")
    body = kernel.llvm_ir.partition("body")[2]
    inner = max(body.split("\nbody")[1:], key=lambda text: text.count("@llvm.fma"))
    inner = inner.partition("\nexit")[0]
    assert inner.count("phi i64") == 3  # the counter, 4 and 96 elements a step
    assert " mul " not in inner


def test_strides_that_a_size_decides_are_added_up_too():
    """The hints of a product go through the next block in steps that the number of rows decides."""
    m, k = te.sym("M"), te.reduce_axis(64)
    a, b = te.placeholder((m, 64)), te.placeholder((64, 48))
    c = te.compute((m, 48), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k))
    kernel = tc.build(c, target="x86-64-v3", constants=(b,))
    loops = kernel.llvm_ir.split("\nbody")[1:]
    inner = [text.partition("\nexit")[0] for text in loops if "@llvm.prefetch" in text]
    inner = [text for text in inner if text.count("@llvm.fma") >= 12]
    assert inner
    assert not any(" mul " in text or " sdiv " in text for text in inner)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_parallel_loop_begins_with_its_own_multiple(threads):
    x = te.placeholder((7, 40))
    y = te.compute((7, 40), lambda i, j: x[i, j] * 2.0)
    scheduled = te.schedule(y).unroll("j").parallel("i")
    given = np.arange(280, dtype=np.float32).reshape(7, 40)
    assert (tc.build(scheduled, threads=threads)(given) == 2 * given).all()


def test_products_are_those_of_numpy():
    random = np.random.default_rng(0)
    a = random.integers(-9, 9, (5, 64)).astype(np.float32)
    b = random.integers(-9, 9, (64, 24)).astype(np.float32)
    for scheduled in (product(), product().split("k", 4).unroll("k1")):
        assert (tc.build(scheduled)(a, b) == a @ b).all()
