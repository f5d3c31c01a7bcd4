"""Copies of models: the twin that is traced, and copies of compiled models.

Machine code belongs to its process, so a deep copy of a compiled model compiles anew when it is
called, and a pickle is refused. This module must not compile.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch

from tc.errors import UnsupportedError, describe

Model = TypeVar("Model", bound=torch.nn.Module)


def allow_copies(made: Model, model: Model, again: Callable[[Model], Model]) -> None:
    """Make `copy.deepcopy(made)` a compiled copy of `model`, with weights of its own.

    Args:
        made: the compiled model.
        model: what it was compiled from.
        again: compiles a copy of `model` under the same options.
    """

    def deep(memo: dict[int, Any]) -> Model:
        copied = again(copy.deepcopy(model, memo))
        memo[id(made)] = copied
        settings = made.__dict__.get("generation_config")
        if settings is not None:
            copied.__dict__["generation_config"] = copy.deepcopy(settings, memo)
        return copied

    def refuse(_protocol: object) -> NoReturn:
        raise UnsupportedError(
            describe(
                f"shallow copy or pickle of a compiled {type(made).__name__}",
                why="its machine code belongs to this process",
                way_out="use copy.deepcopy, or save(path) for tc.load, or pickle the model that it "
                "was compiled from",
            )
        )

    # Found on the object, before those of its class.
    made.__dict__["__deepcopy__"] = deep
    made.__dict__["__reduce_ex__"] = refuse


def twin(model: torch.nn.Module) -> torch.nn.Module:
    """The same modules in eval mode, as new objects that share every parameter and buffer."""
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    made = copy.deepcopy(model, dict(shared))
    made.__dict__.pop("forward", None)
    return made.eval()
