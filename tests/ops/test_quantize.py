"""The rows of the operator table that graph passes put in: they stand for no ATen operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tc.ir.types import BF16, F32
from tc.ops import Operator, by_name
from tests.ops.harness import Given, build, expected, make, run

NAMES = (
    "quantize_rows", "weight_scale", "weight_int8", "weight_sum", "grouped_linear",
    "grouped_embedding",
)  # fmt: skip
CASES = [
    pytest.param(by_name(name), s.args, id=f"{name}-{n}")
    for name in NAMES
    for n, s in enumerate(by_name(name).samples)
]


@pytest.mark.parametrize(("row", "args"), CASES)
def test_value(row: Operator, args: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(len(row.name))
    values = tuple(make(a, rng) for a in args)
    tensors, arrays, _ = build(row, values)
    found, wanted = run(tensors, arrays, {}), expected(row, values)
    for got, reference in zip(found, wanted, strict=True):
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, reference, rtol=1e-4, atol=1e-4)
        else:
            # A value half way between two steps may go to either in f32.
            gap = got.astype(np.int64) - reference.astype(np.int64)
            assert np.abs(gap).max(initial=0) <= (0 if row.name == "weight_sum" else 1)


def test_rows_of_zeros_and_extremes() -> None:
    x = np.array([[0, 0, 0, 0], [1e-38, 0, 0, 0], [2e38, -1e38, 0, 0], [1, 2, 3, 4]], np.float32)
    tensors, arrays, _ = build(by_name("quantize_rows"), (Given(x, F32),))
    step, zero, found = run(tensors, arrays, {})
    assert found.tolist() == [[0] * 4, [0] * 4, [255, 0, 85, 85], [64, 128, 191, 255]]
    assert zero[:, 0].tolist() == [0, 0, 85, 0]
    assert np.isfinite(step).all()


def test_weights_of_zeros() -> None:
    w = np.zeros((3, 1, 4), np.float32)
    w[0, 0, 0] = 2.0
    scale = np.array([[2**-6, 0, 0]], np.float32)
    tensors, arrays, _ = build(by_name("weight_int8"), (Given(w, F32), Given(scale, BF16)))
    (found,) = run(tensors, arrays, {})
    assert found[0, 0, 0] == 127  # 128 steps, and no more than that
    assert np.count_nonzero(found) == 1


def test_a_scale_is_one_that_the_weights_are_counted_in() -> None:
    """Its rounding is no error: elements are off by half a step, those beyond the last by two."""
    w = np.random.default_rng(0).normal(size=(16, 3, 64)).astype(np.float32)
    tensors, arrays, _ = build(by_name("weight_scale"), (Given(w, F32),))
    (scale,) = run(tensors, arrays, {})
    assert not (scale.astype(np.float32).view(np.uint32) & 0xFFFF).any()
    tensors, arrays, _ = build(by_name("weight_int8"), (Given(w, F32), Given(scale, BF16)))
    (found,) = run(tensors, arrays, {})
    steps = np.abs(w / scale.T[..., None] - found)
    assert steps.max() <= 1.0
    assert (steps <= 0.5 + 1e-4).mean() > 0.99
