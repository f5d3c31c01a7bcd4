"""How well the weights of a model can be rounded to 8 bits, which their values alone can tell.

A channel is counted in steps of its greatest weight. Where that lies far out, most weights are a
few steps only. This module must not decide what becomes of a weight for which that is so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import torch

# Beyond what the greatest of normally distributed weights would be.
MOST_OUTLYING: Final = 1.05


def delicate_weights(weights: Iterable[tuple[str, torch.Tensor]]) -> frozenset[tuple[str, int]]:
    """The matrices of f32 whose channels have outliers, each with the dim along which they lie.

    That is the dim that a product sums over.
    """
    return frozenset(
        (name, dim)
        for name, w in weights
        if w.dim() == 2 and w.dtype is torch.float32 and w.numel()
        for dim in (0, 1)
        if outlying(w, dim) > MOST_OUTLYING
    )


def outlying(weight: torch.Tensor, dim: int) -> float:
    """The greatest weight of the median channel, as a share of what it would be at most normally.

    Of n numbers with standard deviation 1 the greatest magnitude is about √(2 ln n).
    """
    n = weight.shape[dim]
    with torch.no_grad():
        peak = weight.detach().abs().amax(dim)
        size = torch.linalg.vector_norm(weight.detach(), dim=dim) / math.sqrt(n)
        share = torch.where(size > 0, peak / size, torch.zeros_like(size))
        return float(share.median()) / math.sqrt(2.0 * math.log(max(n, 2)))
