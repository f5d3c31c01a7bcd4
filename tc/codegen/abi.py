"""How a program is called: the array of its arguments, and which kernel gets what.

    void entry(i64 *args)    args: the slots of `Slot`, then buffer addresses and symbol values

Both code generators make such an entry. This module must not know what a kernel does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import groupby

from tc.frozen import frozen


class Slot(IntEnum):
    """The fixed slots of the argument array, each an i64."""

    THREADS = 0  # how many threads are wanted, at least 1
    PROFILE = 1  # address of the time stamps, or 0; see `stamp_count`
    SCRATCH = 2  # address of the scratch memory of all threads
    SCRATCH_BYTES = 3  # of each thread
    ERROR = 4  # address of an i32: 0, or 1 + the number of the message of the first failed Assert
    HINTS = 5  # address of a count and so many addresses that are wanted after the call, or 0
    FIRST = 6  # buffer addresses and symbol values begin here


def stamp_count(calls: int, threads: int) -> int:
    """How many time stamps a region of so many kernel calls takes, each an i64.

    They are nanoseconds of CLOCK_MONOTONIC: thread by thread, and within each thread for every
    call two, when it began and when its own part of it was done. A thread that the runtime did
    not give leaves its own as they are.
    """
    return 2 * calls * threads


@frozen
class Call:
    """One kernel run: its number, and the slots of its buffers and of its symbols.

    Calls side by side with equal `loop`, (a number, the slot of how often), run in turn again and
    again; `INDEX` among the symbols is how often they have run before.
    """

    kernel: int
    buffers: tuple[int, ...]
    symbols: tuple[int, ...]
    loop: tuple[int, int] | None = None


INDEX = -1


def turns_of(calls: Sequence[Call]) -> list[tuple[int | None, list[tuple[int, Call]]]]:
    """The calls with their numbers, by loops: the slot of how often, None for once."""
    found = groupby(enumerate(calls), lambda numbered: numbered[1].loop)
    return [(None if loop is None else loop[1], list(run)) for loop, run in found]
