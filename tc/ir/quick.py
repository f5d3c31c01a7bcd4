"""Frozen dataclasses that are made in less time.

Compiling makes millions of nodes. The `__init__` of a frozen dataclass assigns each field by
`object.__setattr__`, which looks its slot up by name every time; this one has the slots at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """The same dataclass with another `__init__`, of the same arguments.

    Args:
        cls: frozen and with slots, without default factories.
    """
    scope: dict[str, Any] = {}
    parameters, lines = ["self"], []
    for field in fields(cls):  # type: ignore[arg-type]  # a dataclass, as the decorator below says
        assert field.default_factory is MISSING
        assert field.init
        scope[f"set_{field.name}"] = getattr(cls, field.name).__set__
        scope[f"default_{field.name}"] = field.default
        given = "" if field.default is MISSING else f"=default_{field.name}"
        parameters.append(field.name + given)
        lines.append(f"    set_{field.name}(self, {field.name})")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines), scope)
    made: Callable[..., None] = scope["__init__"]
    made.__annotations__ = cls.__init__.__annotations__
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    type.__setattr__(cls, "__init__", made)
    return cls
