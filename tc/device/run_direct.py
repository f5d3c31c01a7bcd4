"""A program at one set of shapes as machine code calls it: addresses, and objects of Python.

See `tc.codegen.direct.Word` for what each is. This module must not know what arrays are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tc.device.queue import Queue
from tc.device.run_call import Arena, Frame
from tc.device.run_planned import Planned
from tc.frozen import frozen

_WORD = 8


@frozen
class Direct:
    """A call of a program, but for its arguments.

    Attributes:
        conditions: pairs (address, eight bytes there) that hold while all this is valid.
        inputs: (address of a slot, number of an input).
        outputs: (callable, its arguments) of each result.
        slots: (address of a slot, number of a result).
        kept: what all of it belongs to.
    """

    conditions: tuple[tuple[int, int], ...]
    inside: int
    gate: int
    notify: Callable[[], None]
    counters: int
    number: int
    table: int
    function: int
    error: int
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
    slots: tuple[tuple[int, int], ...]
    arena: Arena
    frame: Frame
    pool: list[Arena]
    weights: object
    last: int
    kept: object


def direct(
    function: Callable[[int], object],
    queue: Queue,
    arena: Arena,
    frame: Frame,
    planned: Planned,
    inputs: Sequence[tuple[int, int]],
) -> Direct | None:
    """What is known of a call here; None where an entry or a maker of results is Python code.

    Args:
        inputs: (slot, number) of each.
    """
    address = getattr(function, "address", None)
    makers = [make for _, make in planned.outputs]
    if address is None or planned.plan.empty:
        return None
    if any(not isinstance(make, partial) or make.keywords for make in makers):
        return None
    gate = ctypes.addressof(queue.gate)
    return Direct(
        conditions=((gate, 0), (ctypes.addressof(arena.epoch), arena.epoch[0])),
        inside=gate + _WORD,
        gate=gate,
        notify=queue.notify_closing,
        counters=ctypes.addressof(arena.counter),
        number=planned.number,
        table=frame.address,
        function=address,
        error=ctypes.addressof(arena.error),
        inputs=tuple((frame.address + _WORD * slot, number) for slot, number in inputs),
        outputs=tuple((make.func, make.args) for make in makers if isinstance(make, partial)),
        slots=tuple(
            (frame.address + _WORD * slot, number)
            for number, (slots, _) in enumerate(planned.outputs)
            for slot in slots
        ),
        arena=arena,
        frame=frame,
        pool=[],
        weights=None,
        last=0,
        kept=None,
    )
