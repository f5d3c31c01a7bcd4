"""Traces of this process: a model compiled for several precisions or targets is traced once.

A trace is found by everything that it was made from (see `recall_key`), so models of one class and
settings share theirs. It holds no parameters: they are taken from the model that asks. This module
must not trace.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import torch

from tc.frontend.captured import Interface, Request, Weight, own_tensors
from tc.frozen import frozen

if TYPE_CHECKING:
    from tc.graph.graph import Graph

_MOST: Final = 8


@frozen
class Trace:
    """A program as it was traced, and its two ends. The graph's parameters are the weights."""

    interface: Interface
    graph: Graph


class Traces:
    """The traces used last, by their descriptions. Safe to use from several threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def find(self, description: str, request: Request) -> Trace | None:
        """The trace made from what equals `request`, on the weights of its model; None: none is."""
        with self._lock:
            kept = self._kept.get(description)
            if kept is None:
                return None
            self._kept.move_to_end(description)
        own = own_tensors(request.model)
        weights = tuple(
            Weight(name, own[name] if constant is None else constant, constant is not None)
            for name, constant in kept.weights
        )
        old = kept.interface
        ends = Interface(weights, old.signature, request.arguments, old.result, old.settled)
        return Trace(ends, kept.graph)

    def keep(self, description: str, trace: Trace) -> None:
        """Let the next that asks for it have a trace; the one not asked for longest goes."""
        ends = trace.interface
        weights = tuple((w.name, w.tensor if w.constant else None) for w in ends.weights)
        bare = Interface((), ends.signature, ends.arguments, ends.result, ends.settled)
        with self._lock:
            self._kept[description] = _Kept(bare, weights, trace.graph)
            self._kept.move_to_end(description)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


@frozen
class _Kept:
    """A trace without parameters: of each weight its name, and its value if it is a constant."""

    interface: Interface
    weights: tuple[tuple[str, torch.Tensor | None], ...]
    graph: Graph
