"""How any node becomes text: `str(node)` comes here, and the printer enters its functions here.

So nodes need not know the printer, which knows every one of them.
"""

from __future__ import annotations

from functools import singledispatch

from tc.errors import InternalError


@singledispatch
def text(node: object) -> str:
    """The text of a node; `tc.ir.printer` has the functions."""
    raise InternalError(f"text: {type(node).__name__} is not a node of tc.ir")


class Printed:
    """Base of every node: `str(node)` is its text."""

    __slots__ = ()

    def __str__(self) -> str:
        return text(self)
