"""Dot products of small elements: by the target's instruction, or by what it has instead.

Operands are vectors of bf16 (as the i16 of their bits) or of 8-bit integers; 32 bits of each
belong to one lane of the sum. This module must not touch memory.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.llvm import arith, neon_dots
from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.hardware import Hardware
from tc.codegen.llvm.text import mangled, splat, vector
from tc.ir.expr import Binary, Broadcast, Const, Expr
from tc.ir.types import BF16, DType

_LANES: Final = (4, 8, 16)  # of the registers of 128, 256 and 512 bits
_MADD: Final = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}


_MADD_BYTES: Final = {
    4: "ssse3.pmadd.ub.sw.128", 8: "avx2.pmadd.ub.sw", 16: "avx512.pmaddubs.w.512",
}  # fmt: skip


def fits_pairs(a: Expr) -> bool:
    """Whether u8 are masked so far that two products with i8 fit i16: 2 * 127 * 128 < 2**15."""
    match a:
        case Binary("and", _, Broadcast(Const(mask))):
            return 0 <= int(mask) <= 127
    return False


def dot(
    b: Builder, a: str, w: str, c: str, dtype: DType, lanes: int, hardware: Hardware, small: bool
) -> str:
    """c + a · w in each lane; `dtype` is that of `a`: bf16, or u8 where `w` is i8.

    `small` says that sums of two products of bytes fit i16.
    """
    found = None
    if hardware.neon:
        found = neon_dots.dot(b, a, w, c, dtype, lanes, hardware, small)
    elif lanes in _LANES:
        found = _x86_dot(b, a, w, c, dtype, lanes, hardware, small)
    if found is not None:
        return found
    if dtype is BF16:
        return _bf16_arithmetic(b, a, w, c, lanes, hardware.fma)
    return _int8_arithmetic(b, a, w, c, lanes)


def _x86_dot(
    b: Builder, a: str, w: str, c: str, dtype: DType, lanes: int, hardware: Hardware, small: bool
) -> str | None:
    """By an instruction of x86, or by those whose sums are of two."""
    if dtype is BF16:
        return _bf16_instruction(b, a, w, c, lanes) if hardware.dot_bf16 else None
    if hardware.dot_int8:
        t, bytes_ = vector("i32", lanes), vector("i8", 4 * lanes)
        name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        return b.call(t, name, [t, bytes_, bytes_], [c, a, w])
    if 32 * lanes > hardware.madd_bits:
        return None
    if small and hardware.maddub:
        return _int8_in_i16(b, a, w, c, lanes, hardware)
    return _int8_pairs(b, a, w, c, lanes)


def _bf16_instruction(b: Builder, a: str, w: str, c: str, lanes: int) -> str:
    t, halves = vector("float", lanes), vector("bfloat", 2 * lanes)
    bits = vector("i16", 2 * lanes)
    x, y = (b.ins(f"bitcast {bits} {v} to {halves}") for v in (a, w))
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
    return b.call(t, name, [t, halves, halves], [c, x, y])


def _bf16_arithmetic(b: Builder, a: str, w: str, c: str, lanes: int, fuses: bool) -> str:
    """Two fused multiplications; a bf16 is the upper half of an f32."""
    i32, f32 = vector("i32", lanes), vector("float", lanes)
    words = [_words(b, v, "i16", 2, lanes) for v in (a, w)]
    low = [b.ins(f"shl {i32} {v}, {splat('i32', '16', lanes)}") for v in words]
    high = [b.ins(f"and {i32} {v}, {splat('i32', str(-(1 << 16)), lanes)}") for v in words]
    for part in (low, high):
        x, y = (b.ins(f"bitcast {i32} {v} to {f32}") for v in part)
        if not fuses:
            c = arith.fma_of_f32(b, x, y, c, lanes)
            continue
        c = b.call(f32, f"llvm.fma.{mangled('float', lanes)}", [f32, f32, f32], [x, y, c])
    return c


def _words(b: Builder, x: str, element: str, count: int, lanes: int) -> str:
    return b.ins(f"bitcast {vector(element, count * lanes)} {x} to {vector('i32', lanes)}")


def _int8_in_i16(b: Builder, a: str, w: str, c: str, lanes: int, hardware: Hardware) -> str:
    """Sums of two in i16, which do not saturate as `a` is small, then sums of two of those."""
    bytes_, i16, i32 = vector("i8", 4 * lanes), vector("i16", 2 * lanes), vector("i32", lanes)
    twos = b.call(i16, f"llvm.x86.{_MADD_BYTES[lanes]}", [bytes_, bytes_], [a, w])
    ones = splat("i16", "1", 2 * lanes)
    if hardware.literal_loads:
        ones = b.literal(i16, ones)
    sums = b.call(i32, f"llvm.x86.{_MADD[lanes]}", [i16, i16], [twos, ones])
    return b.ins(f"add {i32} {c}, {sums}")


def _int8_pairs(b: Builder, a: str, w: str, c: str, lanes: int) -> str:
    """The even and the odd bytes as i16, each multiplied and summed in pairs: nothing saturates."""
    i16, i32 = vector("i16", 2 * lanes), vector("i32", lanes)
    eight = splat("i16", "8", 2 * lanes)
    x, y = (b.ins(f"bitcast {vector('i8', 4 * lanes)} {v} to {i16}") for v in (a, w))
    even = (
        b.ins(f"and {i16} {x}, {splat('i16', '255', 2 * lanes)}"),
        b.ins(f"ashr {i16} {b.ins(f'shl {i16} {y}, {eight}')}, {eight}"),
    )
    odd = b.ins(f"lshr {i16} {x}, {eight}"), b.ins(f"ashr {i16} {y}, {eight}")
    for pair in (even, odd):
        sums = b.call(i32, f"llvm.x86.{_MADD[lanes]}", [i16, i16], list(pair))
        c = b.ins(f"add {i32} {c}, {sums}")
    return c


def _int8_arithmetic(b: Builder, a: str, w: str, c: str, lanes: int) -> str:
    """Byte by byte out of the words."""
    i32 = vector("i32", lanes)
    x, y = (_words(b, v, "i8", 4, lanes) for v in (a, w))

    def k(value: int) -> str:
        return splat("i32", str(value), lanes)

    for n in range(4):
        byte = b.ins(f"and {i32} {b.ins(f'lshr {i32} {x}, {k(8 * n)}')}, {k(255)}")
        signed = b.ins(f"ashr {i32} {b.ins(f'shl {i32} {y}, {k(24 - 8 * n)}')}, {k(24)}")
        c = b.ins(f"add {i32} {c}, {b.ins(f'mul {i32} {byte}, {signed}')}")
    return c
