"""Search by beams: transformers' own method, over a session in place of a model and its cache.

The method keeps the best sequences, and asks its model for the logits after each token and its
cache to let beams go on from others. Here both are the session. This module must not choose.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.modeling_outputs import CausalLMOutputWithPast

from tc.frontend.generate_cache import Session


class SessionModel:
    """What a search takes for the model: all of `made`, but that a session gives the logits."""

    def __init__(self, made: Any, session: Session, first: torch.Tensor) -> None:
        """`first`: the logits after the prompt, which the session has run."""
        self._made = made
        self._session = session
        self._first = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)

    def _prefill(self, *_: Any, **__: Any) -> Any:
        return _output(self._first)

    def prepare_inputs_for_generation(self, ids: torch.Tensor, **_: Any) -> dict[str, Any]:
        """The last token of each sequence; the session knows everything else."""
        return {"tokens": ids[:, -1]}

    def __call__(self, tokens: torch.Tensor, **_: Any) -> Any:
        return _output(self._session.step(tokens.numpy()))

    def _update_model_kwargs_for_generation(
        self, _outputs: Any, given: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        return given


class SessionCache:
    """What a search takes for the cache."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_seq_length(self) -> int:
        """How many positions the session holds."""
        return self._session.reach

    def reorder_cache(self, rows: torch.Tensor) -> None:
        """Let each beam go on from another one's rows."""
        self._session.reorder(rows)


def _output(logits: torch.Tensor) -> Any:
    result: Any = CausalLMOutputWithPast
    return result(logits=logits[:, None])
