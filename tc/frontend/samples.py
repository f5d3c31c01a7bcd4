"""A few words of the elements of tensors, which tell of writes that PyTorch does not count.

Whoever writes through `.data`, NumPy or another library moves no version counter. What changes a
tensor as a whole changes these words too; what changes a few elements may pass unseen. This module
must not know what the tensors are for.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Final

import torch

from tc.codegen.llvm import watch
from tc.frontend.tensor_layout import WORD, read
from tc.target import Target

COUNT: Final = 4  # of a tensor: the first, the last, and between them along all dims at once


def sampled(tensor: torch.Tensor) -> list[tuple[int, int]]:
    """Pairs (address, the eight bytes there), readable while the tensor keeps its memory."""
    if tensor.layout is not torch.strided or tensor.numel() == 0 or not tensor.data_ptr():
        return []
    start, size, last = tensor.data_ptr(), tensor.element_size(), COUNT - 1
    found = []
    for n in range(COUNT):
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        element = sum((extent - 1) * n // last * stride for extent, stride in steps)
        found.append((start + element * size) // WORD * WORD)  # so that it is within a page
    return [(place, read(place)) for place in dict.fromkeys(found)]


class Contents:
    """What the sampled words of tensors held when this was made."""

    __slots__ = ("_count", "_pairs")

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        words = [word for tensor in tensors for word in sampled(tensor)]
        self._pairs, self._count = watch.pairs(words), len(words)

    def same(self) -> bool:
        """Whether they still do; to be asked only while all tensors keep their memory."""
        return first_changed()(ctypes.addressof(self._pairs), self._count) == self._count


@functools.cache
def first_changed() -> Callable[[int, int], int]:
    """See `watch.first_changed`."""
    return watch.first_changed(Target.parse("host"))
