"""Runs a row of the operator table three ways: interpreter, NumPy reference, PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tc import te
from tc.ir.expr import Const, Expr, Sym
from tc.ir.interpret import evaluate, from_bf16, to_bf16
from tc.ir.tensor import Placeholder, Tensor
from tc.ir.types import BF16, DType
from tc.ops import Operator
from tc.ops.casts import NUMPY
from tc.ops.samples import Array

TORCH = {
    "bool": torch.bool, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32,
    "i64": torch.int64, "u8": torch.uint8, "f16": torch.float16, "bf16": torch.bfloat16,
    "f32": torch.float32, "f64": torch.float64,
}  # fmt: skip
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -1e-40, 1.0, -1.0, 2.5)
# Relative to the scale of the result; f32 is what the project promises, the others a few units.
TOLERANCE = {"f16": 2e-3, "bf16": 1.6e-2, "f32": 1e-5, "f64": 1e-11}


@dataclass(frozen=True)
class Given:
    """The values of one array; those of bf16 are held in float32."""

    data: np.ndarray[Any, Any]
    dtype: DType


def make(arg: Any, rng: np.random.Generator) -> Any:
    """The argument of a sample with its arrays filled."""
    if isinstance(arg, tuple):
        return tuple(make(a, rng) for a in arg)
    if not isinstance(arg, Array):
        return arg
    dtype = te.dtype(arg.dtype)
    if dtype.is_float:
        data = rng.uniform(arg.low, arg.high, arg.shape)
        if arg.special:
            data = np.where(rng.random(arg.shape) < 0.6, rng.choice(SPECIAL, arg.shape), data)
    else:
        data = rng.integers(int(arg.low), int(arg.high), arg.shape)
    data = np.asarray(data).astype(NUMPY[dtype])
    return Given(from_bf16(to_bf16(data)) if dtype is BF16 else data, dtype)


def build(
    row: Operator, values: Sequence[Any], symbolic: bool = False
) -> tuple[tuple[Tensor, ...], dict[str, Any], dict[str, int]]:
    """The tensors of the row on placeholders, the arrays of these, and the sizes of symbols."""
    arrays: dict[str, Any] = {}
    sizes: dict[str, int] = {}

    def dim(n: int) -> Expr:
        if n < 2 or not symbolic:
            return Const(n)
        sizes[f"n{n}"] = n
        return Sym(f"n{n}", 0, 4096)

    def lift(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(lift(v) for v in x)
        if not isinstance(x, Given):
            return x
        p = Placeholder(te.fresh("p"), tuple(dim(n) for n in x.data.shape), x.dtype)
        arrays[p.name] = to_bf16(x.data) if x.dtype is BF16 else x.data
        return p

    built = row.build(*(lift(v) for v in values))
    return (built if isinstance(built, tuple) else (built,)), arrays, sizes


def run(
    tensors: Sequence[Tensor], arrays: dict[str, Any], sizes: dict[str, int]
) -> list[np.ndarray[Any, Any]]:
    """Their values by the interpreter; bf16 in float32."""
    out = []
    for t in tensors:
        value = evaluate(t, arrays, sizes)
        out.append(from_bf16(value) if t.dtype is BF16 else value)
    return out


def expected(row: Operator, values: Sequence[Any]) -> list[Any]:
    """The values of the reference, computed in float64."""

    def lift(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(lift(v) for v in x)
        if isinstance(x, Given):
            return x.data.astype(np.float64) if x.dtype.is_float else x.data
        return x

    with np.errstate(all="ignore"):
        out = row.reference(*(lift(v) for v in values))
    return [np.asarray(o) for o in out] if isinstance(out, tuple) else [np.asarray(out)]


# What PyTorch would do for rows that graph passes make, not a model, or that give it no result.
OWN: dict[str, Callable[..., torch.Tensor]] = {
    "slice_write": lambda x, src, dim, start: torch.slice_scatter(
        x, src, dim, start, start + src.shape[dim]
    ),
    "assertion": lambda condition, _message: (condition != 0).reshape(()),  # PyTorch gives nothing
}


def eager(row: Operator, values: Sequence[Any]) -> list[torch.Tensor]:
    """What PyTorch gives, by the first overload of the row that takes such arguments."""

    def lift(x: Any) -> Any:
        match x:
            case tuple():
                return [lift(v) for v in x]
            case Given(data, dtype):
                return torch.from_numpy(np.array(data)).to(TORCH[str(dtype)])
            case DType():
                return TORCH[str(x)]
        return x

    if row.name in OWN:
        return [OWN[row.name](*map(lift, values))]
    failures = []
    for name in row.aten:
        _, packet, overload = name.split(".")
        op = getattr(getattr(torch.ops.aten, packet), overload)
        args = list(zip(op._schema.arguments, values, strict=False))
        plain = [_placed(a, lift(v)) for a, v in args if not a.kwarg_only]
        named = {a.name: lift(v) for a, v in args if a.kwarg_only}
        try:
            out = op(*plain, **named)
        except (RuntimeError, TypeError) as failure:
            failures.append(f"{name}: {failure}")
            continue
        return list(out) if isinstance(out, tuple | list) else [out]
    raise AssertionError("\n".join(failures))


def _placed(argument: Any, value: Any) -> Any:
    """A device is always given as None; PyTorch wants its name."""
    return torch.device("cpu") if str(argument.type) == "Device" else value


def same_values(found: Any, wanted: Any, dtype: DType, what: str, slack: float = 0.0) -> None:
    """Equal; floats within the tolerance of their type, relative to the greatest, or `slack`."""
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
    if not dtype.is_float:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        return
    wanted = _rounded(wanted, dtype)
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    limit = max(TOLERANCE[str(dtype)] * scale, slack)
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=0, atol=limit, err_msg=what)


def _rounded(x: Any, dtype: DType) -> Any:
    with np.errstate(all="ignore"):
        return x.astype(NUMPY[dtype]).astype(np.float64)


def distance(a: Any, b: Any, dtype: DType) -> float:
    """The greatest difference between two arrays, where both are finite."""
    if not dtype.is_float or a.shape != b.shape:
        return 0.0
    a, b = _rounded(a, dtype), _rounded(b, dtype)
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.abs(a[both] - b[both]).max()) if both.any() else 0.0
