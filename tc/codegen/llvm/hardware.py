"""What the instructions of a target can do that LLVM does not find by itself.

This module must not emit anything.
"""

from __future__ import annotations

from typing import Final

from tc.frozen import frozen
from tc.target import Target


@frozen
class Hardware:
    """Special instructions; without any of them the same is computed with more.

    Attributes:
        fma: a product of floats and a sum with it are rounded once.
        f16c: f16 is converted to and from f32.
        dot_bf16: pairs of bf16 are multiplied and summed in f32 (`vdpbf16ps`, `bfdot`).
        dot_int8: four u8 and four i8 are multiplied and summed in i32 (`vpdpbusd`, `usdot`).
        dot_signed: four i8 and four i8 are multiplied and summed in i32 (`sdot`).
        neon: vectors are those of ARM.
        maddub: sums of two products of u8 and i8 saturate in i16 (`vpmaddubsw`).
        lane_registers: how many vector registers there are, where one of their lanes can be a
            factor of all (`fmla v0.4s, v1.4s, v2.s[1]`), or 0.
        short_literals: an access has room for a few thousand bytes of literal offset alone.
        literal_loads: an instruction reads a literal vector from memory, if all of it lies there:
            a lane that is repeated on the way (`{1to8}`, of AVX-512) takes one more without it.
        madd_bits: the widest vector of i16 whose products are summed in pairs (`vpmaddwd`), or 0.
    """

    fma: bool = False
    f16c: bool = False
    dot_bf16: bool = False
    dot_int8: bool = False
    dot_signed: bool = False
    neon: bool = False
    maddub: bool = False
    madd_bits: int = 0
    lane_registers: int = 0
    short_literals: bool = False
    literal_loads: bool = False


# How many times the products of f32 an instruction of the target makes.
_RATES: Final = {"bf16*bf16": ("dot_bf16", 2), "u8*i8": ("dot_int8", 4)}


def product_rate(target: Target, factors: str) -> int:
    """How many times faster than of f32 the products of `factors` ("u8*i8") can be summed."""
    flag, rate = _RATES.get(factors, ("", 1))
    hardware = hardware_of(target)
    if flag == "dot_int8" and not hardware.dot_int8:
        return rate if hardware.dot_signed else 2 if hardware.madd_bits else 1
    return rate if flag and getattr(hardware, flag) else 1


PLAIN: Final = Hardware()


def hardware_of(target: Target) -> Hardware:
    """The special instructions of `target`."""
    x86 = target.arch == "x86_64"
    madd = 512 if target.has("avx512bw") else 256 if target.has("avx2") else 128
    return Hardware(
        fma=target.fuses,
        f16c=target.arch == "aarch64" or target.has("f16c"),
        dot_bf16=target.has("avx512bf16") or target.has("bf16"),
        dot_int8=target.has("avx512vnni") or target.has("i8mm"),
        dot_signed=target.has("dotprod"),
        neon=target.arch == "aarch64",
        maddub=x86 and target.has("ssse3"),
        madd_bits=madd if x86 else 0,
        short_literals=target.arch == "aarch64",
        literal_loads=target.has("avx") and not target.has("avx512vl"),
        lane_registers=target.vector_registers if target.arch == "aarch64" else 0,
    )
