"""Results of earlier calls that nobody holds any more, to be handed out again.

A result is a few objects and their memory, whose making and unmaking touch more cold memory than
all else that a small call does. So a template of direct calls keeps some results of its own, and a
call may return one of them as long as every word of it is as it was when it was made: the counts
of references to its objects, to its tensors and to their memory, sizes, strides, gradients,
attributes, weak references. Its elements may be anything, for the call writes all of them. Which
words tell is found out by experiment, as in `tensor_layout`; where one change is not told, there
are no such results. This module must not know what computes them.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

from tc.frontend.tensor_layout import (
    MOST_DIMS,
    STORAGE_WORDS,
    TENSOR_WORDS,
    WORD,
    Layout,
    dict_tag,
    layout,
    read,
)
from tc.frozen import frozen

_MOST_BYTES: Final = 1 << 17
_MANAGED_DICT: Final = 1 << 4  # a flag of a type: its objects keep attributes before themselves
_ATTRIBUTES: Final = (-3 * WORD, -4 * WORD)

Maker = tuple[Callable[..., torch.Tensor], tuple[Any, ...]]


@frozen
class Spare:
    """A result that nobody else has, while `words` hold.

    Attributes:
        result: a tensor, or a mapping of tensors.
        outputs: the addresses of its tensor objects.
        words: pairs (address, the eight bytes there). A pair's address is only known to be
            readable while the pairs before it hold.
    """

    result: object
    outputs: tuple[int, ...]
    words: tuple[tuple[int, int], ...]

    def free(self) -> bool:
        """Whether all words hold."""
        return all(read(address) == word for address, word in self.words)


def spares(
    makers: Sequence[Maker], count: int, kind: type | None, names: Sequence[str], beside: Any
) -> list[Spare]:
    """`count` results; none where they are large, or not all that may happen to one is told.

    Args:
        makers: what is called with what for each output, which is a dense tensor of its own.
        kind: class of a mapping, made by its `__new__`; None: the result is the first output.
        names: of the outputs in the mapping, of which they are attributes too.
        beside: the mapping's other attributes.
    """
    places = layout()
    if places is None or not _told():
        return []
    return [
        made
        for _ in range(count)
        if (made := _spare(places, makers, kind, names, beside)) is not None
    ]


def _spare(
    places: Layout,
    makers: Sequence[Maker],
    kind: type | None,
    names: Sequence[str],
    beside: Mapping[str, Any],
) -> Spare | None:
    outputs = [make(*how) for make, how in makers]
    sizes = (tensor.numel() * tensor.element_size() for tensor in outputs)
    if not outputs or max(tensor.ndim for tensor in outputs) > MOST_DIMS:
        return None
    if sum(sizes) > _MOST_BYTES:
        return None
    words: list[tuple[int, int]] = []
    result: object = outputs[0]
    holders = 1  # the spare
    if kind is not None:
        tag = dict_tag()
        if tag is None or not issubclass(kind, OrderedDict):
            return None
        result, holders = _mapping(kind, dict(zip(names, outputs, strict=True)), beside), 2
        words += _words_of_mapping(result, tag)
    for tensor in outputs:
        words += _words_of_tensor(tensor, places, holders)
    return Spare(result, tuple(map(id, outputs)), tuple(words))


def _mapping(kind: Any, items: dict[str, torch.Tensor], beside: Mapping[str, Any]) -> Any:
    made = kind.__new__(kind)
    for name, tensor in items.items():
        OrderedDict.__setitem__(made, name, tensor)
    object.__setattr__(made, "__dict__", {**beside, **items})
    return made


def _words_of_mapping(made: Any, tag: int) -> list[tuple[int, int]]:
    """Of the object, and of the dict of its attributes."""
    inside = id(made.__dict__)
    words = _object(id(made), type(made), 1)
    return [*words, (inside, 1), (inside + tag, read(inside + tag))]


def _words_of_tensor(tensor: torch.Tensor, places: Layout, holders: int) -> list[tuple[int, int]]:
    """Of the object, of its implementation, and of its storage."""
    words = _object(id(tensor), type(tensor), holders)
    handle: Any = tensor
    place = int(handle._cdata)
    words += _words(place, TENSOR_WORDS)
    return words + _words(read(place + places.storage), STORAGE_WORDS)


def _object(address: int, kind: type, holders: int) -> list[tuple[int, int]]:
    """Of an object of Python with so many references, and of what holds its attributes."""
    words = [(address, holders), *_words(address + WORD, kind.__basicsize__ // WORD - 1)]
    if kind.__flags__ & _MANAGED_DICT:
        for offset in _ATTRIBUTES:
            values = read(address + offset)
            words.append((address + offset, values))
            if values and values % WORD == 0:  # how many there are stands before them
                words.append((values - WORD, read(values - WORD)))
    return words


def _words(address: int, count: int) -> list[tuple[int, int]]:
    return [(address + WORD * n, read(address + WORD * n)) for n in range(count)]


class _Mapping(OrderedDict[str, torch.Tensor]):
    """Stands in for the class of a model's outputs."""


# What a caller may do to a result, and keep: each must be told.
_HELD: Final[tuple[Callable[[Any], Any], ...]] = (
    lambda x: x[0],
    lambda x: x.detach(),
    lambda x: x.view(-1),
    lambda x: x.numpy(),
    lambda x: x.untyped_storage(),
    lambda x: x.__dlpack__(),
    lambda x: weakref.ref(x),
)
_CHANGED: Final[tuple[Callable[[Any], Any], ...]] = (
    lambda x: setattr(x, "mark", 1),
    lambda x: x.requires_grad_(),
    lambda x: x.t_(),
    lambda x: x.unsqueeze_(0),
    lambda x: x.resize_(1),
    lambda x: x.set_(torch.zeros(3)),
    lambda x: setattr(x, "data", torch.zeros(2, 3)),
    lambda x: x.share_memory_(),
    lambda x: setattr(x, "__class__", torch.nn.Parameter),
    lambda x: x.untyped_storage().resize_(4),
)
_CHANGED_MAPPING: Final[tuple[Callable[[Any], Any], ...]] = (
    lambda m: setattr(m, "mark", 1),
    lambda m: setattr(m, "a", None),
    lambda m: m.pop("a"),
    lambda m: m.update(c=torch.zeros(1)),
    lambda m: m.update(a=m["b"]),
    lambda m: m.move_to_end("a"),
)


@functools.cache
def _told() -> bool:
    """Whether the words tell of everything above, and hold again once a result is let go."""
    places = layout()
    if places is None:
        return False
    makers: list[Maker] = [(torch.ones, (2, 3)), (torch.ones, (4,))]
    try:
        with torch.no_grad():
            for make in (
                lambda: _spare(places, makers[:1], None, (), {}),
                lambda: _spare(places, makers, _Mapping, ("a", "b"), {"none": None}),
            ):
                if not _is_told(make):
                    return False
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    return True


def _is_told(make: Callable[[], Spare | None]) -> bool:
    spare = make()
    if spare is None:  # there is no telling for mappings, which therefore are never spared
        return True
    mapping = isinstance(spare.result, OrderedDict)

    def tensor(of: Any) -> Any:
        return of.result["a"] if mapping else of.result

    held = tensor(spare)
    if spare.free():
        return False
    del held
    if not spare.free():
        return False
    deeds = [(tensor, deed) for deed in (*_HELD, *_CHANGED)]
    if mapping:
        deeds += [(lambda of: of.result, deed) for deed in _CHANGED_MAPPING]
    for part, deed in deeds:
        spare = make()
        if spare is None or not spare.free():
            return False
        kept = deed(part(spare))
        if spare.free():
            return False
        del kept
    return True
