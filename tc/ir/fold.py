"""Constant folding and neutral operands: what holds exactly for every operand, NaN and -0.0 too.

Float results are rounded as the type rounds: a float32 operation done in float64 and rounded once
more gives the same bits for + - * / (53 >= 2 * 24 + 2). Of float16 and bfloat16 only conversions
are folded; nothing is that gives NaN or leaves the range.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping
from typing import Final

from tc.ir.expr import COMPARISONS, Broadcast, Const, Expr
from tc.ir.types import BF16, BOOL, F16, F32, F64, HELD, U8, DType

Number = int | float | bool

# x op value = x. Adding +0.0 would turn -0.0 into +0.0; adding -0.0 changes nothing.
_RIGHT_FLOAT: Final = {"add": -0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}
_LEFT_FLOAT: Final = {"add": -0.0, "mul": 1.0}
_RIGHT_INT: Final = {
    "add": 0, "sub": 0, "mul": 1, "floordiv": 1, "or": 0, "xor": 0, "shl": 0, "shr": 0, "and": -1,
}  # fmt: skip
_LEFT_INT: Final = {"add": 0, "mul": 1, "or": 0, "xor": 0, "and": -1}
_BOTH_BOOL: Final = {"and": True, "or": False, "xor": False}
# x op value = value
_ABSORBS_INT: Final = {"mul": 0, "and": 0}
_ABSORBS_BOOL: Final = {"and": False, "or": True}

_COMPARE: Final[Mapping[str, Callable[[Number, Number], bool]]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_INT: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "mod": operator.mod, "min": min, "max": max, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor,
}  # fmt: skip
_FLOAT: Final[Mapping[str, Callable[[float, float], float]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "min": min, "max": max,
}  # fmt: skip


def literal(x: Expr) -> Const | None:
    """The constant that `x` is in every lane."""
    if type(x) is Const:
        return x
    if type(x) is Broadcast and type(x.x) is Const:
        return x.x
    return None


def rounded(value: float, dtype: DType) -> float | None:
    """A float as a float type holds it; None for NaN and overflow."""
    if not math.isfinite(value):
        return None
    if dtype is F64:
        return value
    try:
        if dtype is F16:
            return float(struct.unpack("<e", struct.pack("<e", value))[0])
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:
        return None
    if dtype is BF16:
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    found = float(struct.unpack("<f", struct.pack("<I", bits))[0])
    return found if math.isfinite(found) else None


def fold_binary(op: str, a: Const, b: Const) -> Const | None:
    """a op b, where that is exact in their type."""
    dtype = a.type
    if dtype is BOOL:
        return _fold_bool(op, bool(a.value), bool(b.value))
    if dtype.is_float:
        return _fold_float(op, a, b)
    x, y = int(a.value), int(b.value)
    if op in COMPARISONS:
        return Const(_COMPARE[op](x, y), BOOL)
    if op not in _INT or (op in ("floordiv", "mod") and y == 0):
        return None
    return Const(_INT[op](x, y), dtype)


def _fold_bool(op: str, x: bool, y: bool) -> Const | None:
    if op in COMPARISONS:
        return Const(_COMPARE[op](x, y), BOOL)
    if op in ("and", "or", "xor", "min", "max"):
        return Const(_INT[op](x, y), BOOL)
    return None


def _fold_float(op: str, a: Const, b: Const) -> Const | None:
    if a.type not in (F32, F64):
        return None
    x, y = rounded(float(a.value), a.type), rounded(float(b.value), a.type)
    if x is None or y is None:
        return None
    if op in COMPARISONS:
        return Const(_COMPARE[op](x, y), BOOL)
    if op not in _FLOAT or (op == "div" and y == 0) or (op in ("min", "max") and x == y):
        return None
    try:
        value = rounded(_FLOAT[op](x, y), a.type)
    except OverflowError:
        return None
    return None if value is None else Const(value, a.type)


def fold_cast(x: Const, dtype: DType) -> Const | None:
    """A literal as another type, where the conversion is defined and exact or rounded once."""
    if x.type.is_float:
        given = rounded(float(x.value), x.type)
        if given is None:
            return None
    elif dtype is BOOL or dtype.is_int:
        return Const(x.value, dtype)
    else:
        given = float(x.value)
        if int(given) != x.value:
            return None
    if dtype is BOOL:
        return Const(given != 0, BOOL)
    if dtype.is_int:
        return Const(int(given), dtype) if int(given) in HELD[dtype] else None
    value_or_none = rounded(given, dtype)
    return None if value_or_none is None else Const(value_or_none, dtype)


def neutral(op: str, a: Expr, b: Expr, dtype: DType) -> Expr | None:
    """The operand that `a op b` is equal to, where the other one changes nothing."""
    if dtype is BOOL:
        left: Mapping[str, Number] = _BOTH_BOOL
        right: Mapping[str, Number] = _BOTH_BOOL
    elif dtype.is_float:
        left, right = _LEFT_FLOAT, _RIGHT_FLOAT
    else:
        left, right = _LEFT_INT, _RIGHT_INT
    if op in right and literal(b) == Const(right[op], dtype):
        return a
    if op in left and literal(a) == Const(left[op], dtype):
        return b
    return None


def absorbing(op: str, a: Expr, b: Expr, dtype: DType) -> Const | None:
    """The literal that `a op b` is whatever the other operand is."""
    if dtype.is_float:
        return None
    value = (_ABSORBS_BOOL if dtype is BOOL else _ABSORBS_INT).get(op)
    if value is None:
        return None
    for side in (a, b):
        found = literal(side)
        if found is not None and found.value == value:
            return found
    return None


# How many bits of an integer a float holds exactly.
_MANTISSA: Final = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}


def lossless(a: DType, b: DType) -> bool:
    """Whether every value of type `a` is a value of type `b`."""
    if a is b or a is BOOL:
        return True
    if a.is_int and b.is_int:
        if a is U8:
            return b.bits > 8
        return b is not U8 and b.bits >= a.bits
    if a.is_int:
        return b.is_float and a.bits <= _MANTISSA[b.value]
    if b.is_float:
        return b is F64 or (b is F32 and a is not F64)
    return False
