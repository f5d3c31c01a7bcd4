"""Operators that PyTorch computes by kernels of its own, said in terms of others.

`CONSISTS_OF` maps each overload to a function of the same arguments; None stands for arguments
that it cannot say. Sizes may be free, so no function may ask for one. This module must not look at
graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

_aten = torch.ops.aten
_SUM, _MEAN = 0, 1


def _bilinear(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """out[..., k] = sum over i, j of x[..., i] weight[k, i, j] y[..., j], plus bias[k]."""
    features, left, right = weight.shape
    by_left = x @ weight.transpose(0, 1).reshape(left, features * right)
    product = by_left.view(*by_left.shape[:-1], features, right) * y.unsqueeze(-2)
    result: torch.Tensor = product.sum(-1)
    return result if bias is None else result + bias


def _one_hot(x: torch.Tensor, num_classes: int = -1) -> torch.Tensor | None:
    """1 at the class of each element; a class that there is none of is an error of the write."""
    if num_classes < 0:
        return None  # as many as the greatest class asks for
    zeros = x.new_zeros((*x.shape, num_classes), dtype=torch.long)
    return zeros.scatter(-1, x.unsqueeze(-1), 1)


def _linalg_cross(a: torch.Tensor, b: torch.Tensor, *, dim: int = -1) -> torch.Tensor:
    """a₂b₃ - a₃b₂ and so on, in turns."""
    return a.roll(-1, dim) * b.roll(-2, dim) - a.roll(-2, dim) * b.roll(-1, dim)


def _cross(a: torch.Tensor, b: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """As `_linalg_cross`; the first dim of three elements where none is given."""
    if dim is None:
        dim = next(n for n, size in enumerate(a.shape) if size == 3)
    return _linalg_cross(a, b, dim=dim)


def _kron(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The blocks a[i, j] b, side by side as the elements of a are."""
    rank = max(a.dim(), b.dim())
    while a.dim() < rank:
        a = a.unsqueeze(0)
    while b.dim() < rank:
        b = b.unsqueeze(0)
    for n in range(rank):
        a, b = a.unsqueeze(2 * n + 1), b.unsqueeze(2 * n)
    blocks = a * b
    for n in range(rank):
        blocks = blocks.flatten(n, n + 1)
    return blocks


def _trace(x: torch.Tensor) -> torch.Tensor:
    """The sum of the main diagonal."""
    return torch.diagonal(x).sum()


def _rot90(x: torch.Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> torch.Tensor:
    """Quarter turns from the first dim towards the second."""
    first, second = dims
    match k % 4:
        case 1:
            return x.flip(second).transpose(first, second)
        case 2:
            return x.flip(first, second)
        case 3:
            return x.flip(first).transpose(first, second)
    return x.clone()


def _max_unpool2d(
    x: torch.Tensor, places: torch.Tensor, size: Sequence[int | torch.SymInt]
) -> torch.Tensor:
    """What `max_pool2d` took, back at its places; zeros elsewhere."""
    height, width = size
    zeros = x.new_zeros((*x.shape[:-2], height * width))
    spread = zeros.scatter(-1, places.flatten(-2), x.flatten(-2))
    return spread.reshape(*x.shape[:-2], height, width)


def _masked_scatter(x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The elements of the source, in turn, where the mask says; too few are an error of the read.

    Those that stay read an element ahead of the source, which may be empty.
    """
    taken = mask.expand_as(x).flatten()
    count = torch.where(taken, taken.long().cumsum(0), 0)
    values = torch.cat([source.new_zeros(1), source.flatten()])[count]
    return torch.where(taken, values, x.flatten()).view_as(x)


def _embedding_bag(
    weight: torch.Tensor,
    ids: torch.Tensor,
    offsets: torch.Tensor,
    _scale_grad: bool = False,
    mode: int = 0,
    _sparse: bool = False,
    per_sample: torch.Tensor | None = None,
    include_last: bool = False,
    padding: int | None = None,
) -> torch.Tensor | None:
    """Sums or means of rows, in bags that begin at `offsets`; the first of the results only."""
    if mode not in (_SUM, _MEAN):
        return None
    bags = offsets.size(0)
    # How many bags begin at or before each row, less one; the last of them may be what is left.
    marks = ids.new_zeros(ids.size(0) + 1, dtype=torch.long)
    marks = marks.index_add(0, offsets.long(), ids.new_ones(bags, dtype=torch.long))
    bag = marks.cumsum(0)[: ids.size(0)] - 1
    taken = weight.new_ones(ids.size(0))
    if padding is not None:
        taken = taken * (ids != padding)
    share = taken if per_sample is None else taken * per_sample
    sums = weight.new_zeros(bags, weight.size(1))
    sums = sums.index_add(0, bag, weight[ids] * share.unsqueeze(1))
    if mode == _MEAN:
        counts = weight.new_zeros(bags).index_add(0, bag, taken)
        sums = sums / counts.clamp(min=1).unsqueeze(1)
    return sums[:-1] if include_last else sums


def _rrelu(
    x: torch.Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: None
) -> torch.Tensor | None:
    """Outside of training the slope is the middle of its range."""
    return None if training else torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def _weight_norm(v: torch.Tensor, g: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """v g / |v|, the norm over all dims but `dim` (Salimans and Kingma, 2016, eq. 2)."""
    axes = [n for n in range(v.dim()) if n != dim]
    return v * (g * v.square().sum(axes, keepdim=True).rsqrt())


CONSISTS_OF: Final[Mapping[Any, Callable[..., torch.Tensor | None]]] = {
    _aten.bilinear.default: _bilinear,
    _aten.one_hot.default: _one_hot,
    _aten.linalg_cross.default: _linalg_cross,
    _aten.cross.default: _cross,
    _aten.kron.default: _kron,
    _aten.trace.default: _trace,
    _aten.rot90.default: _rot90,
    _aten.rrelu.default: _rrelu,
    _aten._weight_norm.default: _weight_norm,
    _aten.max_unpool2d.default: _max_unpool2d,
    _aten.masked_scatter.default: _masked_scatter,
    _aten.embedding_bag.default: _embedding_bag,
    _aten.embedding_bag.padding_idx: _embedding_bag,
}
# Of these only the first of several results is said.
FIRST_ONLY: Final = frozenset((_aten.embedding_bag.default, _aten.embedding_bag.padding_idx))
