"""Weights as constants of the C sources, in place of the weights file.

Which ones is a matter of their size: small arrays are worth it, and a small model that is one
program without any file. This module must not decide what an array is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tc.errors import CompileError, describe
from tc.ir.types import DType
from tc.standalone.lines import rows
from tc.standalone.spec import Memory, ModelSpec
from tc.standalone.weights import ALIGN, data

MOST: Final = 16 << 20  # bytes of weights that a compiler takes as text in bounded time
_SMALL_ARRAY, _SMALL_MODEL = 1 << 10, 1 << 18
_TYPES: Final = {
    DType.F32: ("float", "<f4"), DType.F64: ("double", "<f8"), DType.I8: ("int8_t", "<i1"),
    DType.I16: ("int16_t", "<i2"), DType.I32: ("int32_t", "<i4"), DType.I64: ("int64_t", "<i8"),
    DType.U8: ("uint8_t", "<u1"), DType.BOOL: ("uint8_t", "<u1"), DType.F16: ("uint16_t", "<u2"),
    DType.BF16: ("uint16_t", "<u2"),
}  # fmt: skip


def threshold(bake: object, model: ModelSpec) -> int:
    """The bytes up to which an array is baked, from what a user said.

    Args:
        bake: "none", "all", "auto" (small arrays, or all of a small model), or a number of bytes.

    Raises:
        CompileError: something else, or more than a compiler can be given.
    """
    total = sum({m.address: m.bytes for p in model.programs for m in p.constants.values()}.values())
    if bake == "none":
        return 0
    if bake == "auto":
        return total if total <= _SMALL_MODEL else _SMALL_ARRAY
    if bake == "all":
        if total > MOST:
            why = f"has {total} bytes of weights, of which at most {MOST} can be text"
            raise CompileError(
                describe(f"bake='all' of {model.name}", why=why, way_out="use bake='auto'")
            )
        return total
    if type(bake) is int and bake >= 0:
        return min(bake, MOST)
    raise CompileError(
        describe(f"bake={bake!r}", why="no such value", way_out="use none, auto, all or bytes")
    )


def definition(name: str, memory: Memory, dtype: DType) -> list[str]:
    """An array of C with the content of memory, which begins where one of the file would too."""
    kind, layout = _TYPES[dtype]
    values = np.frombuffer(data(memory), layout)
    made = rows(f"static const {kind} {name}[]", _literals(values, dtype), "0")
    return [f"__attribute__((aligned({ALIGN})))", *made]


def _literals(values: np.ndarray[tuple[int], np.dtype[np.generic]], dtype: DType) -> Iterator[str]:
    for value in values.tolist():
        if dtype not in (DType.F32, DType.F64):
            yield str(value) if value > -(2**63) else "INT64_MIN"
        elif value != value:
            yield "NAN"
        elif value in (float("inf"), -float("inf")):
            yield "INFINITY" if value > 0 else "-INFINITY"
        else:
            yield value.hex() + ("f" if dtype is DType.F32 else "")
