"""What every operator of the IR computes, in NumPy, on scalars and arrays alike.

Values of type bf16 are carried as float32 numbers that a bfloat16 can hold. Functions that are
not correctly rounded by IEEE (exp, erf, …) are computed in float64 and rounded to their type.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np

from tc.errors import InternalError
from tc.ir.expr import COMPARISONS
from tc.ir.types import BF16, BOOL, F64, DType

# A NumPy scalar or array; NumPy's own stubs cannot say "of the dtype that this variable names".
Value: TypeAlias = Any

_NUMPY: Final[dict[str, type[np.generic]]] = {
    "bool": np.bool_, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "f16": np.float16, "bf16": np.float32, "f32": np.float32, "f64": np.float64,
}  # fmt: skip


def storage(dtype: DType) -> np.dtype[Any]:
    """The NumPy type of a buffer of `dtype`; bf16 is uint16."""
    return np.dtype(np.uint16 if dtype is BF16 else _NUMPY[dtype.value])


def carrier(dtype: DType) -> type[np.generic]:
    """The NumPy type that values of `dtype` are computed with; bf16 is float32."""
    return _NUMPY[dtype.value]


def to_bf16(x: Value) -> Value:
    """The bits of floats rounded to bfloat16, to nearest even, as uint16 of the same shape."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    up = bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(x), quiet, up >> np.uint32(16)).astype(np.uint16)


def from_bf16(bits: Value) -> Value:
    """The float32 numbers of bfloat16 bits given as uint16."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def load_value(stored: Value, dtype: DType) -> Value:
    """What a buffer holds, as a value."""
    return from_bf16(stored)[()] if dtype is BF16 else stored


def store_value(value: Value, dtype: DType) -> Value:
    """A value as a buffer holds it."""
    return to_bf16(value)[()] if dtype is BF16 else value


def rounded(x: Value, dtype: DType) -> Value:
    """A float result in `dtype`."""
    if dtype is BF16:
        return from_bf16(to_bf16(x))[()]
    return np.asarray(x).astype(carrier(dtype))[()]


def _least(a: Value, b: Value) -> Value:
    """NumPy's minimum; it takes ten times as long for two integers."""
    if type(a) is np.int64 and type(b) is np.int64:
        return a if a <= b else b
    return np.minimum(a, b)


def _greatest(a: Value, b: Value) -> Value:
    """NumPy's maximum, as above."""
    if type(a) is np.int64 and type(b) is np.int64:
        return a if a >= b else b
    return np.maximum(a, b)


_BINARY: Final[dict[str, Callable[[Value, Value], Value]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "floordiv": operator.floordiv, "mod": operator.mod, "fmod": np.fmod,
    "min": _least, "max": _greatest,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "shl": operator.lshift, "shr": operator.rshift, "div": operator.truediv,
}  # fmt: skip


@functools.cache
def binary_of(op: str, dtype: DType) -> Callable[[Value, Value], Value]:
    """The function of `a op b`, both of type `dtype`."""
    if op in ("pow", "atan2"):
        wide = np.power if op == "pow" else np.arctan2
        if dtype.is_float:
            return lambda a, b: rounded(wide(np.float64(a), np.float64(b)), dtype)
        return _int_pow
    if op == "div" and not dtype.is_float:
        raise InternalError(f"interpreter: div of {dtype}; integers are divided by floordiv")
    fn = _BINARY[op]
    if dtype is BF16 and op not in COMPARISONS:
        return lambda a, b: rounded(fn(a, b), dtype)
    return fn


def _int_pow(a: Value, b: Value) -> Value:
    """Integer powers; a negative one of anything but 1 and -1 is 0."""
    negative = b < 0
    base, power = np.asarray(a), np.asarray(b)
    tiny = np.where(base == 1, 1, np.where(base == -1, 1 - 2 * (power % 2), 0))
    out = np.where(negative, tiny, np.power(base, np.where(negative, 0, power)))
    return out.astype(base.dtype)[()]


def _each(fn: Callable[[float], float]) -> Callable[[Value], Value]:
    return np.vectorize(fn, otypes=[np.float64])


def _sigmoid(x: Value) -> Value:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


_UNARY: Final[dict[str, Callable[[Value], Value]]] = {
    "rsqrt": lambda x: 1 / np.sqrt(x), "exp": np.exp, "exp_nonpos": np.exp, "expm1": np.expm1,
    "log": np.log, "log1p": np.log1p, "log2": np.log2, "exp2": np.exp2, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "erf": _each(math.erf), "erfc": _each(math.erfc), "sigmoid": _sigmoid,
}  # fmt: skip
_EXACT: Final[dict[str, Callable[[Value], Value]]] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt, "floor": np.floor,
    "ceil": np.ceil, "round": np.rint, "trunc": np.trunc, "isnan": np.isnan, "isinf": np.isinf,
}  # fmt: skip


@functools.cache
def unary_of(op: str, dtype: DType) -> Callable[[Value], Value]:
    """The function of `op` of a value of type `dtype`."""
    if op == "not":
        return np.logical_not if dtype is BOOL else np.invert
    if op in _UNARY:
        wide = _UNARY[op]
        return lambda x: rounded(wide(np.float64(x)), dtype)
    if op in ("floor", "ceil", "round", "trunc") and not dtype.is_float:
        return lambda x: x
    fn = _EXACT[op]
    if op == "sqrt" and dtype is BF16:
        return lambda x: rounded(fn(x), dtype)
    return fn


def fma(a: Value, b: Value, c: Value, dtype: DType) -> Value:
    """a * b + c rounded once."""
    if not dtype.is_float:
        return a * b + c
    if dtype is F64:
        return np.vectorize(_fma_f64, otypes=[np.float64])(a, b, c)[()]
    product = np.float64(a) * np.float64(b)  # exact: at most 48 bits
    return rounded(_sum_to_odd(product, np.float64(c)), dtype)


def dot(a: Value, b: Value, c: Value, dtype: DType) -> Value:
    """c + a * b summed over the neighbouring lanes that belong to each lane of c, in order."""
    count = np.size(c)
    left, right = a.reshape(count, -1), b.reshape(count, -1)
    for n in range(left.shape[1]):
        x, y = (side[:, n].astype(carrier(dtype)) for side in (left, right))
        c = fma(x, y, c, dtype)
    return c


def _sum_to_odd(p: Value, c: Value) -> Value:
    """p + c rounded to odd, so that rounding once more to a short type rounds right.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums" (2008).
    """
    total = np.asarray(p + c)
    part = total - p
    error = (p - (total - part)) + (c - part)
    if not np.count_nonzero(error):
        return total  # nothing was rounded, as in most sums of whole numbers
    even = (total.view(np.int64) & 1) == 0
    nudge = np.isfinite(total) & np.isfinite(error) & (error != 0) & even
    return np.where(nudge, np.nextafter(total, np.where(error > 0, np.inf, -np.inf)), total)


def _fma_f64(a: float, b: float, c: float) -> float:
    plain = a * b + c
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return plain
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return plain
    try:
        return float(exact)
    except OverflowError:
        return math.copysign(math.inf, exact)


def cast(x: Value, source: DType, target: DType) -> Value:
    """A value converted: floats to integers truncate, to bool compare with zero."""
    if target is BOOL:
        return x != carrier(source)(0)
    if target.is_float:
        return rounded(x, target)
    return np.asarray(x).astype(carrier(target))[()]


def bitcast(x: Value, source: DType, target: DType) -> Value:
    """The same bits as another type."""
    bits = np.asarray(store_value(x, source))
    if source.bits != target.bits:
        bits = np.ascontiguousarray(bits).reshape(-1)
    return load_value(bits.view(storage(target)), target)[()]


def lane_reduce(op: str, x: Value, dtype: DType) -> Value:
    """All lanes folded: the upper half onto the lower until one is left."""
    fold = binary_of(op, dtype)
    while len(x) > 1:
        half = (len(x) + 1) // 2
        folded = fold(x[: len(x) - half], x[half:])
        x = np.concatenate([folded, x[len(x) - half : half]])
    return x[0]
