"""Every row of the operator table on every sample: against its NumPy reference in float64 and
against PyTorch eager, through the interpreter, which defines what an expression means.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tc.errors import CompileError, UnsupportedError
from tc.ir.interpret import from_bf16, storage
from tc.ir.interpret import run as run_loops
from tc.ir.lower import lower
from tc.ir.printer import print_tensor
from tc.ir.tensor import Tensor
from tc.ir.tensor_walk import placeholders
from tc.ir.types import BF16
from tc.ops import Operator, operators
from tc.ops.samples import Array
from tests.ops.harness import (
    OWN,
    TORCH,
    build,
    distance,
    eager,
    expected,
    make,
    run,
    same_values,
)

CASES = [
    pytest.param(row, args.args, id=f"{row.name}-{n}")
    for row in operators()
    for n, args in enumerate(row.samples)
]
# The loops are interpreted one element at a time.
LARGEST_IN_LOOPS = 120
# What needs the size of a dim as a number: how many results there are, or groups.
NEEDS_SIZES = frozenset(
    (
        "split",
        "chunk",
        "tensor_split",
        "unbind",
        "group_norm",
        "native_group_norm",
        "attention",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_same",
        "conv_transpose",
        "convolution",
        "upsample_nearest",  # to a size that is given, which must be a multiple
    )
)


def values_of(row: Operator, args: tuple[Any, ...]) -> tuple[Any, ...]:
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    return tuple(make(a, rng) for a in args)


@pytest.mark.parametrize("row", operators(), ids=lambda row: row.name)
def test_row_is_complete(row: Operator) -> None:
    assert row.samples
    assert row.aten or row.name in OWN
    for name in row.aten:
        _, packet, overload = name.split(".")
        assert overload in getattr(torch.ops.aten, packet).overloads(), name
    assert "." not in row.name


@pytest.mark.parametrize(("row", "args"), CASES)
def test_value(row: Operator, args: tuple[Any, ...]) -> None:
    """As PyTorch and the reference have it; with symbolic dims and in loops the same."""
    values = values_of(row, args)
    tensors, arrays, _ = build(row, values)
    assert all(print_tensor(t) for t in tensors)
    found = run(tensors, arrays, {})
    wanted, references = eager(row, values), expected(row, values)
    assert len(found) == len(wanted) == len(references)
    for t, got, torch_value, reference in zip(tensors, found, wanted, references, strict=True):
        assert TORCH[str(t.dtype)] == torch_value.dtype
        wide = torch_value.float() if torch_value.dtype == torch.bfloat16 else torch_value
        off = distance(wide.numpy(), reference, t.dtype)
        same_values(got, reference, t.dtype, f"{row.name} and its reference", 2 * off)
        same_values(got, wide.numpy(), t.dtype, f"{row.name} and PyTorch", 3 * off)
    same_with_symbolic_dims(row, values, found)
    same_in_loops(row, tensors, arrays, found, references)


def same_with_symbolic_dims(row: Operator, values: tuple[Any, ...], wanted: list[Any]) -> None:
    try:
        tensors, arrays, sizes = build(row, values, symbolic=True)
    except (CompileError, UnsupportedError):
        assert row.name in NEEDS_SIZES
        return
    for t, got, expect in zip(tensors, run(tensors, arrays, sizes), wanted, strict=True):
        same_values(got, expect, t.dtype, f"{row.name} with symbolic dims")


def same_in_loops(
    row: Operator,
    tensors: tuple[Tensor, ...],
    arrays: dict[str, Any],
    evaluated: list[Any],
    references: list[Any],
) -> None:
    func = lower(tensors)
    if sum(v.size for v in evaluated) > LARGEST_IN_LOOPS:
        return
    buffers = {f"p{n}": arrays[p.name] for n, p in enumerate(placeholders(tensors))}
    for n, (t, value) in enumerate(zip(tensors, evaluated, strict=True)):
        buffers[f"out{n}"] = np.zeros(value.shape, storage(t.dtype))
    run_loops(func, buffers, {})
    for n, (t, value, truth) in enumerate(zip(tensors, evaluated, references, strict=True)):
        got = from_bf16(buffers[f"out{n}"]) if t.dtype is BF16 else buffers[f"out{n}"]
        # Loops add up one by one, which rounds more than the pairwise sums of NumPy.
        same_values(
            got, value, t.dtype, f"{row.name} in loops", 8 * distance(value, truth, t.dtype)
        )


def in_half(arg: Any, dtype: str) -> Any:
    if isinstance(arg, tuple):
        return tuple(in_half(a, dtype) for a in arg)
    if isinstance(arg, Array) and arg.dtype == "f32":
        return replace(arg, dtype=dtype)
    return arg


# Their limits, signs of NaN and places depend on when eager rounds to the half type; the limits of
# `histc` too, which is left to eager in these types.
ROUNDS_ELSEWHERE = frozenset(("logit", "copysign", "grid_sampler", "histc"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [r for r in operators() if r.name not in ROUNDS_ELSEWHERE], ids=lambda row: row.name
)
def test_half_precision(row: Operator) -> None:
    for case, dtype in product(row.samples, ("f16", "bf16")):
        args = tuple(in_half(a, dtype) for a in case.args)
        if args == case.args:
            continue
        values = values_of(row, args)
        try:
            wanted = eager(row, values)
        except AssertionError:
            continue  # PyTorch itself lacks the operator in this type
        tensors, arrays, _ = build(row, values)
        for t, got, value in zip(tensors, run(tensors, arrays, {}), wanted, strict=True):
            assert TORCH[str(t.dtype)] == value.dtype
            wide = value.float() if value.dtype == torch.bfloat16 else value
            same_values(got, wide.numpy(), t.dtype, f"{row.name} in {dtype}")
