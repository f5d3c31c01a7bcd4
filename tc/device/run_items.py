"""What a program runs: runs of kernel calls, each one foreign call, and operators run eagerly.

This module must not know when they run, nor on which memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from tc.device.artifact import Artifact, FallbackCall, KernelCall, segments
from tc.device.run_call import Arena
from tc.errors import TcError, describe
from tc.frozen import frozen

Function = Callable[[int], object]


@frozen
class Kernels:
    """A run of kernel calls: one foreign call, and what an error number means there."""

    function: Function
    messages: tuple[str, ...]
    calls: tuple[KernelCall, ...]


Item = Kernels | FallbackCall


def items_of(artifact: Artifact, functions: Mapping[str, Function], label: str) -> tuple[Item, ...]:
    """The items of `label`, "main" or "prepare"; `functions` are those of the entries by name."""
    steps = artifact.main if label == "main" else artifact.prepare
    found: list[Item] = []
    number = 0
    for item in segments(steps):
        if isinstance(item, FallbackCall):
            found.append(item)
            continue
        name = f"{label}_{number}"
        messages = next((c.messages for c in artifact.code if c.name == name), ())
        found.append(Kernels(functions[name], messages, item))
        number += 1
    return tuple(found)


class ValueFaultError(TcError):
    """A kernel found a value that it cannot go on with; it does not know which input led to it."""

    def __init__(self, why: str, names: Sequence[str] = ()) -> None:
        checked = f"check the values of {', '.join(names)}" if names else "check what is passed"
        super().__init__(
            describe("input value", where="compiled program", why=why, way_out=checked)
        )
        self.why = why


def raise_reported(arena: Arena, messages: Sequence[str]) -> NoReturn:
    """Raise what a kernel has reported in the error slot, and clear it."""
    number, arena.error.value = arena.error.value, 0
    known = 0 < number <= len(messages)
    raise ValueFaultError(messages[number - 1] if known else f"error {number}")
