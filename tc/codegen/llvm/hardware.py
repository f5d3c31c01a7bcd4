"""What the instructions of a target can do that LLVM does not find by itself.

This module must not emit anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tc.target import Target


@dataclass(frozen=True, slots=True)
class Hardware:
    """Special instructions; without any of them the same is computed with more.

    Attributes:
        f16c: f16 is converted to and from f32.
        dot_bf16: pairs of bf16 are multiplied and summed in f32 (`vdpbf16ps`).
        dot_int8: four u8 and four i8 are multiplied and summed in i32 (`vpdpbusd`).
        madd_bits: the widest vector of i16 whose products are summed in pairs (`vpmaddwd`), or 0.
    """

    f16c: bool = False
    dot_bf16: bool = False
    dot_int8: bool = False
    madd_bits: int = 0


PLAIN: Final = Hardware()


def hardware_of(target: Target) -> Hardware:
    """The special instructions of `target`."""
    x86 = target.arch == "x86_64"
    madd = 512 if target.has("avx512bw") else 256 if target.has("avx2") else 128
    return Hardware(
        f16c=target.arch == "aarch64" or target.has("f16c"),
        dot_bf16=target.has("avx512bf16"),
        dot_int8=target.has("avx512vnni"),
        madd_bits=madd if x86 else 0,
    )
