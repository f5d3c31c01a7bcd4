"""Scores for sampling, as transformers' processors give them, at the cost of what is left of them.

A processor that sorts a vocabulary takes longer than a step of a small model, where all but some
tokens have been ruled out before. This module must not draw.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

FEW: Final = 16  # one part in so many of a vocabulary is worth looking for


def keep_nucleus(warper: Any, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """What `warper`, a `TopPLogitsWarper`, gives for f32 scores [batch, vocabulary].

    Scores of -inf have no probability: they come first in its order, add nothing to its sums and
    stay what they are, so it is asked for the others alone where those are few.
    """
    kept: torch.Tensor
    plain = scores.dtype is torch.float32 and warper.filter_value == -np.inf
    left = [np.flatnonzero(row != -np.inf) for row in scores.numpy()] if plain else []
    if not left or max(map(len, left)) * FEW > scores.shape[1]:
        kept = warper(ids, scores)
        return kept
    kept = torch.full_like(scores, -np.inf)
    for number, places in enumerate(left):
        among = torch.from_numpy(places)
        kept[number, among] = warper(ids, scores[number, among][None])[0]
    return kept
