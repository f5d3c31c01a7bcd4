"""Everything that a model's code can read, as text: functions, classes, globals, plain values.

The walk begins at the classes of a model's modules and follows names: a function reaches the
globals that it names, and of each class that was reached the attributes that anything reached
names. So a method that was replaced, a global that was changed and an entry that was added to a
registry are all seen, and what the model does not use is not. What an installed package keeps for
itself (loggers, locks, caches) is left out; the user's own code is held to more: whatever cannot be
told exactly raises `IndescribableError`. This module must not run code that it describes.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import torch

from tc.frontend.recall_code import digest, globals_in, imports, names_in
from tc.frontend.recall_packages import Origin, Packages


class IndescribableError(Exception):
    """A part of a model that no description holds exactly; the message says which."""


# What capturing itself calls on a model, whether or not its code does.
_CALLED: Final = frozenset(
    (
        *("forward", "train", "eval", "parameters", "named_parameters", "buffers", "modules"),
        *("named_buffers", "named_modules", "children", "named_children", "get_submodule"),
    )
)
# Ways to reach what no name in the code leads to; the user's code is not followed beyond them.
_UNSEEN: Final = frozenset(
    (
        *("builtins", "__builtins__", "import_module", "environ", "environb", "getenv", "argv"),
        *("_getframe", "currentframe", "urandom"),
    )
)
_UNSEEN_BUILTINS: Final = frozenset(("globals", "eval", "exec", "__import__", "open", "input"))
# Ways to read an attribute whose name the code does not have.
_COMPUTED: Final = frozenset(
    (
        *("getattr", "__getattribute__", "attrgetter", "methodcaller", "getmembers"),
        *("__dict__", "vars", "dir", "__getattr__"),
    )
)
_PLAIN: Final = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)),
        *(range, slice, torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size),
    )
)
_C_FUNCTIONS: Final = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
# State of the standard library that decides no result.
_IDLE: Final = frozenset(
    (
        *("logging.Logger", "_thread.lock", "_thread.RLock", "_contextvars.ContextVar"),
        *("typing.TypeVar", "typing.ParamSpec", "typing._SpecialForm", "typing._GenericAlias"),
        *("typing._UnionGenericAlias", "typing._LiteralGenericAlias", "typing._CallableType"),
        *("typing._CallableGenericAlias", "typing._SpecialGenericAlias", "typing._TupleType"),
        *("types.GenericAlias", "types.UnionType", "__future__._Feature", "builtins.object"),
        *("dataclasses._DataclassParams", "dataclasses.Field", "dataclasses._MISSING_TYPE"),
        *("_abc._abc_data", "_collections._tuplegetter"),
    )
)


def qualified(cls: type) -> str:
    """The dotted name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


class Walk:
    """One walk over one model; `text` describes values and notes what they lead to."""

    def __init__(self, classes: Mapping[type, None]) -> None:
        """`classes`: of the model's modules."""
        self.packages = Packages(classes)
        self._roots = {base for cls in classes for base in cls.__mro__} - {torch.nn.Module, object}
        self._names: set[str] = set(_CALLED)
        self._lines: set[str] = set()
        # The objects too, so that each id stays that of one.
        self._texts: dict[tuple[int, bool], tuple[object, str]] = {}
        self._classes: dict[type, set[str]] = {}
        self._modules: dict[str, types.ModuleType] = {}
        self._functions: list[types.FunctionType] = []
        self._followed: set[types.FunctionType] = set()
        self._scanned: set[str] = set()  # modules of packages
        self._computed = False  # whether something reads attributes by names that it computes
        self._named: set[type] = set()  # classes that code may make objects of
        self._sharing: dict[str, list[object]] = {}  # what has one name, as first met
        for cls in classes:
            self._class(cls)
        for name, value in vars(torch.nn.Module).items():
            self._look(f"Module.{name}", value)

    def digest(self) -> str:
        """Of everything that was reached."""
        changed = True
        while changed:
            while self._functions:
                self._follow(self._functions.pop())
            changed = False
            for cls, done in list(self._classes.items()):
                changed |= self._attributes(cls, done)
            for name, module in list(self._modules.items()):
                changed |= self._members(name, module)
            changed |= bool(self._functions)
        used = [f"{name} {version}" for name, version in self.packages.used.items()]
        return hashlib.sha256("\n".join(sorted(self._lines) + sorted(used)).encode()).hexdigest()

    def label(self, cls: type) -> str:
        """The name of a class, with a number where it shares that with another."""
        return self._label(qualified(cls), cls)

    def _label(self, name: str, thing: object) -> str:
        sharing = self._sharing.setdefault(name, [])
        for number, each in enumerate(sharing):
            if each is thing:
                return f"{name}#{number}" if number else name
        sharing.append(thing)
        return self._label(name, thing)

    # --- values

    def text(self, value: object, own: bool) -> str:
        """A value exactly.

        Args:
            own: whether it is the user's, so that nothing may be left open.

        Raises:
            IndescribableError: it cannot be told.
        """
        kind = type(value)
        if kind in _PLAIN:
            return f"{kind.__name__} {value!r}"
        key = (id(value), own)
        known = self._texts.get(key)
        if known is not None:
            return known[1]
        self._texts[key] = (value, "itself")
        found = self._text(value, kind, own)
        self._texts[key] = (value, found)
        return found

    def _text(self, value: Any, kind: type, own: bool) -> str:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            self._named.update(value.__mro__)
            return self._class(value)
        if isinstance(value, types.ModuleType):
            self._modules.setdefault(value.__name__, value)
            return f"module {value.__name__}"
        if isinstance(value, _C_FUNCTIONS):
            return f"builtin {getattr(value, '__qualname__', '')}"
        if isinstance(value, enum.Enum):
            return f"{self._class(kind)} {value.name} {self.text(value.value, own)}"
        unwrap = _WRAPPERS.get(kind)
        if unwrap is not None:
            return f"{kind.__name__} {[self.text(part, own) for part in unwrap(value)]}"
        if kind in (tuple, list):
            return f"{kind.__name__} {[self.text(each, own) for each in value]}"
        if kind in (set, frozenset):
            return f"{kind.__name__} {sorted([self.text(each, own) for each in value])}"
        if not own:
            return self._registry(value, kind)
        if kind in (dict, OrderedDict, defaultdict, types.MappingProxyType):
            texts = [f"{self.text(k, own)}: {self.text(v, own)}" for k, v in value.items()]
            factory = getattr(value, "default_factory", None)
            return f"{kind.__name__} {texts} {self.text(factory, own)}"
        return self._instance(value, kind)

    def _registry(self, value: Any, kind: type) -> str:
        """What a package holds: its functions count, what else it notes is its own affair."""
        held = [value] if isinstance(value, Mapping) else []
        if self.packages.origin(kind.__module__) is not Origin.FIXED:
            held += [v for v in (*_vars(value), *_vars(kind)) if isinstance(v, dict)]
        found = {
            f"{key}: {self._name(each)}"
            for mapping in held
            for key, each in list(mapping.items())
            if isinstance(key, str) and isinstance(each, (types.FunctionType, type))
        }
        return f"{qualified(kind)} {sorted(found)}"

    def _name(self, value: types.FunctionType | type) -> str:
        """Which function or class it is; only the user's is described."""
        if isinstance(value, type):
            own = self.packages.origin(value.__module__) is Origin.OWN
            return self._class(value) if own else qualified(value)
        module = _home(value)
        if self.packages.origin(module) is Origin.OWN:
            return self._function(value)
        return f"{module}.{value.__code__.co_qualname}"

    def _instance(self, value: Any, kind: type) -> str:
        name = qualified(kind)
        if name in _IDLE:
            return f"a {name}"
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return f"{self._class(kind)} {[self.text(each, True) for each in value]}"
        if is_dataclass(value):
            parts = {f.name: getattr(value, f.name, None) for f in fields(value)}
            if getattr(value, "__dict__", {}).keys() <= parts.keys():
                return f"{self._class(kind)} {[(n, self.text(v, True)) for n, v in parts.items()]}"
        raise IndescribableError(f"a value of type {name}")

    # --- functions

    def _function(self, value: types.FunctionType) -> str:
        code, origin = value.__code__, self.packages.origin(_home(value))
        text = f"function {self._scope(value)}.{code.co_qualname}"
        if origin is Origin.FIXED:
            text += f" {code.co_firstlineno}"
        else:
            text += f" {digest(code)}"
            self._enter(value)
        wrapped = value.__dict__.get("__wrapped__")
        cells = [_content_of(cell) for cell in value.__closure__ or ()]
        held = (value.__defaults__, value.__kwdefaults__, wrapped, *cells)
        return f"{text} {[self.text(each, origin is Origin.OWN) for each in held]}"

    def _enter(self, value: types.FunctionType) -> None:
        if value not in self._followed:
            self._followed.add(value)
            self._functions.append(value)

    def _follow(self, value: types.FunctionType) -> None:
        """Note the globals that a function names."""
        scope, origin = value.__globals__, self.packages.origin(_home(value))
        names = names_in(value.__code__)
        if origin is Origin.OWN:
            _refuse(value, names)
        elif origin is Origin.PACKAGE:
            self._scan(_home(value))
        self._names |= names
        self._computed |= origin is not Origin.FIXED and not names.isdisjoint(_COMPUTED)
        place = self._scope(value)
        for name in sorted(names & scope.keys()):
            self._lines.add(f"{place}.{name} = {self.text(scope[name], origin is Origin.OWN)}")

    def _scope(self, value: types.FunctionType) -> str:
        """The name of a function's module; a module that was loaded anew is another."""
        return self._label(f"module {_home(value)}", value.__globals__)

    # --- classes and modules

    def _class(self, cls: type) -> str:
        for base in cls.__mro__:
            origin = self.packages.origin(base.__module__)
            if base in self._roots or origin is Origin.OWN:
                if base not in self._classes:
                    self._classes[base] = set()
                    bases = ", ".join(map(self.label, base.__mro__))
                    self._lines.add(f"class {self.label(base)}: {bases}")
            elif origin is Origin.PACKAGE:
                self._scan(base.__module__)
        return f"class {self.label(cls)}"

    def _attributes(self, cls: type, done: set[str]) -> bool:
        """Describe the attributes of a class that something names; whether there were new ones."""
        origin = self.packages.origin(cls.__module__)
        own = origin is Origin.OWN
        changed = False
        for name, value in list(vars(cls).items()):
            if name in done or not (name in self._names or _is_magic(name) or own & self._computed):
                continue
            if name == "__init__" and cls not in self._named and issubclass(cls, torch.nn.Module):
                continue  # the modules of the model are made already
            done.add(name)
            if _is_magic(name) and not _is_code(value):
                continue
            changed = True
            self._lines.add(f"{self.label(cls)}.{name} = {self.text(value, own)}")
            if origin is Origin.FIXED and isinstance(value, types.FunctionType):
                self._enter(value)  # a torch layer of the model: what it calls may be replaced
        return changed

    def _members(self, name: str, module: types.ModuleType) -> bool:
        """As `_attributes`, for what is read through a module."""
        origin = self.packages.origin(name)
        lines = set()
        for each in sorted(self._names & vars(module).keys()):
            value = vars(module)[each]
            if origin is Origin.OWN:
                lines.add(f"{name}.{each} = {self.text(value, True)}")
            elif isinstance(value, types.FunctionType):
                lines.add(f"{name}.{each} = {self._name(value)}")
            elif isinstance(value, types.BuiltinFunctionType):
                lines.add(f"{name}.{each} = builtin {value.__name__}")
        changed = not lines <= self._lines
        self._lines |= lines
        return changed

    def _scan(self, name: str) -> None:
        """Look for code that somebody else has put into a module of a package."""
        if name in self._scanned or (module := sys.modules.get(name)) is None:
            return
        self._scanned.add(name)
        for each, value in list(vars(module).items()):
            self._look(f"{name}.{each}", value)
            if isinstance(value, type) and value.__module__ == name:
                for attribute, part in list(vars(value).items()):
                    for inner in _unwrapped(part):
                        self._look(f"{name}.{each}.{attribute}", inner)

    def _look(self, place: str, value: object) -> None:
        if isinstance(value, types.FunctionType):
            if self.packages.origin(_home(value)) is Origin.OWN:
                self._lines.add(f"{place} = {self._function(value)}")
        elif isinstance(value, type) and self.packages.origin(value.__module__) is Origin.OWN:
            self._lines.add(f"{place} = {self._class(value)}")


_WRAPPERS: Final[Mapping[type, Callable[[Any], tuple[object, ...]]]] = {
    types.MethodType: lambda v: (v.__func__, v.__self__),
    staticmethod: lambda v: (v.__func__,),
    classmethod: lambda v: (v.__func__,),
    property: lambda v: (v.fget, v.fset),
    functools.partial: lambda v: (v.func, v.args, v.keywords),
    functools.partialmethod: lambda v: (v.func, v.args, v.keywords),
    functools.cached_property: lambda v: (v.func,),
    functools._lru_cache_wrapper: lambda v: (v.__wrapped__,),
}


def _is_magic(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_code(value: object) -> bool:
    return isinstance(value, types.FunctionType) or type(value) in _WRAPPERS


def _home(function: types.FunctionType) -> str:
    """The module that a function's globals are of; `__module__` may have been copied."""
    return str(function.__globals__.get("__name__", ""))


def _vars(value: object) -> list[object]:
    return list(getattr(value, "__dict__", {}).values())


def _unwrapped(value: Any) -> tuple[object, ...]:
    unwrap = _WRAPPERS.get(type(value))
    return (value,) if unwrap is None else unwrap(value)


def _content_of(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not filled yet


def _refuse(function: types.FunctionType, names: set[str]) -> None:
    found = names & _UNSEEN
    if not names.isdisjoint(_UNSEEN_BUILTINS):  # an attribute may be called so too
        found |= globals_in(function.__code__) & _UNSEEN_BUILTINS
    if found:
        raise IndescribableError(f"{function.__qualname__} uses {sorted(found)[0]}")
    if imports(function.__code__):
        raise IndescribableError(f"{function.__qualname__} imports while it runs")
