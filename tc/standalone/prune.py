"""A program without the results that nobody wants, nor the steps that only fill them.

A generative model gives the keys and values of every layer with its logits; `model_run` has no use
for them. This module must not change what a wanted result is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import groupby

from tc.codegen.func import messages_of
from tc.device.artifact import Artifact, KernelCall, Place, Repeat, Step, Storage, touched
from tc.ir.loop import Func

Memory = tuple[Place, int]


def without_outputs(
    artifact: Artifact, keep: Collection[int], kernel: Callable[[int], Func]
) -> Artifact:
    """The artifact with those of its outputs that are in `keep`, in their order.

    Args:
        kernel: of a number, which tells what a step writes.
    """
    order = [n for n in range(len(artifact.outputs)) if n in keep]
    if len(order) == len(artifact.outputs):
        return artifact
    fresh = 1 + max((s.number for s in artifact.storages if s.place is Place.TEMP), default=-1)
    storages = tuple(_renumbered(s, order, fresh) for s in artifact.storages)
    return replace(
        artifact,
        outputs=tuple(artifact.outputs[n] for n in order),
        storages=storages,
        main=_needed(artifact.main, storages, kernel),
    )


def _renumbered(storage: Storage, order: list[int], fresh: int) -> Storage:
    if storage.place is not Place.OUTPUT:
        return storage
    if storage.number in order:
        return replace(storage, number=order.index(storage.number))
    return replace(storage, place=Place.TEMP, number=fresh + storage.number)


def _needed(
    main: tuple[Step, ...], storages: tuple[Storage, ...], kernel: Callable[[int], Func]
) -> tuple[Step, ...]:
    """The steps that write to anything but temporaries that no later step reads, or refuse data.

    Steps of a loop, which read what they wrote the time before, stay or go together.
    """
    read: set[Memory] = set()
    kept: list[Step] = []
    for loop, run in groupby(reversed(main), _loop):
        for steps in [list(run)] if loop else [[step] for step in run]:
            every, written = _memory(steps, storages, kernel)
            used = any(place[0] is not Place.TEMP or place in read for place in written)
            if used or _refuse(steps, kernel):
                kept += steps
                read |= every
    return tuple(reversed(kept))


def _loop(step: Step) -> Repeat | None:
    return step.loop if isinstance(step, KernelCall) else None


def _refuse(steps: Sequence[Step], kernel: Callable[[int], Func]) -> bool:
    """Whether data can make one of the steps report an error."""
    funcs = [kernel(step.kernel) for step in steps if isinstance(step, KernelCall)]
    return bool(messages_of(funcs))


def _memory(
    steps: Sequence[Step], storages: tuple[Storage, ...], kernel: Callable[[int], Func]
) -> tuple[set[Memory], set[Memory]]:
    """What steps touch, and what of it they write."""
    every: set[Memory] = set()
    written: set[Memory] = set()
    for step in steps:
        places = [(storages[b].place, storages[b].number) for b in touched(step)]
        every.update(places)
        if not isinstance(step, KernelCall):
            written.update(places)
            continue
        func = kernel(step.kernel)
        named = zip(places, func.params, strict=True)
        written.update(place for place, param in named if param.name in func.outputs)
    return every, written
