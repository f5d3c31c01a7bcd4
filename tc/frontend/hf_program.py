"""A captured and compiled call: its runner, its weights, the shapes that it serves, its results.

This module must not know how a call finds its program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import torch

from tc.device.run_direct import Direct
from tc.device.run_empty import EmptySizesError
from tc.device.run_items import ValueFaultError
from tc.errors import TcError
from tc.frontend import capture_tree as tree
from tc.frontend.capture_result import other_attributes, rebuild, result_names_of
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import Interface, Request, Weight
from tc.frontend.hf_inputs import refuse_shared
from tc.frontend.hf_weights import WeightWatch
from tc.frontend.shortcut import Result
from tc.frontend.signature import IdCheck
from tc.frontend.signature_bind import bind, check_ids

_MAX_SHAPES = 4096


class Runner(Protocol):
    """A compiled program: fresh outputs from flat inputs, on the weights last given."""

    def __call__(self, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Run on the inputs in the order of `signature.inputs`; outputs never change later."""

    @property
    def copied(self) -> Collection[int]:
        """Which weights it takes the values of before calls; others it reads where they are."""

    def refresh(self, weights: Sequence[Weight]) -> None:
        """Take these weights, in the order of `Interface.weights`, from the next call on."""

    def direct(self, shapes: tuple[torch.Size, ...]) -> Direct | None:
        """The call for dense tensors of these shapes; None: there is no shorter way."""


# From a call to the two ends of its program, and the program.
Make = Callable[[Request], tuple[Interface, Runner]]


class Program:
    """A captured and compiled call, with the shapes that it has been found to serve."""

    def __init__(
        self,
        model: torch.nn.Module,
        captured: Interface,
        runner: Runner,
        beside: Callable[[], Sequence[dict[Any, Any]]] = tuple,
    ) -> None:
        self._signature = captured.signature  # no more: the weights of the capture may go
        self.runner = runner
        self.settled = dict(captured.settled)
        self.watch = WeightWatch(model, captured.weights, beside, runner.copied)
        self.admitted: set[tuple[torch.Size, ...]] = set()
        self._written = captured.signature.mutated
        names = [spec.name for spec in captured.signature.inputs]
        self._arguments = tuple(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in names))
        self.ids = [
            (names.index(check.input), check)
            for check in captured.signature.checks
            if isinstance(check, IdCheck)
        ]
        assert isinstance(captured.result, tree.SequenceNode)
        self.result, given = captured.result.items
        assert isinstance(given, tree.SequenceNode)
        self.unseen = given.items

    def admit(self, shapes: tuple[torch.Size, ...]) -> None:
        """Check shapes not seen before; ShapeMismatchError or TcError where they do not fit."""
        bind(self._signature, shapes)
        if len(self.admitted) >= _MAX_SHAPES:
            self.admitted.clear()
        self.admitted.add(shapes)

    def run(self, tensors: list[torch.Tensor], caches: Sequence[Any]) -> Any:
        """The call's result, of the class that eager returns.

        Raises:
            NoProgramError: an input that is written to shares memory with another one, or sizes
                are 0 and the model would do more than give results without elements.
        """
        if self._written:
            refuse_shared(tensors, self._written, [spec.name for spec in self._signature.inputs])
        self.watch.pass_on(self.runner.refresh)
        try:
            outputs = self.runner(tensors)
        except (TcError, IndexError) as error:
            # Where an id is at fault say so in the caller's terms; a call without does not look.
            self._check_ids(tensors)
            if isinstance(error, EmptySizesError):
                raise NoProgramError(error.message) from None
            if isinstance(error, ValueFaultError):
                raise ValueFaultError(error.why, self._arguments) from None
            raise
        for node in self.unseen:
            rebuild(node, outputs, tensors, caches)
        return rebuild(self.result, outputs, tensors, caches)

    def direct(self, shapes: tuple[torch.Size, ...]) -> tuple[Direct, Result] | None:
        """As `run`, for dense tensors of these shapes while no weight changes; None: not so."""
        result = self._direct_result()
        direct = None if result is None else self.runner.direct(shapes)
        return None if direct is None or result is None else (direct, result)

    def _direct_result(self) -> Result | None:
        if self.unseen:
            return None
        if self.result == tree.LeafNode(0):
            return Result()
        if (found := result_names_of(self.result)) is not None:
            kind, names = found
            attributes = other_attributes(kind, names)
            if attributes is not None:
                return Result(kind=kind, names=names, attributes=attributes)
        if any(isinstance(leaf, tree.InputNode) for _, leaf in tree.leaves(self.result, "")):
            return None
        return Result(finish=lambda *outputs: rebuild(self.result, outputs))

    def _check_ids(self, tensors: list[torch.Tensor]) -> None:
        for index, check in self.ids:
            if (ids := tensors[index]).numel():
                least, greatest = ids.aminmax()
                check_ids(check, int(least), int(greatest))
