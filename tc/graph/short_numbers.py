"""How products in short numbers are counted: precisions, groups, bits of activations.

Known apart from the pass that shortens, for those who measure what it would do. This module must
not import operators or graphs.
"""

from __future__ import annotations

from typing import Final

from tc.target import Target

PRECISIONS: Final = ("int8", "bf16", "fp32")  # of products, the shortest first
GROUP: Final = 64  # elements of a group of int8: a fifth slower than one group, half the error


def rounds_activations(target: Target) -> bool:
    """Whether activations go through bf16 as weights do: where an instruction multiplies two."""
    return target.has("avx512bf16") or target.has("bf16")


def activation_bits(target: Target) -> int:
    """7 bits where no instruction multiplies bytes without a sign by bytes with one exactly.

    x86 then has one whose sums of two must fit i16, and ARM those of two bytes with a sign.
    """
    whole = target.has("avx512vnni") or target.has("i8mm")
    return 7 if (target.has("ssse3") or target.has("neon")) and not whole else 8


def groups_of(depth: int) -> tuple[int, int]:
    """How many groups of int8 a sum over `depth` is cut into, and their length; zeros fill up."""
    size = min(GROUP, -(-depth // 4) * 4)
    return max(1, -(-depth // size)), size
