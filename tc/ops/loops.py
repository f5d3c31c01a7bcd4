"""The row of loops, which have no expression: what one computes is said by the graph it holds."""

from __future__ import annotations

from typing import NoReturn

from tc.errors import InternalError
from tc.ops.table import Kind, operator


def _no_expression(*_: object) -> NoReturn:
    raise InternalError("loop: is a graph, which no expression stands for")


@operator("loop", aten=(), kind=Kind.LOOP, reference=_no_expression, samples=())
def build_loop(*args: object) -> NoReturn:
    """See `tc.graph.graph.Loop`."""
    _no_expression(*args)
