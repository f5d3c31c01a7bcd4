"""Programs that take NumPy arrays or torch tensors, whichever a call is given.

torch is imported only when a tensor is met, by then whoever made the tensor has imported it. This
module must not run anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tc.device.arrays import Arrays, NumpyArrays
from tc.device.run import Program

Factory = Callable[[Arrays], Program]


class Either:
    """One program for each kind of array, made by `factory` when that kind is first met."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._programs: dict[bool, Program] = {}

    def program(self, args: Iterable[Any]) -> Program:
        """The program for these arguments."""
        torch = sys.modules.get("torch")
        tensors = torch is not None and any(isinstance(a, torch.Tensor) for a in args)
        found = self._programs.get(tensors)
        if found is None:
            found = self._programs[tensors] = self._factory(_arrays(tensors))
        return found

    @property
    def programs(self) -> list[Program]:
        """Those made so far; at least one."""
        if not self._programs:
            self.program(())
        return list(self._programs.values())


def _arrays(tensors: bool) -> Arrays:
    if not tensors:
        return NumpyArrays()
    from tc.frontend.tensors import TorchArrays

    return TorchArrays()
