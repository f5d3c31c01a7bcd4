"""The drop-in: a copy of a model whose forward runs compiled programs.

Independent of how a program is compiled: what is given makes a callable over flat tensors for a
call. This module must not compile, and must not change the model that it is given.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tc.errors import UnsupportedError, describe
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import TraceError
from tc.frontend.hf_dispatch import Dispatcher
from tc.frontend.hf_natural import natural_inputs
from tc.frontend.hf_program import Make
from tc.frontend.hf_route import OnEager
from tc.frontend.shortcut import Shortcuts

Model = TypeVar("Model", bound=torch.nn.Module)

_ATTRIBUTE = "_tc_dispatcher"
_HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")


def wrap(
    model: Model,
    make: Make,
    *,
    dynamic: bool = True,
    example_inputs: tuple[Any, ...] | dict[str, Any] | None = None,
    natural: bool = True,
    on_eager: OnEager | None = None,
) -> Model:
    """A shallow copy of `model`, of the same class, whose forward runs compiled programs.

    Args:
        model: any module; it is left untouched, and the copy shares its parameters and submodules.
        make: from a call to the two ends of its program and a runner of it (see `hf_program`).
        dynamic: False bakes the sizes of every distinct set of shapes.
        example_inputs: a call to compile for now, positional or by name.
        natural: compile now for the natural inputs, where the model's config tells them.
        on_eager: told why a call runs eagerly, which is where no program can serve it but the
            model can (`captured.NoProgramError`); None refuses such calls.

    Raises:
        UnsupportedError: the model is such a copy already, or not a module.
        CompileError: the model does not take the example, or cannot be traced, without `on_eager`.
    """
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            describe(
                f"model of type {type(model).__name__}",
                why="not a torch.nn.Module",
                way_out="pass a module, or wrap the function in one",
            )
        )
    if dispatcher_of(model) is not None:
        raise UnsupportedError(
            describe(
                f"model {type(model).__name__}",
                why="is compiled already",
                way_out="compile the model that it was made from",
            )
        )
    made = _shallow_copy(model)
    dispatcher = Dispatcher(model, make, dynamic=dynamic, on_eager=on_eager, hooks=hooks_of(made))
    made.__dict__[_ATTRIBUTE] = dispatcher
    made.__dict__["forward"] = _forward_of(model, dispatcher)
    dispatcher.shortcuts = Shortcuts(_call_of(made))
    made.__dict__["_compiled_call_impl"] = dispatcher.shortcuts.call
    made.__dict__["train"] = _train_of(made)
    made.__dict__["training"] = False
    dispatcher.attend(made)
    if isinstance(example_inputs, dict):
        dispatcher.try_to_prepare((), example_inputs)
    elif example_inputs is not None:
        dispatcher.try_to_prepare(example_inputs, {})
    elif natural and dynamic and (inputs := natural_inputs(model)) is not None:
        # The natural set is a guess: a model that takes other inputs compiles at its first call.
        with contextlib.suppress(TraceError, NoProgramError):
            dispatcher.prepare((), dict(inputs), guess=True)
    return made


def dispatcher_of(model: torch.nn.Module) -> Dispatcher | None:
    """The dispatcher of a compiled copy, or None for a model that `wrap` did not make."""
    found = model.__dict__.get(_ATTRIBUTE)
    return found if isinstance(found, Dispatcher) else None


def _shallow_copy(model: Model) -> Model:
    made = type(model).__new__(type(model))
    for name, value in vars(model).items():
        # The tables of parameters, submodules and hooks: additions to the copy stay in the copy.
        made.__dict__[name] = copy.copy(value) if isinstance(value, dict) else value
    for name in _HOOKS:
        getattr(made, f"_{name}").clear()  # they are traced with the rest of the model
    if (settings := model.__dict__.get("generation_config")) is not None:
        made.__dict__["generation_config"] = copy.deepcopy(settings)
    return made


def _forward_of(model: torch.nn.Module, dispatcher: Dispatcher) -> Callable[..., Any]:
    # transformers reads forward's signature (generate, Trainer, pipelines): `wraps` keeps it.
    @functools.wraps(model.forward)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return dispatcher(args, kwargs)

    return forward


def hooks_of(made: torch.nn.Module) -> list[dict[Any, Any]]:
    """The tables of what runs before and after a call of `made`; empty ones have no part in it."""
    tables = [
        getattr(owner, prefix + name)
        for owner, prefix in ((made, "_"), (torch.nn.modules.module, "_global_"))
        for name in _HOOKS
    ]
    return [table for table in tables if isinstance(table, dict)]


def _call_of(made: torch.nn.Module) -> Callable[..., Any]:
    """What `Module.__call__` would run if nothing stood in its place."""
    alive = weakref.ref(made)

    def call(*args: Any, **kwargs: Any) -> Any:
        module = alive()
        assert module is not None  # it is being called
        return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's own

    return call


def _train_of(made: Model) -> Callable[..., Model]:
    def train(mode: bool = True) -> Model:
        """As Module.train, but a compiled model only ever infers."""
        if mode:
            raise UnsupportedError(
                describe(
                    f"{type(made).__name__}.train()",
                    why="a compiled model only infers",
                    way_out="train the model that it was compiled from (its weights are shared and "
                    "changes are noticed), or use torch.compile(model, backend='tc')",
                )
            )
        return made

    return train


def _as_it_is(function: Callable[..., Any]) -> None:
    """Let torch.compile, of a model that has a compiled one in it, run what `function` calls."""
    frames: Any = torch._C._dynamo.eval_frame
    skip = frames._FrameAction.SKIP
    frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))


_as_it_is(Dispatcher.__call__)
