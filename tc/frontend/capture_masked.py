"""Rows that a mask picks, where only the last of each sequence is read.

Encoder-decoder models classify a sequence by the state at its last end token, and say so as
`x[mask].view(batch, -1, width)[:, -1]`: how many rows there are follows from the values of the
mask, but not the shape of what is read of them. This module must not change any value that the
graph computes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import torch
from torch.fx import GraphModule, Node

from tc.frontend.capture_composites import replace_by

_aten = torch.ops.aten
_OUTSIDE: Final = 1 << 62  # no tensor has such a row
_VIEWS: Final = frozenset((_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default))


def take_last_rows(module: GraphModule) -> None:
    """Replace each such reading of a last row by a search for its place."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is _aten.index.Tensor and _picks_rows(node):
            x, (mask,) = node.args
            for read in list(_last_reads(node, x.meta["val"])):
                replace_by(module, read, [x, mask], _last_row)


def _picks_rows(node: Node) -> bool:
    """Whether it is x[mask] for x of [batch, length, width] and a mask of [batch, length]."""
    x, indices = node.args
    if not isinstance(x, Node) or len(indices) != 1:  # type: ignore[arg-type]
        return False
    value, mask = x.meta["val"], indices[0].meta["val"]  # type: ignore[index, union-attr]
    if mask.dtype is not torch.bool or (mask.ndim, value.ndim) != (2, 3):
        return False
    return _same(value.shape[0], mask.shape[0]) and _same(value.shape[1], mask.shape[1])


def _last_reads(rows: Node, x: torch.Tensor) -> Iterator[Node]:
    """Where the last of each sequence's rows is read."""
    for view in rows.users:
        if view.target not in _VIEWS:
            continue
        shape = view.meta["val"].shape
        if len(shape) == 3 and _same(shape[0], x.shape[0]) and _same(shape[2], x.shape[2]):
            yield from _selects_last(view)


def _selects_last(node: Node) -> Iterator[Node]:
    for user in node.users:
        if user.target is _aten.select.int and user.args[1:] == (1, -1):
            yield user
        elif user.target is _aten.slice.Tensor and user.args[1:] == (0, 0, sys.maxsize):
            yield from _selects_last(user)


def _same(one: int | torch.SymInt, other: int | torch.SymInt) -> bool:
    """Whether two sizes are the same number or the same expression; nothing is asked of a trace."""
    return str(one) == str(other)


def _last_row(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The row of `x` at the last place where `mask` holds, of each sequence.

    The place of a sequence whose mask holds nowhere, or more or less often than that of the first,
    lies outside: the view refuses it too.
    """
    places = torch.ones_like(mask, dtype=torch.int64).cumsum(1) - 1  # arange would bake the length
    count = mask.sum(1)
    last = torch.where(mask, places, torch.full_like(places, -1)).amax(1)
    odd = (count != count[:1]) | (count == 0)
    row = torch.where(odd, torch.full_like(last, _OUTSIDE), last)
    return x.gather(1, row[:, None, None].expand(-1, 1, x.shape[2])).select(1, 0)
