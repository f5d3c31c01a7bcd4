"""Frozen dataclasses that are defined and made in less time.

The decorator of the standard library writes and compiles six methods for each class, a millisecond
that a process pays again for every class it imports, and the `__init__` of a frozen one looks each
slot up by name. A class of this decorator behaves the same; its methods are closures over what
they need, and its `__init__` is one of few templates, one for each number of fields, under their
names.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from types import CellType, CodeType, FunctionType
from typing import Any, Final, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`; methods that the class has itself are left alone.

    Two objects are equal where their classes are the same and their fields are equal.
    """
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else the dataclass works out a signature for it
    own = cls.__dict__
    made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    found = fields(made)  # type: ignore[arg-type]  # a dataclass, as the line above says
    names = tuple(f.name for f in found)
    values = _values(names)
    methods: dict[str, Callable[..., Any]] = {
        "__init__": _init(made, found),
        "__repr__": _repr(names),
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__getstate__": _getstate(values),
        "__setstate__": _setstate(names),
    }
    if "__eq__" not in own:
        methods["__eq__"] = _eq(values)
    if "__hash__" not in own or own["__hash__"] is None:
        methods["__hash__"] = _hash(values)
    for name, method in methods.items():
        if name not in own or name == "__hash__":
            type.__setattr__(made, name, method)
    return made


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads all fields."""
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda _self: ()
    one = attrgetter(*names)
    return lambda self: (one(self),)


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[..., Any]:
    def equal(self: Any, other: object) -> Any:
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    return equal


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[..., Any]:
    def hashed(self: Any) -> int:
        return hash(values(self))

    return hashed


def _repr(names: tuple[str, ...]) -> Callable[..., Any]:
    def shown(self: Any) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({parts})"

    return shown


def _getstate(values: Callable[[Any], tuple[Any, ...]]) -> Callable[..., Any]:
    def state(self: Any) -> tuple[Any, ...]:
        return values(self)

    return state


def _setstate(names: tuple[str, ...]) -> Callable[..., Any]:
    """For copies and pickles, which assign to what is there already."""

    def restore(self: Any, state: tuple[Any, ...]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return restore


def _refuse(self: Any, name: str, *_value: object) -> None:
    raise FrozenInstanceError(f"cannot change field {name!r} of a {type(self).__name__}")


def _init(cls: type, found: tuple[Field[Any], ...]) -> FunctionType:
    """The `__init__` of a class whose fields have slots: a template, given its names and slots."""
    assert all(f.init for f in found)
    factories = tuple(n for n, f in enumerate(found) if f.default_factory is not MISSING)
    code = _template(len(found), factories, hasattr(cls, "__post_init__"))
    code = code.replace(
        co_varnames=("self", *(f.name for f in found)),
        co_qualname=f"{cls.__qualname__}.__init__",
    )
    cells: dict[str, Any] = {f"set{n}": getattr(cls, f.name).__set__ for n, f in enumerate(found)}
    cells.update({f"new{n}": found[n].default_factory for n in factories})
    closure = tuple(CellType(cells[name]) for name in code.co_freevars)
    defaults = tuple(
        f.default for n, f in enumerate(found) if n in factories or f.default is not MISSING
    )
    init = FunctionType(code, _GLOBALS, "__init__", defaults, closure)
    init.__annotations__ = {**{f.name: f.type for f in found}, "return": None}
    init.__module__ = cls.__module__
    return init


# Who looks at functions, as torch.compile does, expects the builtins among their globals.
_GLOBALS: Final[dict[str, Any]] = {"MISSING": MISSING, "__builtins__": builtins}


@functools.cache
def _template(count: int, factories: tuple[int, ...], after: bool) -> CodeType:
    """Code of an `__init__` of so many fields; where a factory's is not given, it makes one."""
    parameters = "".join(f", value{n}" for n in range(count))
    lines = [
        f"set{n}(self, new{n}() if value{n} is MISSING else value{n})"
        if n in factories
        else f"set{n}(self, value{n})"
        for n in range(count)
    ]
    lines += ["self.__post_init__()"] if after else []
    outer = [*(f"set{n}" for n in range(count)), *(f"new{n}" for n in factories)]
    scope: dict[str, Any] = {}
    text = "\n".join(
        (
            f"def make({', '.join(outer)}):",
            f"    def __init__(self{parameters}):",
            *(f"        {line}" for line in lines or ["pass"]),
            "    return __init__",
        )
    )
    exec(text, scope)
    made: FunctionType = scope["make"](*outer)
    return made.__code__
