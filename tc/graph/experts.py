"""Grouped products as graphs: which matrix each row meets, then all products in one kernel.

What they compute is said in `tc.ops.experts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc.graph.graph import Arg, Node, Value
from tc.graph.writer import Writer


def grouped_products(
    overload: str, args: Sequence[Arg], outputs: Sequence[Value], origin: str
) -> list[Node] | None:
    """The nodes of a product of rows in groups, each with its matrix; None for all else."""
    match overload, tuple(args):
        case (
            "aten._grouped_mm.default",
            (Value() as x, Value() as weights, Value() as ends, None, None),
        ):
            pass
        case (
            "tc.grouped_mm.default" | "transformers.grouped_mm_fallback.default",
            (Value() as x, Value() as weights, Value() as ends),
        ):
            pass
        case _:
            return None
    if len(x.shape) != 2 or len(weights.shape) != 3 or x.dtype is not weights.dtype:
        return None
    write = Writer(outputs[0].name, origin)
    groups = write("group_of_rows", ends, x.shape[0])
    made = write("grouped_matmul", x, weights, groups, ends)
    return write.named({made: outputs[0]})
