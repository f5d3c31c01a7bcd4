"""Sorting as graphs: short rows by counting what comes before each element, long ones bit by bit.

Counting is one kernel that runs in lanes and on all threads, but takes time as the square of the
row; above `MOST_COUNTED` elements a loop over the bits of the keys is faster. Where the length is
not known before, both are there, and the length of the call says which of them does anything.
What the steps compute is said in `tc.ops.sort`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tc.graph.graph import Arg, Node, Value
from tc.graph.writer import BodyWriter, Writer
from tc.ir.expr import Const, Expr
from tc.ir.types import BOOL
from tc.ops.dims import axis_of, known, larger, smaller, tidy
from tc.ops.order import MOST_FOUND
from tc.ops.sort import key_bits

MOST_COUNTED: Final = 384


def sorting(
    overload: str, args: Sequence[Arg], outputs: Sequence[Value], origin: str
) -> list[Node] | None:
    """The nodes of a sort, or of the search for many of the greatest; None for all else."""
    count: Arg = None
    match overload, tuple(args):
        case "aten.sort.default" | "aten.argsort.default", (Value() as x, dim, descending):
            pass
        case "aten.sort.stable" | "aten.argsort.stable", (Value() as x, _, dim, descending):
            pass
        case "aten.topk.default", (Value() as x, count, dim, descending, _):
            found = known(count) if isinstance(count, int | Expr) else 0
            if x.dtype is BOOL or (found is not None and found <= MOST_FOUND):
                return None
        case _:
            return None
    assert isinstance(dim, int) and isinstance(descending, bool)
    if not x.shape:
        return None
    axis = axis_of(dim, len(x.shape), overload)
    write = Writer(outputs[0].name, origin)
    order = _order(write, x, axis, descending)
    if count is not None:
        order = write("slice", order, axis, 0, count, 1)
    if len(outputs) == 1:
        return write.named({order: outputs[0]})
    values = write("gather", x, axis, order, False)
    return write.named(dict(zip((values, order), outputs, strict=True)))


def _order(write: Writer, x: Value, axis: int, descending: bool) -> Value:
    """Where the elements are that come first, second, and so on."""
    size = x.shape[axis]
    keys = write("sort_keys", x, descending)
    over = smaller(larger(size - MOST_COUNTED, 0), 1)
    most = None if over == Const(0) else MOST_COUNTED
    order = write("in_order", write("places_in_order", keys, axis, most), axis, None)
    if most is None:
        return order
    times = tidy(over * key_bits(x.dtype))
    body = BodyWriter(f"{order.name}.bits", write.origin, times)
    inner_keys, before = body.input(keys), body.input(order)
    zeros = body("zeros_so_far", inner_keys, before, axis, body.index)
    body.set(before, body("in_order", body("places_by_bit", zeros, axis), axis, before))
    (order,) = write.loop(body, times)
    return order
