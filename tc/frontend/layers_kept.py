"""Which layers of a model stay in a longer precision than was asked for, for they are off too far.

Measured once, on the call that the first program is made for, before it is made; every program of
the model goes by it. Weights that change later change nothing of that. This module must not compile
anything.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from tc.device.run_accuracy import LayerError
from tc.frontend.accuracy import Arguments, call
from tc.frontend.capture_result import arguments_of
from tc.frontend.captured import Request, own_tensors
from tc.frontend.copies import twin
from tc.frontend.hf_natural import natural_inputs
from tc.frontend.layer_errors import Errors, Following, layer_errors
from tc.frontend.options import Options
from tc.graph.short_numbers import PRECISIONS

BOUNDS: Final = {"int8": 0.06, "bf16": 0.02}
"""Of the error of a layer alone, as a share of the standard deviation of its output."""


def kept_of(
    weights: Mapping[str, torch.Tensor], run: Callable[[], object], options: Options
) -> dict[str, str]:
    """The weights of one call whose products stay longer than asked for, and in which precision.

    Raises:
        whatever the call raises.
    """
    found = layer_errors(weights, run, partial(_until_good, options.precision), options.target)
    return _kept(options.precision, found)


class Layers:
    """The layers of one model in the precision that it is compiled in."""

    def __init__(self, model: torch.nn.Module, options: Options) -> None:
        self.model = model
        self._options = options
        self._lock = threading.Lock()
        self._errors: Errors | None = None
        self.sample: Arguments | None = None
        """What they were measured on; None: nothing was."""

    @property
    def measured(self) -> tuple[LayerError, ...]:
        """What is known of each layer by now."""
        return self._described(self._errors or {})

    def on(self, given: Arguments) -> tuple[LayerError, ...]:
        """What each layer is off by on other inputs, in the precision that it is computed in."""
        if self._options.precision == "fp32":
            return ()
        kept = _kept(self._options.precision, self._errors or {})

        def following(name: str, found: Mapping[str, float]) -> str | None:
            longest = PRECISIONS.index(kept.get(name, self._options.precision))
            tried = _shorter(self._options.precision)
            wanted = (p for p in tried if PRECISIONS.index(p) <= longest)
            return next((p for p in wanted if p not in found), None)

        return self._described(self._measured(given, following))

    def settled(self, request: Request) -> Options:
        """The options for the program of a call, with the layers that are kept, and the embeddings
        that are factors elsewhere."""
        if self._options.precision == "fp32":
            return self._options
        with self._lock:
            if self._errors is None:
                self._errors = self._first(request)
        own = own_tensors(self.model)
        longer = _kept(self._options.precision, self._errors).items()
        kept = {id(own[name]): p for name, p in longer if name in own}
        # A part of the model, as an encoder, calls its tensors otherwise.
        names = own_tensors(request.model).items()
        found = ((name, kept[id(tensor)]) for name, tensor in names if id(tensor) in kept)
        last = _last_weight(self.model)
        factors = tuple(name for name, tensor in names if tensor is last)
        return replace(self._options, kept=tuple(sorted(found)), factors=factors)

    def _first(self, request: Request) -> Errors:
        """The errors on a call that the model takes; none where it takes neither."""
        for given in self._calls(request):
            with contextlib.suppress(Exception):  # whatever the model raises, it will again
                found = self._measured(given, partial(_until_good, self._options.precision))
                self.sample = given
                return found
        return {}

    def _calls(self, request: Request) -> Iterator[Arguments]:
        """The call that is asked for, and what is natural to the model."""
        if request.model is self.model:
            args, kwargs = arguments_of(request.arguments, request.tensors, [])
            yield Arguments(tuple(args), kwargs).copied()
        if (inputs := natural_inputs(self.model)) is not None:
            yield Arguments((), dict(inputs))

    def _measured(self, given: Arguments, following: Following) -> Errors:
        run = partial(call, twin(self.model), given)
        return layer_errors(own_tensors(self.model), run, following, self._options.target)

    def _described(self, found: Errors) -> tuple[LayerError, ...]:
        kept = _kept(self._options.precision, self._errors or {})
        return tuple(
            LayerError(
                name,
                kept.get(name, self._options.precision),
                tuple((precision, error, BOUNDS[precision]) for precision, error in errors.items()),
            )
            for name, errors in found.items()
        )


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


def _kept(asked: str, errors: Errors) -> dict[str, str]:
    """The parameters that are kept longer than asked for: in the shortest precision that is good
    enough."""
    found = {}
    for name, each in errors.items():
        good = (p for p in _shorter(asked) if each.get(p, math.inf) <= BOUNDS[p])
        found[name] = next(good, PRECISIONS[-1])
    return {name: precision for name, precision in found.items() if precision != asked}
