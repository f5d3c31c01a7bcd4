"""Multiples of a loop's counter that are added up, so that no iteration multiplies or shifts.

LLVM leaves them as they are written in the loops that matter here: next to the multiply-adds of a
product every instruction takes a place that a busy core shares between two threads. This module
must not know the IR.
"""

from __future__ import annotations

from dataclasses import field

from tc.codegen.llvm.builder import Builder
from tc.codegen.scopes import Lines
from tc.frozen import frozen


@frozen
class Counter:
    """A loop's counter, which runs from `first`, a value known in `header`.

    `name` is that of the loop's blocks: "head<name>" leads to it, "next<name>" ends an iteration.
    `phis` stand at the start of its body, `steps` at the start of the block that ends it.
    """

    name: str
    first: str
    header: Lines
    phis: Lines = field(default_factory=list)
    steps: Lines = field(default_factory=list)
    known: dict[int, str] = field(default_factory=dict)

    def times(self, b: Builder, factor: int) -> str:
        """The value of counter · factor."""
        found = self.known.get(factor)
        if found is None:
            here = b.out
            first = "0"
            if self.first != "0":
                b.out = self.header
                first = b.ins(f"mul i64 {self.first}, {factor}")
            b.out = self.steps
            found = self.known[factor] = f"%{b.name('m')}"
            more = b.ins(f"add nsw i64 {found}, {factor}")
            entries = f"[ {first}, %head{self.name} ], [ {more}, %next{self.name} ]"
            self.phis.append(f"  {found} = phi i64 {entries}")
            b.out = here
        return found
