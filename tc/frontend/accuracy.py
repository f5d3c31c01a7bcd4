"""How far a model in shorter numbers is from the same model in fp32, measured on given inputs.

This module must not decide what becomes of a model that is too far.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from tc.frozen import frozen


@frozen
class Accuracy:
    """The error of each output of floats, in the order of the outputs.

    Attributes:
        precision: of the model that was measured.
        errors: root mean square of the difference from fp32, as a share of the standard deviation
            of the fp32 output.
    """

    precision: str
    errors: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The greatest error; 0 where no output is of floats."""
        return max(self.errors, default=0.0)

    def __str__(self) -> str:
        shown = ", ".join(f"{e:.3%}" for e in self.errors) or "no output of floats"
        return f"{self.precision}: rms error of the outputs {shown} of their standard deviation"


def measure(model: Any, exact: Any, inputs: object, precision: str) -> Accuracy:
    """Call both with `inputs`, arguments by name or in order, and compare what they return."""
    # Each has its own, for a call may write to what it is given, as to a cache.
    found, wanted = (_floats(_call(m, _copied(inputs))) for m in (model, exact))
    pairs = zip(found, wanted, strict=True)
    return Accuracy(precision, tuple(error(a, b) for a, b in pairs))


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of the standard deviation of `wanted`."""
    if not wanted.numel():
        return 0.0
    found, wanted = found.double(), wanted.double()
    size = float(wanted.std(correction=0)) or float(wanted.abs().max()) or 1.0
    return float((found - wanted).pow(2).mean().sqrt()) / size


def _copied(inputs: object) -> object:
    given = dict(inputs) if isinstance(inputs, Mapping) else inputs
    return pytree.tree_map(
        lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else copy.deepcopy(x),
        given,
        is_leaf=lambda x: type(x) not in (dict, list, tuple),
    )


def _call(model: Any, inputs: object) -> object:
    with torch.no_grad():
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def _floats(out: object) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(out)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]
