"""Which words of a tensor tell what kind of tensor it is, found out by experiment.

Class, dtype, sizes, strides, device, layout and whether gradients are wanted decide whether a
program takes a tensor as it is; PyTorch's own comparison of these costs more than the rest of a
short call, for its code is cold by then. Words that agree in tensors alike are compared instead,
and only if they tell apart all that must be. This module must not know what is compared, nor why.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import numpy as np
import torch

from tc.frontend.tensor_layout import MOST_DIMS, WORD, Layout, layout, read

_WORDS: Final = 22  # of an implementation of a tensor; the last tells its dispatch keys
_SHAPE: Final = (2, 3)
_ALL: Final = (1 << 8 * WORD) - 1
_SAMPLES: Final = 32  # in memory filled with zeros, and in memory filled with ones
_KEPT: Final = 7  # so many blocks of a size the C library holds ready for a thread

Kind = list[tuple[int, int, int]]


def kind_of(tensor: torch.Tensor) -> Kind | None:
    """Triples (byte offset in the implementation, mask, the word there under it), or None.

    Another object of the class torch.Tensor for which all of them hold is dense, in the memory of
    this process, wants no gradient, and has this dtype and these sizes and strides. Others may be
    like that too. None: words do not tell.
    """
    places = layout()
    if places is None or not _told() or tensor.ndim > MOST_DIMS:
        return None
    return _kind(tensor, places, _steady())


def is_like(tensor: Any, kind: Kind) -> bool:
    """Whether all words hold."""
    return type(tensor) is torch.Tensor and all(
        read(tensor._cdata + offset) & mask == word for offset, mask, word in kind
    )


def _kind(tensor: torch.Tensor, places: Layout, steady: Mapping[int, int]) -> Kind:
    handle: Any = tensor
    unused = {
        first + WORD * dim
        for first in (places.sizes, places.strides)
        for dim in range(tensor.ndim, MOST_DIMS)
    }
    return [
        (at, mask, read(handle._cdata + at) & mask)
        for at, mask in steady.items()
        if at not in unused
    ]


@functools.cache
def _steady() -> dict[int, int]:
    """Offset and mask of the words in which tensors of one kind agree, whatever else they are."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        samples: list[Any] = [
            torch.zeros(_SHAPE),
            torch.ones(_SHAPE),
            torch.from_numpy(np.ones(_SHAPE, np.float32)),
            torch.empty(0).set_(torch.ones(9).untyped_storage(), 3, _SHAPE, (3, 1)),
            torch.zeros(_SHAPE).add_(1),
        ]
        held = samples[0].view(-1)  # counts of references differ
        masks = {WORD * number: _ALL & ~bits for number, bits in enumerate(_never_written())}
        found = {
            at: mask
            for at, mask in masks.items()
            if mask and len({read(sample._cdata + at) & mask for sample in samples}) == 1
        }
    del held
    return found


def _never_written() -> list[int]:
    """The bits of each word that PyTorch leaves as the memory had them that a tensor is made in.

    They lie between bit fields, and would make tensors alike differ. Most samples that are made
    where ones were have ones there, and most others zeros; pointers do not follow either.
    """
    fills = [0, 0xFF] * _SAMPLES
    Random(0).shuffle(fills)
    made: list[Any] = []
    for number, byte in enumerate(fills):
        _fill_free_memory(byte, _KEPT + number % (_KEPT + 1))
        made.append(torch.zeros(_SHAPE))
    places = range(0, WORD * _WORDS, WORD)
    words = np.array([[read(tensor._cdata + at) for at in places] for tensor in made], "<u8")
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    follows = np.where(fills, 1, -1) @ bits.astype(np.int64) > _SAMPLES // 2
    return [int(word) for word in np.packbits(follows).view("<u8")]


def _fill_free_memory(byte: int, count: int) -> None:
    """Fills what an allocator may hand out next for a tensor: `count` blocks let go last.

    It hands them out first unless it holds others ready, of which it takes as many as it keeps when
    it has none: one count or another leaves it with few.
    """
    allocate, release = ctypes.pythonapi.PyMem_RawMalloc, ctypes.pythonapi.PyMem_RawFree
    allocate.restype, allocate.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    release.restype, release.argtypes = None, (ctypes.c_void_p,)
    sizes = [WORD * _WORDS + extra for extra in range(0, 64, 16)]  # tensors are a little larger
    blocks = [(allocate(size), size) for size in sizes * count]
    for address, size in blocks:
        ctypes.memset(address, byte, size)
    for address, _ in blocks:
        release(address)


# Made of a tensor of zeros; what a call must not take for it.
_OTHERS: Final[tuple[Callable[[torch.Tensor], Any], ...]] = (
    lambda x: x.double(),
    lambda x: x.to(torch.int32),
    lambda x: x[0],
    lambda x: x[:1],
    lambda x: x.new_zeros(2, 4),
    lambda x: x.new_zeros(3, 2),
    lambda x: x.new_zeros(3, 2).t(),
    lambda x: x.new_zeros(2, 3, 1),
    lambda x: x.new_zeros(2, 6)[:, ::2],
    lambda x: x.to_sparse(),
    lambda x: x.to("meta"),
    lambda x: x._neg_view(),
    lambda x: x.to(torch.complex64).conj(),
    lambda x: torch.nn.Parameter(x),
    lambda x: torch.zeros(_SHAPE, requires_grad=True),
    lambda x: torch.zeros(_SHAPE).requires_grad_(),
    lambda x: torch._C._functorch._add_batch_dim(x.new_zeros(2, 3, 4), 2, 1),
    lambda x: None,
    lambda x: 1.0,
)


def tells_apart(like: Callable[[torch.Tensor], Callable[[Any], bool]]) -> bool:
    """Whether what `like` makes of a tensor accepts one of its kind and none of another."""
    try:
        with torch.inference_mode(mode=False):
            given = torch.zeros(_SHAPE)
            accepts = like(given)
            alike = accepts(given) and accepts(torch.ones(_SHAPE))
            return alike and not any(accepts(make(given)) for make in _OTHERS)
    except (AttributeError, TypeError, ValueError, RuntimeError, SystemError):
        return False


@functools.cache
def _told() -> bool:
    places = layout()
    if places is None:
        return False
    steady = _steady()

    def like(tensor: torch.Tensor) -> Callable[[Any], bool]:
        kind = _kind(tensor, places, steady)
        return lambda other: is_like(other, kind)

    return tells_apart(like)
