"""Whether what the operator table gives is what was traced, for all calls that a trace is for.

This module must not change a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tc.errors import describe
from tc.frontend.captured import GraphError
from tc.frontend.signature import Signature
from tc.frontend.signature_branch import holds
from tc.graph.compose import check_value
from tc.graph.graph import Value
from tc.ir.expr import Const, Expr, Sym
from tc.ir.simplify import simplify
from tc.ir.tensor import Tensor
from tc.ir.visit import map_expr

_FIRST: Final = (17, 40, 99)  # sizes of calls that a trace is tried on, and how far others are
_APART: Final = 6


class Agreement:
    """Of one trace, whose sizes are over `symbols`, by their names in the signature."""

    def __init__(self, signature: Signature, symbols: Mapping[str, Sym]) -> None:
        self._signature = signature
        self._symbols = symbols

    def check(self, made: Tensor, value: Value) -> None:
        """Compare what the table gives with what was traced.

        Raises:
            GraphError: a number of the trace is a size that the call decides on. An operator has
                asked whether it is this number, a one as a rule, and the sizes traced with said so.
            InternalError: they differ otherwise.
        """
        check_value(made, value)
        for size, traced in zip(made.shape, value.shape, strict=True):
            if isinstance(size, Const) or not isinstance(traced, Const):
                continue
            if any(found != traced for found in self._of_calls(size) if isinstance(found, Const)):
                raise GraphError(
                    describe(
                        f"size {size} of {value.name}",
                        why=f"the trace holds where it is {traced} alone",
                        way_out="run the model eagerly, or compile it with dynamic=False",
                    )
                )

    def _of_calls(self, size: Expr) -> Iterator[Expr]:
        """A size in some calls that the trace is for."""
        for first in _FIRST:
            sizes = {}
            for number, symbol in enumerate(self._signature.symbols):
                own = first + _APART * number
                most = own if symbol.high is None else min(own, symbol.high)
                sizes[symbol.name] = max(symbol.low, most)
            if all(holds(branch.condition, sizes) for branch in self._signature.branches):
                given = {self._symbols[name].name: Const(n) for name, n in sizes.items()}
                yield simplify(_with_sizes(size, given))


def _with_sizes(size: Expr, given: Mapping[str, Const]) -> Expr:
    return map_expr(size, lambda x: given.get(x.name) if isinstance(x, Sym) else None)
