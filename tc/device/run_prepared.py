"""What prepare steps make, shared by all programs of this process that make the same of it.

A model has a program for each set of arguments, and their weights are laid out alike. What is
prepared is known by how it was made: the kernels, and the identity of the weights that they read.
It lives as long as a program that uses it, which keeps those weights alive too, so an identity
never comes to mean other data. This module must not run anything.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Hashable, Mapping, Sequence

from tc.device.arena import Block
from tc.device.artifact import Artifact, KernelCall, Place, Step

Key = str
_LOCK = threading.Lock()
_KNOWN: weakref.WeakValueDictionary[Key, Block] = weakref.WeakValueDictionary()


def keys(artifact: Artifact, identities: Sequence[Hashable]) -> dict[int, Key]:
    """How each prepared number is made; see `origins`."""
    known = origins(artifact, identities)
    return {number: key for (place, number), key in known.items() if place is Place.PREPARED}


def origins(artifact: Artifact, identities: Sequence[Hashable]) -> dict[tuple[Place, int], Key]:
    """What each param, and all that prepare steps write, is made of, as text of fixed length.

    Args:
        identities: of each param: equal ones are the same memory with the same content.
    """
    known: dict[tuple[Place, int], Key] = {
        (Place.PARAM, number): _digest("param", info.dtype, info.shape, identities[number])
        for number, info in enumerate(artifact.params)
    }
    texts: dict[int, Key] = {}  # many steps share a kernel, and its text is long
    for step in artifact.prepare:
        if isinstance(step, KernelCall) and step.kernel not in texts:
            kernel = artifact.kernels[step.kernel]
            # Its name has its number in this program.
            texts[step.kernel] = _digest(kernel.text.removeprefix(f"def {kernel.name}"))
        _note(artifact, step, known, texts)
    return known


def _note(
    artifact: Artifact,
    step: Step,
    known: dict[tuple[Place, int], Key],
    texts: Mapping[int, Key],
) -> None:
    """Enter what a step writes: the memory that it touches and no step before it has written."""
    storages = artifact.storages
    if isinstance(step, KernelCall):
        touched = step.buffers
        what: tuple[object, ...] = (texts[step.kernel], step.symbols)
    else:
        touched = (*step.inputs, *step.outputs)
        what = (step.op, step.args)
    places = [(storages[s].place, storages[s].number) for s in touched]
    sources = tuple(known.get(place, "") for place in places)
    shapes = tuple(storages[s].shape for s in touched)
    for position, place in enumerate(places):
        if place not in known:
            known[place] = _digest(*what, sources, shapes, position)


def _digest(*parts: object) -> Key:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def find(wanted: Mapping[int, Key]) -> dict[int, Block] | None:
    """The memory of every prepared number, where all of it is known."""
    with _LOCK:
        found = {number: _KNOWN.get(key) for number, key in wanted.items()}
    whole = {number: block for number, block in found.items() if block is not None}
    return whole if len(whole) == len(wanted) else None


def share(wanted: Mapping[int, Key], made: Mapping[int, Block]) -> dict[int, Block]:
    """Enter what was made; where somebody has made the same before, that one is given back."""
    with _LOCK:
        return {number: _KNOWN.setdefault(key, made[number]) for number, key in wanted.items()}
