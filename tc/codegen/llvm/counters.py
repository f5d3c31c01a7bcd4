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
    `phis` stand at the start of its body, `steps` at the start of the block that ends it. `known`
    has the multiples, by their factors: the values in this iteration and in the next.
    """

    name: str
    first: str
    header: Lines
    phis: Lines = field(default_factory=list)
    steps: Lines = field(default_factory=list)
    known: dict[int | str, tuple[str, str]] = field(default_factory=dict)

    def times(self, b: Builder, factor: int | str) -> str:
        """The value of counter · factor; the name of a factor has a value in the header."""
        found = self.known.get(factor)
        if found is None:
            here = b.out
            first = "0"
            if self.first != "0":
                b.out = self.header
                first = b.ins(f"mul i64 {self.first}, {factor}")
            b.out = self.steps
            now = f"%{b.name('m')}"
            more = b.ins(f"add nsw i64 {now}, {factor}")
            entries = f"[ {first}, %head{self.name} ], [ {more}, %next{self.name} ]"
            self.phis.append(f"  {now} = phi i64 {entries}")
            b.out = here
            found = self.known[factor] = now, more
        return found[0]

    def goes_on(self, b: Builder, step: str, end: str) -> str:
        """Whether the next iteration, of number `step`, comes before `end`, known in the header.

        Told by a multiple where there is one, so that nothing else needs to be counted. Of an
        order instead of a difference LLVM would make one of the number before, and count both.
        """
        factor = min((f for f in self.known if isinstance(f, int) and f > 0), default=1)
        if factor > 1:
            step = self.known[factor][1]
            if end.startswith("%"):
                here, b.out = b.out, self.header
                end = b.ins(f"mul i64 {end}, {factor}")
                b.out = here
            else:
                end = str(int(end) * factor)
        return b.ins(f"icmp ne i64 {step}, {end}")
