"""Noticing that a model's weights have changed since a program was made from them.

An optimizer step or load_state_dict writes into the same tensor (its version counter moves);
assigning a new Parameter puts another tensor in its place, and assigning to `.data`, as
`Module.half()` does, gives it other memory. This module must not read weight values.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tc.frontend.capture import Weight

_version = operator.attrgetter("_version")
_address = torch.Tensor.data_ptr


class WeightWatch:
    """The identity, memory and version of each weight of one program, compared at every call.

    Costs about 0.2 microseconds a weight.
    """

    def __init__(self, model: torch.nn.Module, weights: Sequence[Weight]) -> None:
        slots = [_slot(model, weight) for weight in weights]
        self._holders = [holder for holder, _ in slots]
        self._names = [name for _, name in slots]
        self.weights = tuple(weights)
        self._remember()

    def _remember(self) -> None:
        self._tensors = [weight.tensor for weight in self.weights]
        # Inference tensors have no version counter, and nothing outside inference_mode writes them.
        self._counted = [tensor for tensor in self._tensors if not tensor.is_inference()]
        self._versions = list(map(_version, self._counted))
        self._addresses = list(map(_address, self._tensors))

    def changed(self) -> bool:
        """Whether any weight is another tensor or was written to; if so, take note of the new."""
        # Maps over C functions: this runs at every call.
        found = map(operator.getitem, self._holders, self._names)
        same = all(map(operator.is_, found, self._tensors))
        if (
            same
            and list(map(_version, self._counted)) == self._versions
            and list(map(_address, self._tensors)) == self._addresses
        ):
            return False
        self.weights = tuple(
            replace(weight, tensor=holder[name])
            for holder, name, weight in zip(self._holders, self._names, self.weights, strict=True)
        )
        self._remember()
        return True


def _slot(model: torch.nn.Module, weight: Weight) -> tuple[dict[str, Any], str]:
    """The dict that holds a weight and its name there; a constant holds itself."""
    if weight.constant:
        return {"": weight.tensor}, ""
    path, _, name = weight.name.rpartition(".")
    owner = model.get_submodule(path)
    holder: dict[str, Any] = owner._parameters if name in owner._parameters else owner._buffers
    return holder, name
