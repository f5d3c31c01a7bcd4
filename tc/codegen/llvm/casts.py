"""Conversions between element types, to the bit the same on every target.

f16 and bf16 are i16 in registers and are computed with as f32. bf16 is converted by integer
arithmetic everywhere (the hardware's instruction flushes denormals); f16 by hardware where the
target has it, else by the bit arithmetic of Giesen, "float -> half variants" (2012), which rounds
to nearest even. Halves of f64 are rounded twice, through f32, as PyTorch does.
"""

from __future__ import annotations

from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.text import HALVES, float_literal, splat, value_type, vector
from tc.ir.types import BF16, BOOL, F16, F32, F64, I32, I64, U8, DType


def cast(b: Builder, x: str, src: DType, dst: DType, lanes: int, f16c: bool) -> str:
    """The value `x` of type `src` as a `dst`."""
    if src is dst:
        return x
    if src in HALVES:
        wide = widen_half(b, x, src, lanes, f16c)
        return cast(b, wide, F32, dst, lanes, f16c)
    if dst in HALVES:
        single = cast(b, x, src, F32, lanes, f16c)
        return narrow_half(b, single, dst, lanes, f16c)
    s, d = value_type(src, lanes), value_type(dst, lanes)
    if dst is BOOL:
        if src.is_float:
            return b.ins(f"fcmp une {s} {x}, zeroinitializer" if lanes > 1 else
                         f"fcmp une {s} {x}, {float_literal(0.0, src is F64)}")  # fmt: skip
        return b.ins(f"icmp ne {s} {x}, {splat(value_type(src), '0', lanes)}")
    if src.is_float:
        return _from_float(b, x, src, dst, lanes)
    if dst.is_float:
        op = "uitofp" if src in (BOOL, U8) else "sitofp"
        return b.ins(f"{op} {s} {x} to {d}")
    if src.bits == dst.bits and src is not BOOL:
        return x
    if src is BOOL or src.bits < dst.bits:
        return b.ins(f"{'zext' if src in (BOOL, U8) else 'sext'} {s} {x} to {d}")
    return b.ins(f"trunc {s} {x} to {d}")


def _from_float(b: Builder, x: str, src: DType, dst: DType, lanes: int) -> str:
    s, d = value_type(src, lanes), value_type(dst, lanes)
    if dst.is_float:
        return b.ins(f"{'fpext' if dst is F64 else 'fptrunc'} {s} {x} to {d}")
    # Through 32 bits, so that u8 and the small types wrap as PyTorch's do. A value that fits no
    # integer gives some number, never poison.
    middle = I64 if dst is I64 else I32
    m = value_type(middle, lanes)
    whole = b.ins(f"freeze {m} {b.ins(f'fptosi {s} {x} to {m}')}")
    return whole if middle is dst else b.ins(f"trunc {m} {whole} to {d}")


def widen_half(b: Builder, x: str, src: DType, lanes: int, f16c: bool) -> str:
    """f16 or bf16 to f32, exact."""
    i16, i32, f32 = vector("i16", lanes), vector("i32", lanes), vector("float", lanes)
    if src is F16 and f16c:
        half = vector("half", lanes)
        return b.ins(f"fpext {half} {b.ins(f'bitcast {i16} {x} to {half}')} to {f32}")
    bits = b.ins(f"zext {i16} {x} to {i32}")

    def k(value: int) -> str:
        return splat("i32", str(value), lanes)

    if src is BF16:
        return b.ins(f"bitcast {i32} {b.ins(f'shl {i32} {bits}, {k(16)}')} to {f32}")
    sign = b.ins(f"shl {i32} {b.ins(f'and {i32} {bits}, {k(0x8000)}')}, {k(16)}")
    rest = b.ins(f"shl {i32} {b.ins(f'and {i32} {bits}, {k(0x7FFF)}')}, {k(13)}")
    scaled = b.ins(f"bitcast {i32} {rest} to {f32}")
    scaled = b.ins(f"fmul {f32} {scaled}, {splat('float', float_literal(2.0**112, False), lanes)}")
    scaled = b.ins(f"bitcast {f32} {scaled} to {i32}")
    special = b.ins(f"icmp uge {i32} {rest}, {k(0x7C00 << 13)}")
    marked = b.ins(f"or {i32} {scaled}, {k(0x7F800000)}")
    i1 = vector("i1", lanes)
    scaled = b.ins(f"select {i1} {special}, {i32} {marked}, {i32} {scaled}")
    return b.ins(f"bitcast {i32} {b.ins(f'or {i32} {scaled}, {sign}')} to {f32}")


def narrow_half(b: Builder, x: str, dst: DType, lanes: int, f16c: bool) -> str:
    """f32 to f16 or bf16, to nearest even."""
    i16, i32, f32 = vector("i16", lanes), vector("i32", lanes), vector("float", lanes)
    if dst is F16 and f16c:
        half = vector("half", lanes)
        return b.ins(f"bitcast {half} {b.ins(f'fptrunc {f32} {x} to {half}')} to {i16}")
    bits = b.ins(f"bitcast {f32} {x} to {i32}")
    narrow = _bf16 if dst is BF16 else _f16
    return b.ins(f"trunc {i32} {narrow(b, x, bits, lanes)} to {i16}")


def _bf16(b: Builder, x: str, bits: str, lanes: int) -> str:
    i32, f32, i1 = vector("i32", lanes), vector("float", lanes), vector("i1", lanes)

    def k(value: int) -> str:
        return splat("i32", str(value), lanes)

    odd = b.ins(f"and {i32} {b.ins(f'lshr {i32} {bits}, {k(16)}')}, {k(1)}")
    bias = b.ins(f"add {i32} {odd}, {k(0x7FFF)}")
    rounded = b.ins(f"add {i32} {bits}, {bias}")
    quiet = b.ins(f"or {i32} {bits}, {k(0x400000)}")
    nan = b.ins(f"fcmp uno {f32} {x}, {x}")
    chosen = b.ins(f"select {i1} {nan}, {i32} {quiet}, {i32} {rounded}")
    return b.ins(f"lshr {i32} {chosen}, {k(16)}")


def _f16(b: Builder, x: str, bits: str, lanes: int) -> str:
    del x
    i32, f32, i1 = vector("i32", lanes), vector("float", lanes), vector("i1", lanes)

    def k(value: int) -> str:
        return splat("i32", str(value), lanes)

    sign = b.ins(f"and {i32} {bits}, {k(-0x80000000)}")
    size = b.ins(f"xor {i32} {bits}, {sign}")
    # Denormal halves: adding 0.5 lets the adder of f32 round at the right place.
    real = b.ins(f"bitcast {i32} {size} to {f32}")
    small = b.ins(f"fadd {f32} {real}, {splat('float', float_literal(0.5, False), lanes)}")
    small = b.ins(f"bitcast {f32} {small} to {i32}")
    small = b.ins(f"sub {i32} {small}, {k(0x3F000000)}")
    odd = b.ins(f"and {i32} {b.ins(f'lshr {i32} {size}, {k(13)}')}, {k(1)}")
    normal = b.ins(f"add {i32} {size}, {k(0xFFF - ((127 - 15) << 23))}")
    normal = b.ins(f"lshr {i32} {b.ins(f'add {i32} {normal}, {odd}')}, {k(13)}")
    is_small = b.ins(f"icmp ult {i32} {size}, {k((127 - 14) << 23)}")
    out = b.ins(f"select {i1} {is_small}, {i32} {small}, {i32} {normal}")
    is_big = b.ins(f"icmp uge {i32} {size}, {k((127 + 16) << 23)}")
    is_nan = b.ins(f"icmp ugt {i32} {size}, {k(0x7F800000)}")
    big = b.ins(f"select {i1} {is_nan}, {i32} {k(0x7E00)}, {i32} {k(0x7C00)}")
    out = b.ins(f"select {i1} {is_big}, {i32} {big}, {i32} {out}")
    return b.ins(f"or {i32} {out}, {b.ins(f'lshr {i32} {sign}, {k(16)}')}")
