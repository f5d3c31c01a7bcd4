"""Choosing tokens: greedy search and sampling over a session's logits.

Processors of scores and criteria for stopping are transformers' own objects, called as its loop
calls them, so that every setting means what it means there; greedy search without any needs none
of them, nor with a least length alone, which is a few writes to the logits. Choosing must cost
little beside a step: arrays are NumPy's where an operator of torch would cost several times what
it computes. This module must not know how logits are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from transformers.generation.logits_process import (
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from tc.frontend.generate_sample import keep_nucleus
from tc.frozen import frozen

Tokens: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
Logits = Callable[[Tokens], torch.Tensor]


@frozen
class Choice:
    """How tokens are chosen.

    Attributes:
        processors: from ids and scores to scores, in order.
        criteria: whether each sequence has ended.
        sample: draw by probability; else the most probable.
        pad: the token of sequences that have ended, [1] or scalar tensor.
        streamer: is given each token.
        keep_scores, keep_logits: collect them, as `Kept` has them.
    """

    processors: Sequence[Any]
    criteria: Sequence[Any]
    sample: bool
    pad: torch.Tensor | None
    streamer: Any
    keep_scores: bool
    keep_logits: bool


@dataclass(slots=True)
class Kept:
    """The tokens [batch, length], and scores and logits of each step where they were wanted."""

    ids: torch.Tensor
    scores: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)


_SIMPLE: Final = (MaxLengthCriteria, EosTokenCriteria)
_ROOM: Final = 1024  # tokens of a sequence that there is room for at first; most generate fewer


class _Ids:
    """A growing matrix of tokens whose columns are not copied at each step."""

    def __init__(self, first: torch.Tensor, most: int) -> None:
        batch, self.length = first.shape
        room = min(max(most - self.length, 1), _ROOM)
        self._hold(torch.empty(batch, self.length + room, dtype=first.dtype), first)

    def _hold(self, memory: torch.Tensor, held: torch.Tensor) -> None:
        memory[:, : self.length] = held
        self._memory, self._array = memory, memory.numpy()

    @property
    def view(self) -> torch.Tensor:
        """Dense, as transformers gives them to processors and criteria."""
        return self._memory[:, : self.length].contiguous()

    def append(self, tokens: Tokens) -> None:
        if self.length == self._memory.shape[1]:
            size = len(self._memory), 2 * self.length + 1
            self._hold(torch.empty(size, dtype=self._memory.dtype), self._memory)
        self._array[:, self.length] = tokens
        self.length += 1


def choose_tokens(
    first: torch.Tensor, logits: torch.Tensor, after: Logits, choice: Choice, most: int
) -> Kept:
    """Generate until every sequence has ended.

    Args:
        first: the prompts, [batch, length].
        logits: after them, [batch, vocabulary].
        after: the logits after one more token [batch] of each sequence; overwrites those before.
        most: length that the sequences are expected not to exceed.
    """
    ids = _Ids(first, most)
    kept = Kept(first)
    state = _Sequences(choice, first.shape[0])
    chosen = _Chooser(choice, kept)
    while True:
        tokens = state.finish(chosen(ids, logits))
        ids.append(tokens)
        done = state.ended(ids, tokens, kept)
        if choice.streamer is not None:
            choice.streamer.put(torch.from_numpy(tokens.copy()))
        if done:
            break
        logits = after(tokens)
    if choice.streamer is not None:
        choice.streamer.end()
    kept.ids = ids.view.clone(memory_format=torch.contiguous_format)
    return kept


class _Chooser:
    """Chooses one token for each sequence; `kept` collects what is wanted of scores and logits."""

    def __init__(self, choice: Choice, kept: Kept) -> None:
        self._choice, self._kept = choice, kept
        self._floors = [
            (_floor(p), p.eos_token_id.flatten().tolist())
            for p in choice.processors
            if type(p) in _FLOORS
        ]
        self._processors = [
            partial(keep_nucleus, p) if type(p) is TopPLogitsWarper else p
            for p in choice.processors
        ]
        others = len(choice.processors) > len(self._floors)
        self._plain = not (others or choice.sample or choice.keep_scores)
        self._seen: torch.Tensor | None = None
        self._copied = False

    def __call__(self, ids: _Ids, logits: torch.Tensor) -> Tokens:
        choice, kept = self._choice, self._kept
        if self._plain:
            if choice.keep_logits:
                kept.logits.append(logits.to(torch.float32, copy=True))
            return self._most_probable(ids, logits)
        # A copy: processors may write to it, and the memory is that of the next step's logits.
        scores = raw = logits.to(torch.float32, copy=True)
        chosen = ids.view
        for process in self._processors:
            scores = process(chosen, scores)
        if choice.keep_scores:
            kept.scores.append(scores)
        if choice.keep_logits:
            kept.logits.append(raw)
        if not choice.sample:
            return scores.argmax(-1).numpy()
        probable = torch.softmax(scores, -1)
        return torch.multinomial(probable, num_samples=1).squeeze(1).numpy()

    def _most_probable(self, ids: _Ids, logits: torch.Tensor) -> Tokens:
        """Writes to the logits, which nobody reads afterwards."""
        if logits is not self._seen or self._copied:
            whole = logits.to(torch.float32, memory_format=torch.contiguous_format)
            self._seen, self._copied = logits, whole.data_ptr() != logits.data_ptr()
            self._values = whole.numpy()
        values = self._values
        for length, ends in self._floors:
            if ids.length < length:
                values[:, [end for end in ends if 0 <= end < values.shape[1]]] = -np.inf
        tokens: Tokens = values.argmax(-1)
        return tokens


_FLOORS: Final = (MinLengthLogitsProcessor, MinNewTokensLengthLogitsProcessor)


def _floor(processor: Any) -> int:
    """The length from which on a sequence may end."""
    if type(processor) is MinLengthLogitsProcessor:
        return int(processor.min_length)
    return int(processor.prompt_length_to_skip) + int(processor.min_new_tokens)


class _Sequences:
    """Which sequences have not ended."""

    def __init__(self, choice: Choice, batch: int) -> None:
        self._criteria = choice.criteria
        self._pad = 0 if choice.pad is None else int(choice.pad)
        self._open = np.ones(batch, dtype=bool)
        self._all_open = True
        self._pads = any(hasattr(c, "eos_token_id") for c in choice.criteria)
        self._simple = all(type(c) in _SIMPLE for c in choice.criteria)
        found = [c.eos_token_id for c in choice.criteria if type(c) is EosTokenCriteria]
        self._ends = frozenset(int(i) for t in found for i in t.flatten())
        most = [c for c in choice.criteria if type(c) is MaxLengthCriteria]
        self._most = min((c.max_length for c in most), default=None)
        # It warns once where the model's positions are exceeded, so it is called from there on.
        self._quiet = min(
            (c.max_position_embeddings for c in most if c.max_position_embeddings is not None),
            default=None,
        )

    def finish(self, tokens: Tokens) -> Tokens:
        """The tokens, with padding where a sequence has ended before."""
        if self._all_open or not self._pads:
            return tokens
        return np.where(self._open, tokens, self._pad)

    def ended(self, ids: _Ids, tokens: Tokens, kept: Kept) -> bool:
        """Whether every sequence has ended now."""
        if self._simple and (self._quiet is None or ids.length <= self._quiet):
            if self._most is not None and ids.length >= self._most:
                return True
            if not self._ends or self._ends.isdisjoint(tokens.tolist()):
                return False
        scores = tuple(kept.scores) if kept.scores else None
        chosen, done = ids.view, torch.zeros(len(self._open), dtype=torch.bool)
        for criterion in self._criteria:
            done = done | criterion(chosen, scores)
        self._open &= ~done.bool().numpy()
        self._all_open = bool(self._open.all())
        return not bool(self._open.any())
