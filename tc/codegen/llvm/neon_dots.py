"""Dot products of small elements by the instructions of ARM, on vectors of 128 bits.

Operands are as in `tc.codegen.llvm.dots`. This module must not touch memory.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.hardware import Hardware
from tc.codegen.llvm.text import vector
from tc.ir.types import BF16, DType

_LANES: Final = 4
_PREFIX: Final = "llvm.aarch64.neon"


def dot(
    b: Builder, a: str, w: str, c: str, dtype: DType, lanes: int, hardware: Hardware, small: bool
) -> str | None:
    """c + a · w in each lane, or None where the machine has nothing for it.

    `small` says that bytes of `a` have 7 bits: they are the same with a sign, and sums of two
    products fit i16.
    """
    if lanes != _LANES:
        return None
    if dtype is BF16:
        return _bfdot(b, a, w, c) if hardware.dot_bf16 else None
    if hardware.dot_int8 or (small and hardware.dot_signed):
        t, bytes_ = vector("i32", 4), vector("i8", 16)
        # What may be one lane of a register stands second among bytes of one kind.
        op, factors = ("usdot", [a, w]) if hardware.dot_int8 else ("sdot", [w, a])
        return b.call(t, f"{_PREFIX}.{op}.v4i32.v16i8", [t, bytes_, bytes_], [c, *factors])
    return _in_i16(b, a, w, c) if small else None


def _bfdot(b: Builder, a: str, w: str, c: str) -> str:
    t, halves = vector("float", 4), vector("bfloat", 8)
    x, y = (b.ins(f"bitcast {vector('i16', 8)} {v} to {halves}") for v in (w, a))
    return b.call(t, f"{_PREFIX}.bfdot.v4f32.v8bf16", [t, halves, halves], [c, x, y])


def _in_i16(b: Builder, a: str, w: str, c: str) -> str:
    """Products of each half of the bytes, sums of two, and of two of those."""
    i8, i16, i32 = vector("i8", 8), vector("i16", 8), vector("i32", 4)
    products = []
    for first in (0, 8):
        picked = ", ".join(f"i32 {n}" for n in range(first, first + 8))
        x, y = (
            b.ins(f"shufflevector <16 x i8> {v}, <16 x i8> poison, <8 x i32> <{picked}>")
            for v in (a, w)
        )
        products.append(b.call(i16, f"{_PREFIX}.smull.v8i16", [i8, i8], [x, y]))
    twos = b.call(i16, f"{_PREFIX}.addp.v8i16", [i16, i16], products)
    sums = b.call(i32, f"{_PREFIX}.saddlp.v4i32.v8i16", [i16], [twos])
    return b.ins(f"add {i32} {c}, {sums}")
