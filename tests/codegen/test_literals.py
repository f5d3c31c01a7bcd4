"""Literal vectors are read from memory, whole, where an instruction takes them from there."""

from __future__ import annotations

import numpy as np
import pytest

import tc
from tc import te
from tc.ir.expr import Expr
from tc.ir.tensor import Tensor

TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "arm-neon")


def polynomial() -> Tensor:
    x = te.placeholder((5, 64))

    def value(*index: Expr) -> Expr:
        at = x[index]
        return te.where(at < 0.5, te.maximum(at * 3.0 + 7.0, -1.5), te.exp(at) - 0.25)

    return te.compute((5, 64), value)


@pytest.mark.parametrize("target", TARGETS)
def test_only_where_no_lane_is_repeated_on_the_way(target: str) -> None:
    text = tc.build(polynomial(), target=target).llvm_ir
    assert ("externally_initialized constant <8 x float>" in text) == (target == "x86-64-v3")


def test_none_is_spread_in_the_loop() -> None:
    kernel = tc.build(polynomial(), target="x86-64-v3")
    assert "llvm.fma.v8f32" in kernel.llvm_ir
    loop = kernel.llvm_ir.partition("\nbody")[2]
    products = [line for line in loop.splitlines() if "fma.v8f32(" in line or "fmul <8" in line]
    assert len(products) > 5
    assert not any("splat" in line for line in products)


def test_values_and_nan() -> None:
    x = np.linspace(-3, 3, 320, dtype=np.float32).reshape(5, 64)
    x[0, :3] = np.nan, np.inf, -np.inf
    found = tc.build(polynomial(), threads=1)(x)
    with np.errstate(over="ignore"):
        wanted = np.where(x < 0.5, np.maximum(x * 3 + 7, np.float32(-1.5)), np.exp(x) - 0.25)
    np.testing.assert_allclose(found, wanted, rtol=2e-6)
