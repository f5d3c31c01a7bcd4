"""Element types of tc: what a scalar, a lane or a buffer element can be.

Only facts about types live here; no expression, no code generation.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class DType(Enum):
    """An element type. The value is its name as printed in every level of the IR."""

    BOOL = "bool"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"

    # The default of `Enum` hashes the name at each call; types sit in every hot dictionary.
    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.value

    @property
    def bits(self) -> int:
        """Size in memory in bits; a bool takes a byte."""
        return _BITS[self]

    @property
    def bytes(self) -> int:
        """Size in memory in bytes."""
        return _BITS[self] // 8

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_int(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self in _INTS


BOOL: Final = DType.BOOL
I8: Final = DType.I8
I16: Final = DType.I16
I32: Final = DType.I32
I64: Final = DType.I64
U8: Final = DType.U8
F16: Final = DType.F16
BF16: Final = DType.BF16
F32: Final = DType.F32
F64: Final = DType.F64

_BITS: Final = {
    BOOL: 8, I8: 8, I16: 16, I32: 32, I64: 64, U8: 8, F16: 16, BF16: 16, F32: 32, F64: 64,
}  # fmt: skip
_FLOATS: Final = frozenset({F16, BF16, F32, F64})
_INTS: Final = frozenset({I8, I16, I32, I64, U8})
_RANK: Final = {t: n for n, t in enumerate((BOOL, U8, I8, I16, I32, I64, F16, BF16, F32, F64))}


# The integers of each type.
HELD: Final = {
    t: range(256) if t is U8 else range(-(1 << (t.bits - 1)), 1 << (t.bits - 1)) for t in _INTS
}


def wrapped(value: int, dtype: DType) -> int:
    """An integer as a type of its width holds it."""
    value &= (1 << dtype.bits) - 1
    return value if value in HELD[dtype] else value - (1 << dtype.bits)


def promote(a: DType, b: DType) -> DType:
    """The type in which an operation on `a` and `b` is done, as PyTorch promotes tensors."""
    if a == b:
        return a
    if {a, b} == {U8, I8}:
        return I16
    if {a, b} == {F16, BF16}:
        return F32
    return a if _RANK[a] > _RANK[b] else b
