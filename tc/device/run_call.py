"""The memory of one call in flight: its arena, its argument tables, and a version of the weights.

An arena belongs to one call at a time and goes from call to call, so that calls from many threads
share nothing. This module must not know what the code does.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tc.device.arena import Block
from tc.device.artifact import ERROR, HINTS, PROFILE, SCRATCH, SCRATCH_BYTES, THREADS
from tc.device.run_plan import Plan
from tc.device.run_stats import new_counter
from tc.device.words import word
from tc.errors import DeviceError, describe

_MOST_FRAMES = 64
_VERSIONS = itertools.count()
# Set in a forked child: fork copies no threads, and OpenMP waits forever for those that it had.
_ALONE: Final = threading.Event()


class Weights:
    """One version of a program's weights.

    Attributes:
        arrays: the model's own memory, kept alive.
        blocks: what the prepare steps made of it, by number.
        slots: (slot, address) of every parameter and everything prepared.
        version: unlike that of any other weights of this process.
    """

    __slots__ = ("arrays", "blocks", "slots", "version")

    def __init__(
        self,
        arrays: Sequence[Any],
        blocks: Mapping[int, Block],
        slots: Sequence[tuple[int, int]],
    ) -> None:
        self.arrays = tuple(arrays)
        self.blocks = dict(blocks)
        self.slots = tuple(slots)
        self.version = next(_VERSIONS)


class Frame:
    """An argument table that is filled in but for inputs and outputs; `address` is where it is.

    `version` is that of the weights in it: the frame does not keep them alive.
    """

    __slots__ = ("address", "table", "version")

    def __init__(self, table: ctypes.Array[ctypes.c_int64], version: int) -> None:
        self.table = table
        self.version = version
        self.address = ctypes.addressof(table)


class Arena:
    """The memory of one call: the error slot, temporaries, scratch; grows, and is reused.

    Attributes:
        counter: the words of `Counter`, of the calls that it has served.
        epoch: one word, which changes when frames made before are good no more.
        error: the error slot, 0 for none.
    """

    __slots__ = ("__weakref__", "_block", "_frames", "counter", "epoch", "error")

    def __init__(self) -> None:
        self.counter = new_counter()
        self.epoch = word()
        _ARENAS.add(self)
        self._frames: dict[Plan, Frame] = {}
        self._hold(Block(1))

    def _hold(self, block: Block) -> None:
        self._block = block
        self.forget()
        self.error = ctypes.c_int32.from_address(block.address)

    def frame(self, plan: Plan, weights: Weights, threads: int, table_size: int) -> Frame:
        """The table of a plan on this arena; made at the first call with it."""
        frame = self._frames.get(plan)
        if frame is not None and frame.version == weights.version:
            return frame
        if plan.arena_bytes > self._block.size:
            self._hold(_block(plan.arena_bytes))
        if len(self._frames) >= _MOST_FRAMES:
            self._frames.clear()
        frame = Frame((ctypes.c_int64 * table_size)(), weights.version)
        table, base = frame.table, self._block.address
        table[THREADS] = 1 if _ALONE.is_set() else threads
        table[PROFILE] = 0
        table[SCRATCH] = base + plan.scratch
        table[SCRATCH_BYTES] = plan.scratch_bytes
        table[ERROR] = base
        table[HINTS] = 0
        for slot, value in zip(plan.layout.sizes, plan.sizes, strict=True):
            table[slot] = value
        for slot, offset in zip(plan.layout.temps, plan.offsets, strict=True):
            table[slot] = base + offset
        for slot, address in weights.slots:
            table[slot] = address
        self._frames[plan] = frame
        return frame

    def forget(self) -> None:
        """Make every table anew."""
        self.epoch[0] += 1
        self._frames.clear()


_ARENAS: Final[weakref.WeakSet[Arena]] = weakref.WeakSet()


def _stay_alone_after_fork() -> None:
    """In a forked child: programs run on the thread that calls them."""
    _ALONE.set()
    for arena in list(_ARENAS):
        arena.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stay_alone_after_fork)


def _block(size: int) -> Block:
    try:
        return Block(size)
    except (OSError, MemoryError, OverflowError) as error:
        raise DeviceError(
            describe(
                f"{size >> 20} MiB for the temporaries of a call",
                why=f"the system gives no such memory ({error})",
                way_out="pass smaller inputs",
            )
        ) from error
