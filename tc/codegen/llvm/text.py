"""LLVM's spelling of types and literals.

Values live in registers as: bool i1, integers iN, f16 and bf16 as the i16 of their bits, f32
float, f64 double. In memory a bool is an i8. This module must not emit instructions.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from tc.ir.expr import Const
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType

_SCALAR: Final = {
    BOOL: "i1", I8: "i8", U8: "i8", I16: "i16", I32: "i32", I64: "i64",
    F16: "i16", BF16: "i16", F32: "float", F64: "double",
}  # fmt: skip
SUFFIX: Final = {"i1": "i1", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64",
                 "half": "f16", "float": "f32", "double": "f64"}  # fmt: skip

HALVES: Final = frozenset((F16, BF16))


def vector(scalar: str, lanes: int) -> str:
    """The vector type of that many lanes; one lane is the scalar itself."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def value_type(dtype: DType, lanes: int = 1) -> str:
    """The type of a value in registers."""
    return vector(_SCALAR[dtype], lanes)


def memory_type(dtype: DType, lanes: int = 1) -> str:
    """The type of a value in memory."""
    return vector("i8" if dtype is BOOL else _SCALAR[dtype], lanes)


def mangled(scalar: str, lanes: int = 1) -> str:
    """The suffix of an overloaded intrinsic."""
    return SUFFIX[scalar] if lanes == 1 else f"v{lanes}{SUFFIX[scalar]}"


def f32_bits(value: float) -> int:
    """The bits of `value` rounded to f32."""
    return int(struct.unpack("<I", struct.pack("<f", ctypes.c_float(value).value))[0])


def half_bits(value: float, dtype: DType) -> int:
    """The bits of `value` rounded to f16 or bf16, to nearest even."""
    if dtype is BF16:
        bits = f32_bits(value)
        if value != value:
            return (bits >> 16) | 0x40
        return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    try:
        return int(struct.unpack("<H", struct.pack("<e", value))[0])
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


def float_literal(value: float, double: bool) -> str:
    """A float or double literal: LLVM writes both as the bits of a double."""
    if not double:
        value = ctypes.c_float(value).value
    return "0x" + struct.pack(">d", value).hex().upper()


def literal(c: Const, lanes: int = 1) -> str:
    """A literal operand, without its type."""
    dtype = c.type
    if dtype is BOOL:
        word = "true" if c.value else "false"
    elif dtype in HALVES:
        word = str(half_bits(float(c.value), dtype))
    elif dtype.is_float:
        word = float_literal(float(c.value), dtype is F64)
    else:
        word = str(_signed(int(c.value), dtype.bits))
    return splat(_SCALAR[dtype], word, lanes)


def splat(scalar: str, word: str, lanes: int) -> str:
    """The literal `word` in every lane."""
    return word if lanes == 1 else f"splat ({scalar} {word})"


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def sequence(scalar: str, words: list[str]) -> str:
    """A vector literal of these lanes."""
    return "<" + ", ".join([f"{scalar} {w}" for w in words]) + ">"
