"""How far a model in shorter numbers is from the same model in fp32, measured on given inputs.

This module must not decide what becomes of a model that is too far.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from tc.device.run_accuracy import Accuracy, LayerError
from tc.frozen import frozen


@frozen
class Arguments:
    """Those of a call that has some in order and some by name."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def copied(self) -> Arguments:
        """The same with tensors of its own, for a call may write to what it is given."""
        return Arguments(tuple(map(_copied, self.args)), _copied(self.kwargs))


def arguments(inputs: object) -> Arguments:
    """Of a call: by name in a mapping, in order in a tuple, or one tensor."""
    if isinstance(inputs, Mapping):
        return Arguments((), dict(inputs))
    return Arguments(tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,), {})


def measure(
    model: Any, exact: Any, given: Arguments, precision: str, layers: tuple[LayerError, ...] = ()
) -> Accuracy:
    """Call both and compare what they return; what is known of the layers is passed on."""
    return Accuracy(precision, errors(call(model, given), call(exact, given)), layers)


def call(model: Any, given: Arguments) -> object:
    """The result of a call with copies of these arguments."""
    own = given.copied()
    with torch.no_grad():
        return model(*own.args, **own.kwargs)


def errors(found: object, wanted: object) -> tuple[float, ...]:
    """Of each output of floats in the results of two calls, see `error`."""
    pairs = zip(_floats(found), _floats(wanted), strict=True)
    return tuple(error(a, b) for a, b in pairs)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of the standard deviation of `wanted`."""
    if not wanted.numel():
        return 0.0
    found, wanted = found.double(), wanted.double()
    size = float(wanted.std(correction=0)) or float(wanted.abs().max()) or 1.0
    return float((found - wanted).pow(2).mean().sqrt()) / size


def _copied(given: Any) -> Any:
    return pytree.tree_map(
        lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else copy.deepcopy(x),
        given,
        is_leaf=lambda x: type(x) not in (dict, list, tuple),
    )


def _floats(out: object) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(out)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]
