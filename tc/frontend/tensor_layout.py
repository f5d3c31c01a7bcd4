"""Where in memory a tensor keeps what says that it has changed, found out by experiment.

PyTorch says neither where its tensors keep their version and their storage nor that they always
will, so the places are looked for in scratch tensors at the first use. Where one is not found, or
not found in the same place twice, there is no layout, and whoever wanted one asks the tensors
themselves. Nothing here is written to, and what might be no pointer is read through the system,
which refuses where there is no memory. This module must not know what is watched, nor why.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
import torch

from tc.frozen import frozen

WORD = 8
TENSOR_WORDS = 20  # an implementation of a tensor is larger in every PyTorch since 1.13
STORAGE_WORDS = 4
_OBJECT_WORDS = 4  # the reference count, the type, and the pointer
_COUNTER_BYTES = 32
_SCRATCH = 24  # elements of a scratch tensor
MOST_DIMS = 5  # a tensor of more keeps its sizes elsewhere


@frozen
class Layout:
    """Byte offsets.

    Attributes:
        handle: in the Python object of a tensor, of the pointer to the tensor.
        storage: in a tensor, of the pointer to its storage.
        offset: in a tensor, of its offset into the storage.
        sizes, strides: in a tensor, of its first size and its first stride.
        counter: in a tensor, of the pointer to its version counter.
        version: in a version counter, of the version.
        data: in a storage, of the pointer to the memory.
    """

    handle: int
    storage: int
    offset: int
    sizes: int
    strides: int
    counter: int
    version: int
    data: int

    def words(self, tensor: torch.Tensor) -> list[tuple[int, int]] | None:
        """Pairs (address, the eight bytes there) that hold until the tensor gets other memory.

        Or another view of it. A pair's address is only known to be readable while the tensor lives
        and the pairs before it hold. None: it has too many dims.
        """
        if tensor.ndim > MOST_DIMS:
            return None
        place = _implementation(tensor)
        storage = read(place + self.storage)
        own = [self.storage] if _whole(tensor) else [self.storage, self.offset]
        own += [
            first + WORD * n for first in (self.sizes, self.strides) for n in range(tensor.ndim)
        ]
        found = [(place + at, read(place + at)) for at in own]
        found.append((storage + self.data, read(storage + self.data)))
        return found

    def version_words(self, tensor: torch.Tensor) -> list[tuple[int, int]]:
        """The same that hold until the tensor is written to."""
        place = _implementation(tensor)
        counter = read(place + self.counter)
        found = [(place + self.counter, counter)]
        if counter:  # tensors of inference_mode have none
            found.append((counter + self.version, read(counter + self.version)))
        return found


def _whole(tensor: torch.Tensor) -> bool:
    """Whether no other place in its storage has room for the sizes and strides of a tensor."""
    size = tensor.untyped_storage().nbytes()
    return tensor.is_contiguous() and 0 < tensor.nbytes == size


@functools.cache
def layout() -> Layout | None:
    """The layout of this PyTorch's tensors; None where it cannot be told."""
    try:
        # Memory of two owners, versions and offsets that nothing else in a tensor is equal to.
        one = _look(torch.zeros(_SCRATCH), 777, 11)
        other = _look(torch.from_numpy(np.zeros(_SCRATCH, np.float32)), 1039, 17)
    except (OSError, AttributeError, OverflowError, ValueError):
        return None
    return one if one is not None and one == other else None


def _look(tensor: torch.Tensor, version: int, offset: int) -> Layout | None:
    with torch.no_grad():
        for _ in range(version):
            tensor.zero_()
    view = tensor[offset:]
    storage = tensor.untyped_storage()
    place, moved = _implementation(tensor), _implementation(view)
    tensor_words = [read(place + WORD * i) for i in range(TENSOR_WORDS)]
    view_words = [read(moved + WORD * i) for i in range(TENSOR_WORDS)]
    object_words = [read(id(tensor) + WORD * i) for i in range(_OBJECT_WORDS)]
    storage_words = [read(storage._cdata + WORD * i) for i in range(STORAGE_WORDS)]
    counters = [
        (WORD * i, at)
        for i, pointer in enumerate(tensor_words)
        if pointer == view_words[i]  # a view shares its base's counter
        and (at := _find(pointer, version)) is not None
    ]
    if len(counters) != 1 or storage._cdata not in tensor_words or offset not in view_words:
        return None
    if storage.data_ptr() not in storage_words or place not in object_words:
        return None
    if (shape := _look_at_shape(MOST_DIMS)) is None or shape != _look_at_shape(2):
        return None
    counter, at = counters[0]
    return Layout(
        handle=WORD * object_words.index(place),
        storage=WORD * tensor_words.index(storage._cdata),
        offset=WORD * view_words.index(offset),
        sizes=shape[0],
        strides=shape[1],
        counter=counter,
        version=at,
        data=WORD * storage_words.index(storage.data_ptr()),
    )


def _look_at_shape(dims: int) -> tuple[int, int] | None:
    """Where the sizes and the strides of a tensor of so many dims begin."""
    sizes, strides = [7, 3, 5, 2, 4][:dims], [311, 97, 13, 5, 1][:dims]
    place = _implementation(torch.empty_strided(sizes, strides))
    words = [read(place + WORD * i) for i in range(TENSOR_WORDS)]
    starts = [
        [i for i in range(TENSOR_WORDS) if words[i : i + dims] == wanted]
        for wanted in (sizes, strides)
    ]
    if any(len(found) != 1 for found in starts):
        return None
    return WORD * starts[0][0], WORD * starts[1][0]


def _implementation(tensor: torch.Tensor) -> int:
    given: Any = tensor
    return int(given._cdata)


def read(address: int) -> int:
    """The eight bytes at an address of this process, which must be readable."""
    return ctypes.c_uint64.from_address(address).value


def _find(pointer: int, version: int) -> int | None:
    """Where a 32-bit number lies in what might be a counter; None: nowhere, or in two places."""
    if pointer % WORD or not 0 < pointer < 1 << 47:
        return None
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        content = os.pread(memory, _COUNTER_BYTES, pointer)
    except OSError:
        return None
    finally:
        os.close(memory)
    found = [
        at
        for at in range(0, len(content) - WORD + 1, 4)
        if int.from_bytes(content[at : at + 4], "little") == version
    ]
    return found[0] if len(found) == 1 and not found[0] % WORD else None


@functools.cache
def dict_tag() -> int | None:
    """Byte offset in a dict of a word that every change of its items changes, or None."""
    offset = 3 * WORD  # behind the reference count, the type and the number of items
    scratch: dict[str, object] = {"a": 1, "b": 2}
    seen = {read(id(scratch) + offset)}
    changes = (
        lambda: scratch.__setitem__("a", 3),
        lambda: scratch.__setitem__("c", 4),
        lambda: scratch.pop("b"),
        lambda: scratch.update(a=5),
        scratch.clear,
    )
    for number, change in enumerate(changes, 2):
        before = read(id(scratch) + offset)
        if scratch.get("a") is None or read(id(scratch) + offset) != before:
            return None
        change()
        seen.add(read(id(scratch) + offset))
        if len(seen) != number:
            return None
    return offset
