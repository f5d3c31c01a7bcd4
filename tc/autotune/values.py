"""What kernels are checked and measured on: made-up inputs, and how far outputs may be off.

Floats are normal, so that a missing or doubled term shows; ids are 0 or 1, which every table has.
This module must not run kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tc.autotune.runnable import Param
from tc.ir.types import DType

# Of the greatest absolute value of an output: sums in another order differ by as much at most.
TOLERANCE: Final[Mapping[DType, float]] = {
    DType.F64: 1e-10,
    DType.F32: 2e-5,
    DType.F16: 4e-3,
    DType.BF16: 3e-2,
}
POISON: Final = 0xFF  # a byte of which every float type makes a NaN

_PLAIN: Final[Mapping[DType, Any]] = {
    DType.BOOL: np.uint8, DType.I8: np.int8, DType.U8: np.uint8, DType.I16: np.int16,
    DType.I32: np.int32, DType.I64: np.int64, DType.F16: np.float16, DType.BF16: np.uint16,
    DType.F32: np.float32, DType.F64: np.float64,
}  # fmt: skip


def sample(param: Param, number: int, positive: bool = False) -> Any:
    """Values for input `number`, an array of its shape; bf16 is held as uint16."""
    found: Any
    random = np.random.Generator(np.random.PCG64([number, int(positive)]))
    match param.dtype:
        case DType.BOOL:
            found = random.random(param.shape) < 0.9
        case DType.I8 | DType.U8:
            low, high = (-100, 100) if param.dtype is DType.I8 else (0, 200)
            found = random.integers(low, high, param.shape)
        case DType.I16 | DType.I32 | DType.I64:
            found = random.integers(0, 2, param.shape)
        case _:
            found = random.standard_normal(param.shape, np.float32)
            if positive:
                found = np.abs(found) + 0.5
    if param.dtype is DType.BF16:
        return _to_bf16(found)
    return np.ascontiguousarray(found, _PLAIN[param.dtype])


def of_bytes(data: Any, param: Param) -> Any:
    """An output's bytes as floats of 64 bits, or as the integers that they are."""
    plain = data.view(_PLAIN[param.dtype]).reshape(param.shape)
    if param.dtype is DType.BF16:
        return (plain.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return plain.astype(np.float64) if param.dtype.is_float else plain


def error_of(found: Any, wanted: Any, dtype: DType) -> float:
    """How far an output is off: 0 equal, 1 as far as is tolerable, inf beyond comparing.

    NaN and infinities must be where the reference has them. Integers must be equal.
    """
    if not dtype.is_float:
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    if not wanted.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        off, most = float(np.abs(found - wanted).max()), float(np.abs(wanted).max())
    if math.isfinite(off) and math.isfinite(most):  # no number in either is anything but finite
        return off / max(most, 1e-30) / TOLERANCE[dtype]
    finite = np.isfinite(wanted)
    same = np.isnan(found) == np.isnan(wanted)
    same &= finite | np.isnan(wanted) | (found == wanted)
    if not same.all() or not np.isfinite(found[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(wanted[finite]).max()), 1e-30)
    return float(np.abs(found[finite] - wanted[finite]).max()) / scale / TOLERANCE[dtype]


def is_telling(wanted: Any, dtype: DType) -> bool:
    """Whether a reference has values that an error would show in."""
    return not dtype.is_float or not wanted.size or bool(np.isfinite(wanted).mean() > 0.5)


def _to_bf16(x: Any) -> Any:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
