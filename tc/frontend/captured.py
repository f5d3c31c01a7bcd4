"""What capturing is asked for, and what it gives: a call of a model, and the program's two ends.

Plain data, so that a call that was compiled before needs nothing that traces. This module must not
trace, nor import what does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tc.errors import CompileError, UnsupportedError
from tc.frontend import capture_shapes as shapes
from tc.frontend import capture_tree as tree
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.signature import Signature
from tc.frozen import frozen

if TYPE_CHECKING:
    from torch.fx import GraphModule


Setting = bool | int | float | str | None


class TraceError(CompileError):
    """A model could not be traced on the arguments that it was given."""


class UntraceableError(TraceError, NoProgramError):
    """And the model itself takes them: the trace alone has failed, and may do at other sizes."""


class GraphError(UnsupportedError, NoProgramError):
    """What was traced has a part that tc has no form for; at sizes of its own it may have none."""


class StatefulError(UnsupportedError, NoProgramError):
    """A model that changes in a call, which a program of it cannot."""


class AutocastError(UnsupportedError, NoProgramError):
    """A call under autocast, which chooses other types than a program has."""


class SizesError(UnsupportedError, NoProgramError):
    """As many programs as there may be for one kind of call, and none takes its sizes."""


@frozen
class Request:
    """One call that is to become a program.

    Attributes:
        model: as the user has it.
        tensors: of the arguments, flat.
        arguments: the tree of them, a pair (positional, by name).
        names: the dotted names of the tensors.
        dims: what the dims of each tensor mean; None where that is not known, or where sizes are
            baked.
        dynamic: False bakes the sizes.
    """

    model: torch.nn.Module
    tensors: tuple[torch.Tensor, ...]
    arguments: tree.Node
    names: tuple[str, ...]
    dims: tuple[shapes.Dims, ...] | None
    dynamic: bool

    @staticmethod
    def of(
        model: torch.nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        dynamic: bool = True,
        labels: Sequence[Sequence[str | None]] | None = None,
        known: bool = True,
    ) -> Request:
        """For `model(*args, **kwargs)`; see `capture.capture`.

        Without `known`, names tell nothing of what dims mean: the trace has the sizes given.

        Raises:
            UnsupportedError: an argument of a type that no program can take.
        """
        tensors: list[torch.Tensor] = []
        node = tree.flatten((list(args), dict(kwargs)), tensors, [], "")
        names = tree.argument_names(model, node)
        dims: Sequence[shapes.Dims] | None
        if labels is not None:
            dims = [shapes.Dims(name, tuple(x)) for name, x in zip(names, labels, strict=True)]
        else:
            config = getattr(model, "config", None)
            encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
            dims = None
            if dynamic and known:
                dims = shapes.label_dims(names, tensors, encoder_decoder)
        settled = None if dims is None else tuple(dims)
        return Request(model, tuple(tensors), node, tuple(names), settled, dynamic)


@frozen
class Weight:
    """A parameter, buffer or constant that the graph reads.

    `name` is the model's own dotted name of it ("encoder.layer.0.output.dense.weight"), or
    "constant.N" for a tensor made while tracing, and `tensor` the very tensor, never a copy.
    """

    name: str
    tensor: torch.Tensor
    constant: bool


@frozen
class Interface:
    """What a program of a model takes and gives.

    A program takes the tensors of `weights` then the flat inputs in the order of
    `signature.inputs`, and returns the tuple of `signature.outputs`. `result` is the tree that
    `capture_result.rebuild` makes the call's result from; `arguments` the one of its arguments.
    `settled` are the settings of its config, name and value, that the model itself changed while it
    ran, as some do when they are first called with labels, and the paths of attributes that it
    wrote (see `settings`), with None.
    """

    weights: tuple[Weight, ...]
    signature: Signature
    arguments: tree.Node
    result: tree.Node
    settled: tuple[tuple[str, Setting], ...]


@frozen
class Captured(Interface):
    """One traced program: `graph` is it, operator by operator."""

    graph: GraphModule


def own_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by each of its names."""
    found: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    found.update(model.named_buffers(remove_duplicate=False))
    return found
