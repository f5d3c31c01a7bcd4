"""Operands that eager refuses for their element types, though a trace lets them pass.

Products and norms take operands of one type; what eager raises for others is an error here too,
instead of a result in a type that was never asked for. This module must not change a graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tc.errors import CompileError, describe
from tc.graph.graph import Arg, Value
from tc.ir.types import DType

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d",
                 "conv_transpose2d", "conv_transpose3d")  # fmt: skip
# Operator -> the arguments that must be of one type.
_ONE_TYPE: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot"), (0, 1)),
    **dict.fromkeys(("linear", "addmm", "baddbmm", *_CONVOLUTIONS), (0, 1, 2)),
    "scaled_dot_product_attention": (0, 1, 2),
}
# The same, but parameters of f32 go with half-precision activations.
_NORMS: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(("layer_norm", "group_norm"), (0, 2, 3)),
    **dict.fromkeys(("native_layer_norm", "instance_norm"), (0, 1, 2)),
    "batch_norm": (0, 1, 2),
}
_HALVES = (DType.F16, DType.BF16)


def check_types(overload: str, args: Sequence[Arg], origin: str) -> None:
    """Raise CompileError where eager refuses the element types of these arguments."""
    name = overload.removeprefix("aten.").split(".")[0]
    norm = name in _NORMS
    wanted = _NORMS.get(name) or _ONE_TYPE.get(name, ())
    given = [args[n] for n in wanted if n < len(args)]
    types = [value.dtype for value in given if isinstance(value, Value)]
    if norm and types and types[0] in _HALVES and set(types[1:]) == {DType.F32}:
        return
    if len(set(types)) > 1:
        listed = ", ".join(str(each) for each in types)
        raise CompileError(
            describe(
                f"operator {name}",
                where=f"in {origin}" if origin else "",
                why=f"takes operands of one dtype and is given {listed}",
                way_out=f"pass inputs of dtype {types[-1]}, or convert the model",
            )
        )
