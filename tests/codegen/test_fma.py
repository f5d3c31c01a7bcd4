"""a * b + c on processors with and without an instruction for it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import tc
from tc import te
from tc.codegen.c.kernel import render_kernel
from tc.codegen.llvm.kernel import compile_func
from tc.ir.interpret.numeric import fma
from tc.ir.parser import parse_func
from tc.ir.types import F32
from tc.target import Target


def numbers(count: int) -> list[np.ndarray]:
    """Operands of which sums cancel, lie half way between two numbers, or are special."""
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 1 << 32, (3, count), np.uint64).astype(np.uint32)
    a, b, c = bits.view(np.float32)
    third = count // 3
    a[:third], b[:third] = (draw.normal(size=(2, third)) * 3).astype(np.float32)
    c[:third] = -(a[:third] * b[:third])  # what is left is the product's own error
    # A tie of the product and a little of c on either side of it.
    a[third : 2 * third] = 1 + 2.0**-12 * draw.integers(1, 1 << 12, third)
    b[third : 2 * third] = 1 + 2.0**-12 * draw.integers(1, 1 << 12, third)
    c[third : 2 * third] = draw.choice([-1, 0, 1], third) * 2.0 ** -draw.integers(20, 140, third)
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, -3e38]
    grid = np.array(np.meshgrid(special, special, special), np.float32).reshape(3, -1)
    return [np.concatenate(pair) for pair in zip((a, b, c), grid, strict=True)]


on_x86 = pytest.mark.skipif(
    Target.parse("host").arch != "x86_64", reason="runs code of x86-64, which this processor cannot"
)
WAYS = [
    ("generic", "llvm"),
    ("host", "llvm"),
    *(pytest.param("x86-64-v2", codegen, marks=on_x86) for codegen in ("llvm", "c")),
]


@pytest.mark.parametrize(("target", "codegen"), WAYS)
def test_it_is_rounded_once(target: str, codegen: str) -> None:
    given = numbers(3 << 12)
    with np.errstate(all="ignore"):
        wanted = fma(*given, F32)
    places = [te.placeholder((len(wanted),)) for _ in given]
    made = te.compute((len(wanted),), lambda i: te.Fma(*(p[i] for p in places)))
    found = tc.build(made, target, threads=1, codegen=codegen)(*given)
    np.testing.assert_array_equal(found, wanted)
    same = ~np.isnan(wanted)
    assert (np.signbit(found) == np.signbit(wanted))[same].all()


@pytest.mark.parametrize(("target", "fused"), [("x86-64-v2", False), ("x86-64-v3", True),
                                               ("arm-neon", True)])  # fmt: skip
def test_products_call_no_function(target: str, fused: bool) -> None:
    assert Target.parse(target).fuses is fused
    axis = te.reduce_axis(64)
    a, b = te.placeholder((te.sym("M"), 64)), te.placeholder((96, 64))
    product = te.compute((a.shape[0], 96), lambda i, j: te.sum(a[i, axis] * b[j, axis], axis=axis))
    curve = te.compute((a.shape[0], 96), lambda i, j: te.exp(product[i, j]))
    for codegen in ("llvm", "c") if target.startswith("x86") else ("llvm",):
        kernel = tc.build(product, target, constants=[b], threads=1, codegen=codegen)
        text = kernel.llvm_ir if codegen == "llvm" else kernel.c_source
        assert ("fmaf(" in text or "fmadd" in text or "llvm.fma" in text) is fused
    assert "fmaf" not in tc.build(curve, target, threads=1).asm


@on_x86
@pytest.mark.parametrize("target", ["x86-64-v2", "generic-c99"])
def test_functions_have_equal_bits_in_c(target: str) -> None:
    """Where steps are rounded twice and exact ones go through f64."""
    (x, *_) = numbers(1 << 10)
    p = te.placeholder((len(x),))
    functions = ("exp", "log", "tanh", "erf", "sinh")
    made = [te.compute((len(x),), partial(lambda f, i: te.unary(f, p[i]), f)) for f in functions]
    kernels = [tc.build(made, target, threads=1, codegen=each) for each in ("llvm", "c")]
    assert "fmaf" not in kernels[1].asm
    for name, *found in zip(functions, *(kernel(x) for kernel in kernels), strict=True):
        bits = [np.where(np.isnan(y), np.float32(1), y).view(np.int32) for y in found]
        np.testing.assert_array_equal(*bits, err_msg=name)


@on_x86
def test_pairs_of_bf16_call_no_function() -> None:
    plain = Target.parse("x86-64-v2")
    pair = "dot(A[ramp(0, 1, 8)], B[ramp(0, 1, 8)], broadcast(0.5:f32, 4))"
    func = parse_func(
        "def k(A: bf16[8], B: bf16[8], C: out f32[4]):\n" + f"    C[ramp(0, 1, 4)] = {pair}\n"
    )
    given = [1.5 - np.arange(8, dtype=np.float32), np.arange(8, dtype=np.float32) / 4]
    kernel = compile_func(func, plain)
    found = np.zeros(4, np.float32)
    kernel(*(np.asarray(x.view(np.uint32) >> 16, np.uint16) for x in given), found)
    np.testing.assert_array_equal(found, 0.5 + (given[0] * given[1]).reshape(4, 2).sum(1))
    assert "fmaf" not in kernel.asm
    text = render_kernel(func, plain)
    assert "fmaf" not in text.text and "tc_fma_f32x4" in text.helpers
