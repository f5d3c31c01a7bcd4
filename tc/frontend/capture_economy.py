"""What torch.export does for those who run or train its graph, left out where nobody will.

A graph's Python source is written and compiled each time that a pass has changed it, some thirty
times in one export; a graph is split into modules and joined again wherever the model's code turned
gradients on or off; and the memory format of every value is asked for. Together that is a third of
the time. Here source is made when it is run, gradients stay as they are, and no format is noted.
Nor are the shapes that operators gave kept: a layer is asked anew sooner than it is recognised.
This module must not change what a graph computes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

import torch
from torch.fx import GraphModule

from tc.frontend.capture_told import told

_ONE_AT_A_TIME: Final = threading.RLock()
_COMPILE: Final = GraphModule.recompile


@contextlib.contextmanager
def economy() -> Iterator[None]:
    """Export without what only those need who run or train the graph.

    Other threads' graphs work as ever meanwhile: source that is made late is the same.
    """
    tracer, passes = "torch.fx.experimental.proxy_tensor", "torch._export.passes"
    gradients = "replace_set_grad_with_hop_pass"
    with (
        _ONE_AT_A_TIME,
        _replaced(GraphModule, "recompile", lambda _: _compile_later),
        _replaced(_module(tracer), "_extract_tensor_metadata", _format_aside),
        _replaced(_module(f"{passes}.{gradients}"), gradients, _gradients_aside),
        _without_cache(),
        told(),
    ):
        yield


def _module(name: str) -> Any:
    """A module of PyTorch's own; None where this version has none of this name."""
    try:
        return import_module(name)
    except ImportError:
        return None


@contextlib.contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Let `make(usual)` stand in for an attribute, if there is one."""
    usual = getattr(owner, name, None)
    if usual is None:
        yield
        return
    setattr(owner, name, make(usual))
    try:
        yield
    finally:
        setattr(owner, name, usual)


def _without_cache() -> contextlib.AbstractContextManager[None]:
    settings: Any = _module("torch._dynamo.config")  # its methods are installed on import
    name = "fake_tensor_cache_enabled"
    if not hasattr(settings, name):
        return contextlib.nullcontext()
    found: contextlib.AbstractContextManager[None] = settings.patch(**{name: False})
    return found


def _compile_later(module: GraphModule) -> None:
    """As `GraphModule.recompile`, when the module is called."""
    type(module).forward = _forward


def _forward(module: GraphModule, *args: Any, **kwargs: Any) -> Any:
    _COMPILE(module)
    return module(*args, **kwargs)


def _format_aside(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Note nothing beside the value itself, for this thread."""
    thread = threading.get_ident()

    def noted(*args: Any, **kwargs: Any) -> Any:
        return None if threading.get_ident() == thread else usual(*args, **kwargs)

    return noted


def _gradients_aside(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Take out what turns gradients on and off, before torch.export makes modules of it."""
    thread = threading.get_ident()

    def without(module: GraphModule, *args: Any) -> Any:
        if threading.get_ident() == thread:
            for each in module.modules():
                if isinstance(each, GraphModule):
                    _erase(each.graph, torch._C._set_grad_enabled)
        return usual(module, *args)

    return without


def _erase(graph: torch.fx.Graph, target: Callable[..., Any]) -> None:
    for node in graph.find_nodes(op="call_function", target=target):
        graph.erase_node(node)
