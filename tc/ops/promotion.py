"""In which type an operator computes: type promotion as PyTorch does it.

Tensors with dims outrank scalar tensors, which outrank Python numbers, unless the lower one is of
a higher category (bool, integer, float). Half-precision floats are computed in f32, once operands
of other types are rounded to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tc.ir.expr import Const, Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import BF16, BOOL, F16, F32, F64, I64, DType, promote

Number: TypeAlias = float | Expr
Operand: TypeAlias = Tensor | Number


def number_type(x: Number) -> DType:
    """The type that a Python number or an expression over sizes has on its own."""
    if isinstance(x, bool):
        return BOOL
    if isinstance(x, Expr):
        return F32 if x.dtype.is_float else x.dtype
    return I64 if isinstance(x, int) else F32


def result_type(operands: Sequence[Operand]) -> DType:
    """The promoted type of all operands."""
    ranks: list[DType | None] = [None, None, None]
    for x in operands:
        level = 2 if not isinstance(x, Tensor) else 1 if x.rank == 0 else 0
        kind = x.dtype if isinstance(x, Tensor) else number_type(x)
        before = ranks[level]
        ranks[level] = kind if before is None else promote(before, kind)
    return _combine(ranks[0], _combine(ranks[1], ranks[2])) or F32


def _combine(high: DType | None, low: DType | None) -> DType | None:
    if high is None or low is None:
        return high or low
    if high.is_float:
        return high
    return promote(high, low) if high is BOOL or low.is_float else high


def floating(dtype: DType) -> DType:
    """`dtype` where it is a float, else f32."""
    return dtype if dtype.is_float else F32


def compute_type(dtype: DType) -> DType:
    """The type in which values of `dtype` are computed."""
    return F32 if dtype in (F16, BF16) else dtype


def sum_type(dtype: DType) -> DType:
    """The type of a sum of `dtype`: integers and bools are counted in i64."""
    return dtype if dtype.is_float else I64


def number_as(x: Number, dtype: DType) -> Expr:
    """A number as an expression of that type."""
    if isinstance(x, Expr):
        return cast(x, dtype)
    if dtype.is_float or dtype is BOOL:
        return Const(x, dtype)
    bits = dtype.bits
    low = 0 if str(dtype).startswith("u") else -(1 << (bits - 1))
    return Const((int(x) - low) % (1 << bits) + low, dtype)


def epsilon(dtype: DType) -> float:
    """The distance from 1 to the next number of a float type."""
    return {F16: 2.0**-10, BF16: 2.0**-7, F32: 2.0**-23, F64: 2.0**-52}[dtype]
