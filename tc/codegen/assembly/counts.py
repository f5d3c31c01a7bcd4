"""What an inner loop does in an iteration: instructions, products, bytes, spills.

Counts alone, of the text; how long it takes is for `machine_model` to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from tc.codegen.assembly import aarch64, x86_64
from tc.codegen.assembly.effect import Effect
from tc.codegen.assembly.loops import Instruction, Loop, inner_loops
from tc.frozen import frozen

_TABLES: Final[Mapping[str, ModuleType]] = {"aarch64": aarch64, "x86_64": x86_64}
ARCHITECTURES: Final = tuple(_TABLES)
_SPILLS: Final = ("Spill", "Reload")  # what LLVM writes beside them
_LLVM: Final = "-- Begin function"  # of its assembly with comments


@frozen
class LoopCounts:
    """An inner loop, and what one iteration of it does.

    Attributes:
        function: that it is in.
        body: its instructions, as text.
        fmas: instructions that add products to sums.
        products: that these make.
        kinds: of these instructions, with how many of each; see `probes`.
        loads, stores: instructions; those that spill among them.
        loaded, stored: the bytes of these.
        spills: accesses of registers' contents that had to go to the stack; of assembly that does
            not tell what is one, all accesses of the stack.
    """

    function: str
    body: tuple[str, ...]
    fmas: int
    products: int
    kinds: tuple[tuple[str, int], ...]
    loads: int
    stores: int
    loaded: int
    stored: int
    spills: int

    @property
    def instructions(self) -> int:
        """How many an iteration has."""
        return len(self.body)


def count_loops(text: str, arch: str) -> list[LoopCounts]:
    """The inner loops of an assembly text.

    Args:
        arch: one of `ARCHITECTURES`.
    """
    told = _LLVM in text
    return [_counted(loop, _TABLES[arch].effect, told) for loop in inner_loops(text, arch)]


def probes(kind: str, arch: str) -> tuple[str, ...]:
    """Instructions of a kind, with "{n}" for the register of their sums."""
    found: tuple[str, ...] = _TABLES[arch].probes(kind)
    return found


def _counted(loop: Loop, effect: Callable[[Instruction], Effect], told: bool) -> LoopCounts:
    effects = [effect(i) for i in loop.body]
    if told:
        spills = sum(any(word in i.comment for word in _SPILLS) for i in loop.body)
    else:
        spills = sum(e.on_stack for e in effects)
    kinds = Counter(e.kind for e in effects if e.kind)
    return LoopCounts(
        function=loop.function,
        body=tuple(map(str, loop.body)),
        fmas=kinds.total(),
        products=sum(e.products for e in effects),
        kinds=tuple(sorted(kinds.items())),
        loads=sum(e.loaded > 0 for e in effects),
        stores=sum(e.stored > 0 for e in effects),
        loaded=sum(e.loaded for e in effects),
        stored=sum(e.stored for e in effects),
        spills=spills,
    )
