"""The short way of a call that was met before, and of nothing else.

Everything that a call is looked up by is compared at once by one C function of PyTorch's own, the
one that its compiled code is guarded with, and everything else that a call depends on (weights,
flags of the config, hooks) by one glance at memory. What either does not accept goes the long way,
which knows every case. This module must not decide what program serves a call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import torch

MISSED: Final = object()
_MOST_KINDS = 8
_MOST_SHAPES = 4096

Shapes = tuple[torch.Size, ...]
Serve = Callable[[list[torch.Tensor]], Any]
_Accepts = Callable[..., bool]


class Glance(Protocol):
    """Tells whether memory that a call depends on has changed."""

    def same(self) -> bool:
        """Whether it is as it was when the glance was made."""


class Shortcuts:
    """The ways that calls of one model have gone. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kinds: tuple[_Kind, ...] = ()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the call, or MISSED."""
        # All in one function: between two calls of a large model the weights go through every
        # cache, and whatever is touched here comes from memory.
        tensors = [*args, *kwargs.values()]
        for kind in self._kinds:
            if kind.names == tuple(kwargs) and kind.count == len(args) and kind.accepts(*tensors):
                if kind.order is not None:
                    tensors = [tensors[index] for index in kind.order]
                found = kind.known.get(tuple([tensor.shape for tensor in tensors]))
                if found is None or not found[0].same():
                    return MISSED
                for tensor in tensors:
                    if not tensor.is_contiguous():
                        return MISSED
                return found[1](tensors)
        return MISSED

    def add(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        order: Sequence[int] | None,
        glance: Glance,
        serve: Serve,
    ) -> None:
        """Let calls with arguments like these be served, while the glance stays the same.

        Does nothing where an argument is no dense tensor, or this PyTorch has no such function.

        Args:
            args, kwargs: of a call that has been served.
            order: where each of a program's inputs stands among the arguments; None: in turn.
            glance: made before what it vouches for was looked at.
            serve: the result for the program's inputs, which are ready and of the same shapes.
        """
        values = [*args, *kwargs.values()]
        if not all(map(_plain, values)):
            return
        names = tuple(kwargs)
        for kind in self._kinds:
            if kind.names == names and kind.count == len(args) and kind.accepts(*values):
                kind.learn(values, glance, serve)
                return
        accepts = accepting(values)
        if accepts is not None and accepts(*values):
            kind = _Kind(names, len(args), accepts, order)
            kind.learn(values, glance, serve)
            self._kinds = (*self._kinds[1 - _MOST_KINDS :], kind)


class _Kind:
    """Calls that are alike in everything but the sizes of their tensors."""

    __slots__ = ("accepts", "count", "known", "names", "order")

    def __init__(
        self, names: tuple[str, ...], count: int, accepts: _Accepts, order: Sequence[int] | None
    ) -> None:
        self.names = names
        self.count = count
        self.accepts = accepts
        self.order = order
        self.known: dict[Shapes, tuple[Glance, Serve]] = {}

    def learn(self, values: Sequence[torch.Tensor], glance: Glance, serve: Serve) -> None:
        tensors = values if self.order is None else [values[index] for index in self.order]
        if len(self.known) >= _MOST_SHAPES:
            self.known = {}
        self.known[tuple([tensor.shape for tensor in tensors])] = (glance, serve)


def _plain(value: Any) -> bool:
    """Whether a program takes it as it is, whatever its sizes and strides."""
    return type(value) is torch.Tensor and not (value.requires_grad or value.is_neg())


def accepting(tensors: Sequence[torch.Tensor]) -> _Accepts | None:
    """A function that tells whether its arguments are tensors like these in all but sizes.

    It compares class, dtype, rank, device, layout, whether gradients are required, and the modes
    and views that dispatch keys tell of. None where this PyTorch has no such function.
    """
    return _guard(tensors) if _guard_works() else None


def _guard(tensors: Sequence[torch.Tensor]) -> _Accepts:
    free = [[None] * tensor.ndim for tensor in tensors]
    guards: Any = torch._C._dynamo.guards  # its own types say less than it takes
    made = guards.TensorGuards(*tensors, dynamic_dims_sizes=free, dynamic_dims_strides=free)
    check: _Accepts = made.check
    return check


@functools.cache
def _guard_works() -> bool:
    """Whether the function is there and tells apart what it has to: it is not documented."""
    like = torch.zeros(2, 3)
    others = [
        like.double(),
        like[0],
        like.to_sparse(),
        like.to("meta"),
        like._neg_view(),
        like.to(torch.complex64).conj(),
        torch.nn.Parameter(like),
        torch.zeros(2, 3, requires_grad=True),
        None,
        1.0,
    ]
    try:
        accepts = _guard([like, like])
        same = accepts(like, torch.ones(5, 7)) and accepts(torch.ones(0, 1), like)
        return bool(same) and not any(accepts(like, other) for other in others)
    except (AttributeError, TypeError, ValueError, RuntimeError, SystemError):
        return False
