"""Classes of nodes that work out once what they are asked again and again, in slots of their own.

The classes have slots `_hash`, `_dtype` and `_lanes`. This module must not know what a node is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

Node = TypeVar("Node")


def remembers(cls: type[Node]) -> type[Node]:
    """A class of nodes, each of which works out its hash, its dtype and its lanes once.

    Nodes are keys of polynomials and of memos, and every check asks for dtype and lanes; what
    walks the whole tree each time takes longer than all else that a pass does.
    """
    type.__setattr__(cls, "__hash__", _once(cls, "_hash", cls.__hash__))
    for name in ("dtype", "lanes"):
        if name in cls.__dict__:
            known = _once(cls, f"_{name}", cls.__dict__[name].fget)
            type.__setattr__(cls, name, property(known))
    return cls


def _once(cls: type, slot: str, work_out: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`work_out`, with its answer kept in a slot of the node."""
    keep = getattr(cls, slot).__set__

    def remembered(node: Any) -> Any:
        try:
            return node.slot
        except AttributeError:
            found = work_out(node)
            keep(node, found)
            return found

    # Code of its own: the interpreter notes beside it where one class has its slot.
    code = remembered.__code__
    names = tuple([slot if name == "slot" else name for name in code.co_names])
    return FunctionType(code.replace(co_names=names), globals(), slot, None, remembered.__closure__)


def answers(**fields: str | int) -> Callable[[type[Node]], type[Node]]:
    """A class of nodes of which properties are read from a field at once, or are one number."""

    def decorate(cls: type[Node]) -> type[Node]:
        for name, field in fields.items():
            type.__setattr__(cls, name, getattr(cls, field) if isinstance(field, str) else field)
        return cls

    return decorate
