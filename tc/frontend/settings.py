"""Noticing that what a model's Python reads beside its weights has changed.

That is what its modules are, their hooks, and their attributes, with those of settings that they
hold (a config, a namespace, a dataclass). Values that say what they are, such as numbers and text,
are compared; of all others it counts which object it is, not what that holds. As for weights, it is
words of memory that tell whether anything was written. This module must not know what is made of a
model.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import threading
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from torch.utils.hooks import RemovableHandle

from tc.errors import CompileError, describe
from tc.frontend.hf_weights import Glance

# What every module has; of its tables of weights others take note.
_EVERY: Final = frozenset(vars(torch.nn.Module()))
_TABLES: Final = ("_parameters", "_buffers", "_modules")
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLAIN: Final = frozenset((type(None), bool, int, float, complex, str, bytes, torch.dtype))
_LONGEST: Final = 64  # tuples and lists that are compared item by item
_SETTINGS: Final = frozenset(("PreTrainedConfig", "PretrainedConfig", "Namespace"))
# Of settings: what is noted of them when they are saved or loaded.
_NOTES: Final = frozenset(
    (
        *("architectures", "dtype", "transformers_version", "_name_or_path", "_commit_hash"),
        "_original_object_hash",
    )
)


class Settings:
    """What one model reads beside its weights, as it was when it was last looked at.

    Names are paths: "encoder.act.slope", "encoder.config.pad_token_id", ".training_steps" of the
    model itself. Safe to use from several threads.
    """

    def __init__(self, model: torch.nn.Module, ignored: Iterable[str] = ()) -> None:
        self._model = model
        self._copy: _Copy | None = None
        self._ignored = set(ignored)
        self._lock = threading.Lock()
        self._version = 0
        self._look()
        self._names = frozenset(self._state)

    @property
    def dicts(self) -> list[dict[str, Any]]:
        """What is written to when any of it changes."""
        return self._dicts

    def version(self) -> int:
        """A number that is another one after each change."""
        glance = self._glance
        if glance is None or not glance.same():
            with self._lock:
                self._version += bool(self._changed())
        return self._version

    def ignore(self, names: Iterable[str]) -> None:
        """Changes of these do not count: the model writes them itself, and reads them no more."""
        with self._lock:
            self._ignored.update(names)

    def ignore_changes(self) -> None:
        """What has changed since the last look was written by the model itself."""
        if self._glance is None or not self._glance.same():
            with self._lock:
                self._ignored |= self._changed()

    def attend(self, made: torch.nn.Module) -> None:
        """Take note of what is set on `made` too, a shallow copy of the model, from now on."""
        with self._lock:
            self._copy = _Copy(made, self._model)
            self._look()

    def model(self) -> torch.nn.Module:
        """The model, with the attributes that were set on the copy.

        Raises:
            CompileError: a module or weight was set on the copy.
        """
        values = {} if self._copy is None else self._copy.attributes()
        kept = {name: value for name, value in values.items() if f".{name}" not in self._ignored}
        if not kept:
            return self._model
        made = type(self._model).__new__(type(self._model))
        made.__dict__.update(vars(self._model) | kept)
        return made

    def _changed(self) -> set[str]:
        before = self._state
        self._look()
        different = _different(before, self._state) - self._ignored
        # What libraries put on a model for themselves, such as a cache to use again, is no setting.
        return {n for n in different if n in self._names or not _private(n.rpartition(".")[2])}

    def _look(self) -> None:
        dicts, _ = self._read()
        while True:
            # The glance is made first: a write from another thread meanwhile is then seen next.
            glance = Glance.at([_handles(), *dicts], (), ())
            again, state = self._read()
            if list(map(id, again)) == list(map(id, dicts)):
                break
            dicts = again
        self._dicts, self._state, self._glance = [_handles(), *dicts], state, glance

    def _read(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        dicts, state = _read(self._model)
        if self._copy is not None:
            dicts += self._copy.dicts
            state |= self._copy.state()
        return dicts, state


class _Copy:
    """What is set on the compiled copy itself, which is not what is traced."""

    def __init__(self, made: torch.nn.Module, model: torch.nn.Module) -> None:
        self._name = type(made).__name__
        self._held = vars(made)
        self._first = {name: _told(value) for name, value in _own(self._held)}
        self._apart = {"forward", *(self._first.keys() - vars(model).keys())}
        self._tables = {name: dict(self._held[name]) for name in _TABLES}

    @property
    def dicts(self) -> list[dict[str, Any]]:
        return [self._held, *(self._held[name] for name in _TABLES)]

    def state(self) -> dict[str, Any]:
        """Of each attribute that is another one; entries of tables with a name that no path is."""
        found = {f".{name}": _told(value) for name, value in self.attributes_set()}
        for table, first in self._tables.items():
            for name, value in self._held[table].items():
                if first.get(name) is not value:
                    found[f"copy:{table}.{name}"] = _Same(value)
        return found

    def attributes_set(self) -> Iterator[tuple[str, Any]]:
        """Those that were not there, or were others."""
        return (
            (name, value)
            for name, value in _own(self._held)
            if name not in self._apart and not (_private(name) and name not in self._first)
            if self._first.get(name) != _told(value)
        )

    def attributes(self) -> dict[str, Any]:
        """As `attributes_set`; CompileError for a module or weight that was set."""
        for table, first in self._tables.items():
            for name, value in self._held[table].items():
                if first.get(name) is not value:
                    raise CompileError(
                        describe(
                            f"{name} of the compiled {self._name}",
                            why="was set on the compiled copy, which shares modules and weights",
                            way_out="set it on the model that was compiled, where it is noticed, "
                            "or compile again",
                        )
                    )
        return dict(self.attributes_set())


class Written:
    """Which attributes a model writes while it runs; `names` after that."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._before = _read(model)[1]

    @property
    def names(self) -> list[str]:
        return sorted(_different(self._before, _read(self._model)[1]))


def _different(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    return {n for n in before.keys() | now.keys() if before.get(n) != now.get(n)}


def _read(model: torch.nn.Module) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The dicts that what counts is kept in, and what is there by its path."""
    dicts: list[dict[str, Any]] = []
    state: dict[str, Any] = {}
    known: set[int] = set()
    for path, module in model.named_modules():
        held = vars(module)
        hooks = [table for name in _HOOKS if (table := held.get(name))]
        dicts += [held, *hooks, *filter(None, (held.get("_modules"),))]
        state[path] = (type(module), *(tuple(map(_Same, table.values())) for table in hooks))
        for name, value in _own(held):
            state[f"{path}.{name}"] = _told(value)
            for inner, settings in _settings(f"{path}.{name}", value, known):
                dicts.append(settings)
                for key, each in list(settings.items()):
                    if key not in _NOTES:
                        state[f"{inner}.{key}"] = _told(each)
    return dicts, state


class _Same:
    """Equal to another of the very same object; keeps it, so that no other has its address."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]  # nothing is found by it


def _own(held: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The attributes of a module's own making; a list, for another thread may add one."""
    return [item for item in list(held.items()) if item[0] not in _EVERY]


def _private(name: str) -> bool:
    return name.startswith("_")


def _told(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (tuple, list) and len(value) <= _LONGEST:
        return kind, tuple(map(_told, value))
    return _Same(value)


def _settings(path: str, value: Any, known: set[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The path and the attributes of settings, and of settings in them, each met but once."""
    kind: Any = type(value)
    if not _holds_settings(kind) or id(value) in known:
        return
    known.add(id(value))
    held = vars(value)
    yield path, held
    for name, each in list(held.items()):
        yield from _settings(f"{path}.{name}", each, known)


@functools.cache
def _holds_settings(kind: type) -> bool:
    """Whether objects of a class are their attributes and nothing else."""
    if kind is types.SimpleNamespace or not _SETTINGS.isdisjoint(b.__name__ for b in kind.__mro__):
        return True
    plain = dataclasses.is_dataclass(kind) and not issubclass(kind, Mapping | torch.nn.Module)
    return plain and "__dict__" in dir(kind)


@functools.cache
def _handles() -> dict[str, Any]:
    """The dict of a class, to which PyTorch writes whenever a hook is registered anywhere."""
    found = [d for d in gc.get_referents(RemovableHandle.__dict__) if type(d) is dict]
    return found[0] if found else {}
