"""Recurrent layers while a model is traced: their shapes without running through their steps.

PyTorch finds the shapes of what an LSTM, a GRU or a plain recurrent layer gives by going through
the sequence step by step, which holds for one length alone. While a model is traced, the thread
that traces it is told them directly. This module must not change anything for other threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch._decomp import decompositions

_ONE_AT_A_TIME: Final = threading.RLock()
# What all these layers are made by: (input, states of each layer and direction, …).
_MAKER: Final = "_rnn_helper"


@contextlib.contextmanager
def whole_sequences() -> Iterator[None]:
    """Let this thread's recurrent layers have any length."""
    steps = getattr(decompositions, _MAKER, None)
    if steps is None:
        yield
        return
    with _ONE_AT_A_TIME:
        thread = threading.get_ident()

        def layers(x: torch.Tensor, states: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return steps(x, states, *args, **kwargs)
            h = states[0] if isinstance(states[0], torch.Tensor) else states[0][0]
            bidirectional = args[5]
            features = h.shape[-1] * (2 if bidirectional else 1)
            return x.new_empty((*x.shape[:-1], features)), list(states)

        setattr(decompositions, _MAKER, layers)
        try:
            yield
        finally:
            setattr(decompositions, _MAKER, steps)
