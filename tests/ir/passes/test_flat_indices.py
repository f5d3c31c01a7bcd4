"""A map over tensors of unknown sizes walks memory in vectors, without a division."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tc import te
from tc.ir.affine import plain_poly, poly_of
from tc.ir.expr import Binary, Expr, Load, Ramp
from tc.ir.lower import lower
from tc.ir.passes import run_passes
from tc.ir.tensor import Tensor
from tc.ir.visit import own_exprs, sub_exprs, sub_stmts
from tc.kernel import build
from tc.schedule.apply import apply
from tc.schedule.defaults import default_schedule
from tc.schedule.step import Schedule
from tc.target import Target

A, B, C = te.sym("a"), te.sym("b"), te.sym("c")


def _map(shape: Sequence[Expr | int]) -> Tensor:
    x = te.placeholder(shape)
    return te.compute(x.shape, lambda *i: te.exp(x[i]) + x[i], "y")


@pytest.mark.parametrize("shape", [(A, B), (A, B, C), (A, 3, C), (A, 4, B, C), (A, B, 5)])
def test_loads_of_a_flat_map_are_ramps(shape: Sequence[Expr | int]) -> None:
    out = _map(shape)
    made = default_schedule((out,), None, frozenset(), Target.parse("x86-64-v3"))
    func = run_passes(apply(lower((out,)), made))
    exprs = [x for s in sub_stmts(func.body) for o in own_exprs(s) for x in sub_exprs(o)]
    loads = [x for x in exprs if isinstance(x, Load) and x.lanes > 1]
    assert loads
    assert all(isinstance(x.indices[0], Ramp) for x in loads)


def test_values_of_a_flat_map_of_unknown_sizes() -> None:
    kernel = build(_map((A, B, C)))
    for shape in ((1, 1, 1), (2, 3, 5), (3, 7, 11), (1, 1, 1025), (5, 41, 8)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(kernel(x), np.exp(x) + x, rtol=1e-5, atol=1e-6)


def test_what_a_node_worked_out_stays_so() -> None:
    """A divided index and the mask beside it share a node, whose polynomial they read in turn."""
    x = te.placeholder((3, 5))
    i, j = te.reduce_axis(3), te.reduce_axis(5)
    out = te.compute((1,), lambda n: te.sum(x[i, j] + te.cast(n, te.F32), axis=(i, j)))
    steps = Schedule.parse("fuse(k, k_1, k_1f) rfactor(k_1f, 8, rows=1)")
    func = run_passes(apply(lower((out,)), steps))
    nodes = [x for s in sub_stmts(func.body) for o in own_exprs(s) for x in sub_exprs(o)]
    sums = [x for x in nodes if isinstance(x, Binary) and x.lanes == 1]
    assert any(plain_poly(x).get((), 0) == 8 for x in sums)
    assert all(plain_poly(x) == poly_of(x, lambda atom: atom) for x in sums)
