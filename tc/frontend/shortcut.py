"""The short way of a call that was met before, and of nothing else.

A call is compared at once by one C function of PyTorch's own, the one that its compiled code is
guarded with, and everything else that it depends on (weights, flags of the config, hooks, the
queue) by one look at memory; both from machine code, which then makes the call. What either does
not accept goes the long way, which knows every case. This module must not decide what program
serves a call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from tc.codegen.direct import MOST_OBJECTS, State, Word
from tc.device.run_direct import Direct
from tc.frontend.hf_weights import Glance
from tc.frontend.machine_call import accepting, builtin
from tc.frontend.spares import Spare, spares
from tc.frontend.tensor_kind import Kind, kind_of
from tc.frozen import frozen

_MOST: Final = 32
_WORD: Final = 8
_LINE: Final = 64  # of the processor's caches; shorter ones are hinted at in part
_NEVER: Final = (0, -1, 0)  # a word that no tensor holds: the address of its class's functions

Call = Callable[..., Any]


@frozen
class Result:
    """How the result of a call is made of its outputs; with neither `finish` nor `kind` it is the
    first of them.

    Attributes:
        finish: called with the outputs.
        kind: class of a mapping, made by its `__new__`, whose items and attributes they are.
        names: of the outputs.
        attributes: the others.
    """

    finish: Call | None = None
    kind: type | None = None
    names: tuple[str, ...] = ()
    attributes: Mapping[str, Any] | None = None


class Shortcuts:
    """The ways that calls of one model have gone. Safe to use from several threads.

    Attributes:
        call: takes the short way, or does as the function that the shortcuts were made with.
    """

    def __init__(self, otherwise: Call) -> None:
        self._lock = threading.Lock()
        self._state: _State | None = None
        self.call = otherwise
        state = _State()
        if (call := builtin(state)) is not None:
            state.kept = otherwise
            state[State.FALLBACK] = id(otherwise)
            self._state, self.call = state, call

    def add(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        order: Sequence[int] | None,
        glance: Glance,
        direct: Direct,
        result: Result,
    ) -> None:
        """Let calls with arguments like these, of the same sizes, be served directly.

        Does nothing where an argument is no dense tensor, or this PyTorch or Python lacks a part.

        Args:
            args, kwargs: of a call that has been served.
            order: where each of a program's inputs stands among the arguments; None: in turn.
            glance: made before what it vouches for was looked at.
            direct: of the program at these sizes.
        """
        values = [*args, *kwargs.values()]
        if self._state is None or len(direct.outputs) > MOST_OBJECTS:
            return
        if not all(map(_plain, values)) or (accepts := accepting(values)) is None:
            return
        sizes = [value.element_size() for value in values]
        inputs = []
        for slot, number in direct.inputs:
            at = number if order is None else order[number]
            inputs.append((slot, at, sizes[at]))
        kinds = [kind_of(value) or [_NEVER] for value in values]
        names = tuple(kwargs)
        made = _Template(len(args), names, kinds, accepts, inputs, glance, direct, result)
        with self._lock:
            # Those that are good no more would keep a model's former weights.
            known = [old for old in self._state.templates if old.glance.same()]
            templates = [made, *known][:_MOST]
            self._state[State.COUNT] = 0
            for number, template in enumerate(templates):
                self._state[State.FIRST + number] = ctypes.addressof(template.words)
            self._state.templates = templates
            self._state[State.COUNT] = len(templates)


class _State(ctypes.c_int64 * (State.FIRST + _MOST)):  # type: ignore[misc]  # made at run time
    """The state of a direct call; holds what its words refer to."""

    def __init__(self) -> None:
        self.templates: list[_Template] = []
        self.kept: object = None


class _Template:
    """The words of a template, and what they refer to."""

    __slots__ = ("glance", "kept", "words")

    def __init__(
        self,
        positional: int,
        names: tuple[str, ...],
        kinds: Sequence[Kind],
        accepts: Call,
        inputs: Sequence[tuple[int, int, int]],
        glance: Glance,
        direct: Direct,
        result: Result,
    ) -> None:
        self.glance = glance.with_words(direct.conditions)
        arguments = [how for _, how in direct.outputs]
        outputs = [
            (id(make), id(how), id(name))
            for (make, _), how, name in zip(
                direct.outputs, arguments, result.names or ("",) * len(arguments), strict=True
            )
        ]
        spare = _spares(direct, result)
        pairs = [(ctypes.c_uint64 * (2 * len(each.words)))(*_flat(each.words)) for each in spare]
        rows = [
            (id(each.result), ctypes.addressof(words), len(each.words), *each.outputs)
            for each, words in zip(spare, pairs, strict=True)
        ]
        tables = [
            [id(name) for name in names],
            _flat(inputs),
            _flat(outputs),
            _flat(direct.slots),
            _flat(rows),
            [number for kind in kinds for number in (len(kind), *_flat(kind))],
        ]
        first = int(Word.COUNT)
        self.words = (ctypes.c_int64 * (Word.COUNT + sum(map(len, tables))))()
        base = ctypes.addressof(self.words)
        places = []
        for table in tables:
            places.append(base + _WORD * first)
            for number in table:
                self.words[first] = number
                first += 1
        hints = _hints([self.glance.places, *([at for at, _ in each.words] for each in spare)])
        kind = result.kind
        make = None if kind is None else kind.__new__
        attributes = None if kind is None else dict(result.attributes or {})
        found = {
            Word.OWNER: id(self),
            Word.POSITIONAL: positional,
            Word.NAMED: len(names),
            Word.NAMES: places[0],
            Word.LIKE: places[5],
            Word.INFERENCE: int(torch.is_inference_mode_enabled()),
            Word.ACCEPTS: id(accepts),
            Word.PAIRS: self.glance.address,
            Word.PAIR_COUNT: self.glance.count,
            Word.POOL: id(direct.pool),
            Word.ARENA: id(direct.arena),
            Word.WEIGHTS: id(direct.weights),
            Word.INSIDE: direct.inside,
            Word.GATE: direct.gate,
            Word.NOTIFY: id(direct.notify),
            Word.COUNTERS: direct.counters,
            Word.LAST: direct.last,
            Word.NUMBER: direct.number,
            Word.TABLE: direct.table,
            Word.FUNCTION: direct.function,
            Word.ERROR: direct.error,
            Word.HINTS: ctypes.addressof(hints),
            Word.INPUTS: places[1],
            Word.INPUT_COUNT: len(inputs),
            Word.OUTPUTS: places[2],
            Word.OUTPUT_COUNT: len(outputs),
            Word.SLOTS: places[3],
            Word.SLOT_COUNT: len(direct.slots),
            Word.FINISH: 0 if result.finish is None else id(result.finish),
            Word.MAKE: 0 if make is None else id(make),
            Word.CLASS: id(kind),
            Word.ATTRIBUTES: id(attributes),
            Word.SPARES: places[4],
            Word.SPARE_COUNT: len(spare),
        }
        for word, value in found.items():
            self.words[word] = value
        # The weights are the program's to keep.
        kept = (names, accepts, replace(direct, weights=None), result, make, attributes)
        self.kept = (*kept, spare, pairs, hints)


def _spares(direct: Direct, result: Result) -> list[Spare]:
    """Results that a template keeps: two, for a caller often holds the last one."""
    if result.finish is not None:
        return []
    return spares(direct.outputs, 2, result.kind, result.names, result.attributes or {})


def _hints(places: Iterable[Iterable[int]]) -> ctypes.Array[ctypes.c_int64]:
    """What the next call looks at first of all: a count and so many addresses, one a line."""
    lines = list(dict.fromkeys(at - at % _LINE for each in places for at in each))
    return (ctypes.c_int64 * (1 + len(lines)))(len(lines), *lines)


def _flat(rows: Sequence[tuple[int, ...]]) -> list[int]:
    return [number for row in rows for number in row]


def _plain(value: Any) -> bool:
    """Whether a program takes it as it is."""
    return (
        type(value) is torch.Tensor
        and not (value.requires_grad or value.is_neg())
        and value.is_contiguous()
    )
