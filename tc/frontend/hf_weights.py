"""Noticing that a model's weights have changed since a program was made from them.

An optimizer step or load_state_dict writes into the same tensor (its version counter moves);
assigning a new Parameter puts another tensor in its place, and assigning to `.data`, as
`Module.half()` does, gives it other memory, or another view of the same; assigning a module
replaces all that is in it. Writes that no counter tells of are seen in samples of the values. A
compiled loop looks first, where it is known which words of memory to look at: asking some hundred
tensors takes longer than anything else in a call. It looks at no value that a program reads where
it is, for that is then the new one. This module must not know what is made of weights.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from tc.codegen.llvm import watch
from tc.errors import CompileError, describe
from tc.frontend.captured import Weight
from tc.frontend.samples import Contents, first_changed, sampled
from tc.frontend.tensor_layout import dict_tag, layout

_version = operator.attrgetter("_version")
_address = torch.Tensor.data_ptr
_sizes = torch.Tensor.size
_strides = torch.Tensor.stride


class WeightWatch:
    """The identity, memory, shape, version and a few values of each weight, compared at every call.

    The dicts that `beside` gives have no part in `changed`, but in its `glance`; values have none
    in that but of the weights whose numbers are `copied`, or that are not dense.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        weights: Sequence[Weight],
        beside: Callable[[], Sequence[dict[Any, Any]]] = tuple,
        copied: Collection[int] | None = None,
    ) -> None:
        self._model = model
        self._copied = range(len(weights)) if copied is None else copied
        self.weights = tuple(weights)
        self._beside = beside
        self._remember()

    @property
    def glance(self) -> Glance | None:
        """Whether the weights are as when `changed` was last called, nor any dict of `beside`
        written to; None where nobody can tell that quickly."""
        return self._glance

    def _remember(self) -> None:
        slots = [_slot(self._model, weight) for weight in self.weights]
        self._holders = [holder for holder, _ in slots]
        self._names = [name for _, name in slots]
        self._tensors = [weight.tensor for weight in self.weights]
        self._owners = list(_owners(self._model, self.weights).values())
        # Before anything else: a write from another thread meanwhile is then seen at the next call.
        self._glance = self._look()
        self._contents = Contents(self._tensors)
        # Inference tensors have no version counter, and nothing outside inference_mode writes them.
        self._counted = [tensor for tensor in self._tensors if not tensor.is_inference()]
        self._versions = list(map(_version, self._counted))
        self._placed = self._places()

    def pass_on(self, take: Callable[[Sequence[Weight]], object]) -> None:
        """Call `take` with the weights if any has changed; where it raises, next time again."""
        if self.changed():
            try:
                take(self.weights)
            except BaseException:
                self._glance, self._placed = None, []
                raise

    def changed(self) -> bool:
        """Whether any weight is another tensor or was written to; if so, take note of the new."""
        glance = self._glance
        if glance is not None:
            if glance.same():
                return False
            # Perhaps another entry of a holder moved, so look closely, and glance anew next time.
            glance = self._look()
        # Maps over C functions: where there is no glance, this runs at every call.
        found = map(dict.get, self._holders, self._names)
        placed = all(modules.get(name) is module for modules, name, module in self._owners)
        same = placed and all(map(operator.is_, found, self._tensors))
        if (
            same
            and list(map(_version, self._counted)) == self._versions
            and self._places() == self._placed
            and self._contents.same()
        ):
            self._glance = glance
            return False
        if not placed:
            self._check_replaced()
        self.weights = tuple(map(self._as_it_is, self.weights))
        self._remember()
        return True

    def _as_it_is(self, weight: Weight) -> Weight:
        holder, name = _slot(self._model, weight)
        if (tensor := holder.get(name)) is None:
            raise CompileError(
                describe(
                    f"weight {weight.name} of {type(self._model).__name__}",
                    why="is there no more, as it was when the model was compiled",
                    way_out="compile the model again",
                )
            )
        return replace(weight, tensor=tensor)

    def _places(self) -> list[list[Any]]:
        return [list(map(told, self._tensors)) for told in (_address, _sizes, _strides)]

    def _look(self) -> Glance | None:
        owners = [modules for modules, _, _ in self._owners]
        valued = [
            number in self._copied or not tensor.is_contiguous() or tensor.is_neg()
            for number, tensor in enumerate(self._tensors)
        ]
        return Glance.at([*self._holders, *owners, *self._beside()], self._tensors, valued)

    def _check_replaced(self) -> None:
        """A module may be replaced by one of its kind, whose weights are then taken.

        Raises CompileError: by another kind, or by nothing.
        """
        for modules, name, module in self._owners:
            now = modules.get(name)
            if type(now) is not type(module):
                raise CompileError(
                    describe(
                        f"module {name} of {type(self._model).__name__}",
                        why=f"was {type(module).__name__} when the model was compiled, is now "
                        f"{type(now).__name__}",
                        way_out="compile the model again",
                    )
                )


class Glance:
    """Words of memory that stay the same while no weight changes, looked at by a compiled loop.

    They belong to the holders, and to tensors that live as long as no holder changes.

    Attributes:
        address, count: of the pairs that `watch.first_changed` reads.
    """

    __slots__ = ("_first", "_holders", "_pairs", "_words", "address", "count")

    def __init__(self, words: Sequence[tuple[int, int]], holders: Sequence[object]) -> None:
        self._words = tuple(words)
        self._holders = tuple(holders)
        self._pairs = watch.pairs(words)
        self.address = ctypes.addressof(self._pairs)
        self.count = len(words)
        self._first = first_changed()

    @staticmethod
    def at(
        holders: Sequence[dict[Any, Any]], tensors: Sequence[torch.Tensor], valued: Sequence[bool]
    ) -> Glance | None:
        """At values too of those tensors that are `valued`.

        None where this Python or PyTorch does not show where to look.
        """
        places, tag = layout(), dict_tag()
        if places is None or tag is None:
            return None
        words = []
        for place in dict.fromkeys(id(holder) + tag for holder in holders):
            words.append((place, ctypes.c_uint64.from_address(place).value))
        for tensor, values in zip(tensors, valued, strict=True):
            if (own := places.words(tensor)) is None:
                return None
            words += own
            if values:
                words += places.version_words(tensor) + sampled(tensor)
        return Glance(words, holders)

    def with_words(self, words: Sequence[tuple[int, int]]) -> Glance:
        """A glance at these words too, and at them first."""
        return Glance((*words, *self._words), self._holders)

    @property
    def places(self) -> list[int]:
        """The addresses of the words."""
        return [at for at, _ in self._words]

    def same(self) -> bool:
        """Whether all of them hold what they held."""
        return self._first(self.address, self.count) == self.count


_Owner = tuple[dict[str, Any], str, torch.nn.Module]


def _owners(model: torch.nn.Module, weights: Sequence[Weight]) -> dict[str, _Owner]:
    """By its path every module on the way to a weight: the dict it stands in, its name, itself."""
    found: dict[str, _Owner] = {}
    for weight in weights:
        owner, path = model, ""
        for name in () if weight.constant else weight.name.split(".")[:-1]:
            path += "." + name
            if path not in found:
                found[path] = (owner._modules, name, owner.get_submodule(name))
            owner = found[path][2]
    return found


def _slot(model: torch.nn.Module, weight: Weight) -> tuple[dict[str, Any], str]:
    """The dict that holds a weight and its name there; a constant holds itself."""
    if weight.constant:
        return {"": weight.tensor}, ""
    path, _, name = weight.name.rpartition(".")
    owner = model.get_submodule(path)
    holder: dict[str, Any] = owner._parameters if name in owner._parameters else owner._buffers
    return holder, name
