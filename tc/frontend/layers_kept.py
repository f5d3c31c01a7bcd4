"""Which layers of a model stay in a longer precision than was asked for, for they are off too far.

First each by itself; and where the outputs are off too far with all the others short, those that
are off farthest too. Measured once, on the call that the first program is made for, before it is
made; every program of the model goes by it. Weights that change later change nothing of that. This
module must not compile anything.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from tc.device.run_accuracy import LayerError
from tc.frontend.accuracy import Arguments, call, errors
from tc.frontend.capture_result import arguments_of
from tc.frontend.captured import Request, own_tensors
from tc.frontend.copies import twin
from tc.frontend.hf_natural import natural_inputs
from tc.frontend.layer_errors import Errors, layer_errors, short_outputs
from tc.frontend.options import Options
from tc.frozen import frozen
from tc.graph.short_numbers import PRECISIONS

BOUNDS: Final = {"int8": 0.06, "bf16": 0.02}
"""Of the error of a layer alone, and of the outputs, as a share of their standard deviation."""
_SHARE: Final = 0.75  # of it that outputs may come to: on other inputs they may be off farther
_TOKENS: Final = 64  # of texts that are drawn: attention over a few is off by less
_ROUNDS: Final = 4  # of choosing what is lengthened; then all layers are


@frozen
class Settled:
    """What was measured of layers, and which of them stay longer than asked for, in which
    precision."""

    errors: Errors
    kept: Mapping[str, str]


def kept_of(
    weights: Mapping[str, torch.Tensor], run: Callable[[], object], options: Options
) -> dict[str, str]:
    """The weights of one call whose products stay longer than asked for, and in which precision.

    Raises:
        whatever the call raises.
    """
    return dict(_settle(weights, run, options).kept)


def _settle(
    weights: Mapping[str, torch.Tensor], run: Callable[[], object], options: Options
) -> Settled:
    asked, target = options.precision, options.target
    found = layer_errors(weights, run, partial(_until_good, asked), target)
    precisions = _good_alone(asked, found)
    wanted = short_outputs(weights, run, {}, target)
    most = BOUNDS[asked] * _SHARE
    for turn in range(_ROUNDS + 1):
        outputs = short_outputs(weights, run, precisions, target)
        # No number is the error of what is not finite in fp32 either.
        total = max((e for e in errors(outputs, wanted) if not math.isnan(e)), default=0.0)
        short = [name for name, precision in precisions.items() if precision == asked]
        if total <= most or not short:
            break
        share = 0.0 if turn == _ROUNDS else (most / total) ** 2
        for name in _farthest(short, found, asked, share):
            precisions[name] = PRECISIONS[PRECISIONS.index(asked) + 1]
    return Settled(found, {n: p for n, p in precisions.items() if p != asked})


def _farthest(names: Sequence[str], found: Errors, precision: str, share: float) -> list[str]:
    """Those without which the squares of the errors sum up to that share at most."""
    squares = {name: found[name][precision] ** 2 for name in names}
    ordered = sorted(names, key=squares.__getitem__)
    most, total, count = share * sum(squares.values()), 0.0, 0
    while count < len(ordered) and total + squares[ordered[count]] <= most:
        total += squares[ordered[count]]
        count += 1
    return ordered[count:]


class Layers:
    """The layers of one model in the precision that it is compiled in."""

    def __init__(self, model: torch.nn.Module, options: Options) -> None:
        self.model = model
        self._options = options
        self._lock = threading.Lock()
        self._settled: Settled | None = None
        self.sample: Arguments | None = None
        """What they were measured on; None: nothing was."""

    @property
    def measured(self) -> tuple[LayerError, ...]:
        """What is known of each layer by now."""
        return () if self._settled is None else self._described(self._settled.errors)

    def on(self, given: Arguments) -> tuple[LayerError, ...]:
        """What each layer is off by on other inputs, in the precision that it is computed in."""
        if self._options.precision == "fp32":
            return ()
        kept = self._kept

        def following(name: str, found: Mapping[str, float]) -> str | None:
            longest = PRECISIONS.index(kept.get(name, self._options.precision))
            tried = _shorter(self._options.precision)
            wanted = (p for p in tried if PRECISIONS.index(p) <= longest)
            return next((p for p in wanted if p not in found), None)

        run, target = partial(call, twin(self.model), given), self._options.target
        return self._described(layer_errors(own_tensors(self.model), run, following, target))

    def settled(self, request: Request) -> Options:
        """The options for the program of a call, with the layers that are kept, and the embeddings
        that are factors elsewhere."""
        if self._options.precision == "fp32":
            return self._options
        with self._lock:
            if self._settled is None:
                self._settled = self._first(request)
        own = own_tensors(self.model)
        kept = {id(own[name]): p for name, p in self._kept.items() if name in own}
        # A part of the model, as an encoder, calls its tensors otherwise.
        names = own_tensors(request.model).items()
        found = ((name, kept[id(tensor)]) for name, tensor in names if id(tensor) in kept)
        last = _last_weight(self.model)
        factors = tuple(name for name, tensor in names if tensor is last)
        return replace(self._options, kept=tuple(sorted(found)), factors=factors)

    @property
    def _kept(self) -> Mapping[str, str]:
        return {} if self._settled is None else self._settled.kept

    def _first(self, request: Request) -> Settled:
        """What a call that the model takes shows; nothing where it takes neither."""
        for given in self._calls(request):
            with contextlib.suppress(Exception):  # whatever the model raises, it will again
                run = partial(call, twin(self.model), given)
                found = _settle(own_tensors(self.model), run, self._options)
                self.sample = given
                return found
        return Settled({}, {})

    def _calls(self, request: Request) -> Iterator[Arguments]:
        """The call that is asked for, and what is natural to the model, of many tokens at best."""
        drawn = natural_inputs(self.model)
        if request.model is self.model and not _is_drawn(request.tensors, drawn or {}):
            args, kwargs = arguments_of(request.arguments, request.tensors, [])
            yield Arguments(tuple(args), kwargs).copied()
        for inputs in (natural_inputs(self.model, _TOKENS), drawn):
            if inputs is not None:
                yield Arguments((), dict(inputs))

    def _described(self, found: Errors) -> tuple[LayerError, ...]:
        kept = self._kept
        return tuple(
            LayerError(
                name,
                kept.get(name, self._options.precision),
                tuple((precision, error, BOUNDS[precision]) for precision, error in each.items()),
            )
            for name, each in found.items()
        )


def _is_drawn(tensors: Sequence[torch.Tensor], drawn: Mapping[str, torch.Tensor]) -> bool:
    """Whether a call is of natural inputs, which nobody gave."""

    def known(given: torch.Tensor) -> bool:
        return any(d.dtype is given.dtype and torch.equal(d, given) for d in drawn.values())

    return bool(tensors) and all(map(known, tensors))


def _last_weight(model: torch.nn.Module) -> object:
    """What the decoder of a model with an encoder ends in, which may be both ones' embeddings."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    given = getattr(model, "get_output_embeddings", None)
    return None if given is None else getattr(given(), "weight", None)


def _shorter(asked: str) -> tuple[str, ...]:
    """What may be measured, the shortest first."""
    return PRECISIONS[PRECISIONS.index(asked) : -1]


def _until_good(asked: str, _name: str, found: Mapping[str, float]) -> str | None:
    """The next precision to try; None once one is within its bound."""
    for precision in _shorter(asked):
        if precision not in found:
            return precision
        if found[precision] <= BOUNDS[precision]:
            return None
    return None


def _good_alone(asked: str, found: Errors) -> dict[str, str]:
    """Of each parameter the shortest precision that is good enough."""
    return {
        name: next(
            (p for p in _shorter(asked) if each.get(p, math.inf) <= BOUNDS[p]), PRECISIONS[-1]
        )
        for name, each in found.items()
    }
