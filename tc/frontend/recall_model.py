"""A model as text: everything of it that capturing could read, but the values of its weights.

Parameters and buffers stand in for their values in a trace, so names, shapes and the like are all
that counts of them; a tensor that is a plain attribute is read as it is, so a model with one
cannot be described. This module must not change or run the model.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.nn.modules import module as torch_module

from tc.frontend.recall_walk import IndescribableError, Walk, qualified

# What every module has, described by `_tensors` and by the path of each module.
_TABLES: Final = ("_parameters", "_buffers", "_modules")
# Hooks that run when a model is called.
_HOOKS: Final = (
    *("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs"),
    *("_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"),
    *("_backward_hooks", "_backward_pre_hooks"),
)
# Of reading and writing weights.
_ASIDE: Final = (
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"),
    *("_load_state_dict_post_hooks", "_non_persistent_buffers_set", "_is_full_backward_hook"),
)
# What settings note about their own making, another number in each process.
_NOTES: Final = ("_original_object_hash",)
_GLOBAL_HOOKS: Final = tuple(
    name for name in vars(torch_module) if name.startswith("_global_") and name.endswith("_hooks")
)


def describe_model(model: torch.nn.Module, walk: Walk) -> list[str]:
    """Its modules and tensors, a line each.

    Raises:
        IndescribableError: it has hooks, methods of its own, or attributes that cannot be told.
    """
    for name in _GLOBAL_HOOKS:
        if getattr(torch_module, name):
            raise IndescribableError("hooks of all modules")
    lines = []
    seen: dict[int, str] = {}
    known_settings = _Settings(walk)
    for path, module in model.named_modules(remove_duplicate=False):
        known = seen.setdefault(id(module), path)
        if known != path:
            lines.append(f"{path}: {known}")
            continue
        try:
            lines.append(f"{path}: {_module(module, known_settings)}")
        except IndescribableError as error:
            raise IndescribableError(f"{path or 'the model'}: {error}") from error
    return lines + list(_tensors(model))


def _module(module: torch.nn.Module, attributes: _Settings) -> str:
    held = vars(module)
    for name in _HOOKS:
        if held.get(name):
            raise IndescribableError("hooks")
    if "parametrizations" in held["_modules"]:
        raise IndescribableError("parametrizations")
    parts = []
    for name, value in held.items():
        if name in _TABLES or name in _HOOKS or name in _ASIDE:
            continue
        if name in ("forward", "__call__", "__class__"):
            raise IndescribableError(f"a {name} of its own")
        try:
            parts.append(f"{name}={attributes.text(value)}")
        except IndescribableError as error:
            raise IndescribableError(f"{name}: {error}") from error
    tables = [f"{name}={list(held[name])}" for name in _TABLES]
    return " ".join((attributes.walk.label(type(module)), *tables, *parts))


class _Settings:
    """Describes what modules hold; a config that many of them share is spelled out once."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._known: dict[int, int] = {}

    def text(self, value: object) -> str:
        """A value; see `Walk.text`, but with configs, and of functions global ones alone."""
        if isinstance(value, types.FunctionType) and not _is_global(value):
            raise IndescribableError(f"a function that no module names, {value.__qualname__}")
        if isinstance(value, (types.MethodType, torch.nn.Module)):
            raise IndescribableError(f"a {type(value).__name__}")
        if isinstance(value, torch.Tensor):
            raise IndescribableError("a tensor that is neither a parameter nor a buffer")
        if _is_settings(value):
            number = self._known.get(id(value))
            if number is not None:
                return f"settings {number}"
            number = self._known[id(value)] = len(self._known)
            items = [(name, each) for name, each in vars(value).items() if name not in _NOTES]
            held = {name: self.text(each) for name, each in items}
            return f"settings {number} {self.walk.text(type(value), True)} {held}"
        if type(value) in (tuple, list):
            parts: Any = value
            return f"{type(value).__name__} {[self.text(each) for each in parts]}"
        if type(value) is dict:
            return f"dict {[(self.text(k), self.text(v)) for k, v in value.items()]}"
        return self.walk.text(value, True)


def _is_settings(value: object) -> bool:
    """Whether an object is its plain attributes and nothing else: a config, a namespace."""
    kind = type(value)
    if kind is types.SimpleNamespace or qualified(kind) == "argparse.Namespace":
        return True
    names = {qualified(base) for base in kind.__mro__}
    return not names.isdisjoint(_SETTINGS)


_SETTINGS: Final = frozenset(
    (
        "transformers.configuration_utils.PreTrainedConfig",
        "transformers.configuration_utils.PretrainedConfig",
        "transformers.generation.configuration_utils.GenerationConfig",
    )
)


def _is_global(function: types.FunctionType) -> bool:
    """Whether it is a function of a module under its own name, with nothing enclosed."""
    found = function.__globals__.get(function.__name__)
    return found is function and function.__closure__ is None


def _tensors(model: torch.nn.Module) -> Iterator[str]:
    """Every parameter and buffer, with which others it is one or shares memory."""
    objects: dict[int, int] = {}
    memories: dict[int, int] = {}
    named = (
        *(("parameter", *pair) for pair in model.named_parameters(remove_duplicate=False)),
        *(("buffer", *pair) for pair in model.named_buffers(remove_duplicate=False)),
    )
    for kind, name, tensor in named:
        if type(tensor) not in (torch.nn.Parameter, torch.Tensor):
            raise IndescribableError(f"{name}: a {type(tensor).__name__}")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise IndescribableError(f"{name}: {tensor.layout} of {tensor.dtype}")
        if tensor._backward_hooks:
            raise IndescribableError(f"{name}: hooks")
        number = objects.setdefault(id(tensor), len(objects))
        memory = memories.setdefault(tensor.untyped_storage().data_ptr(), len(memories))
        given = {k: v for k, v in vars(tensor).items() if type(v) in (bool, int, str)}
        if len(given) != len(vars(tensor)):
            raise IndescribableError(f"{name}: attributes of its own")
        yield (
            f"{kind} {name}: {number} {memory}+{tensor.storage_offset()} {tensor.dtype} "
            f"{tuple(tensor.shape)} {tensor.stride()} {tensor.device} {tensor.requires_grad} "
            f"{tensor.is_neg()} {tensor.is_conj()} {given}"
        )
