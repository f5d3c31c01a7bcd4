"""Blocks of LLVM text under construction: where an instruction is placed, and what names it gives.

A scope is a loop body or a branch. Each has a list of lines that stands in front of it, in the
code of the scope around, so that what does not change inside can be placed outside at once and
no pass has to move it. This module must not know the IR.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

Lines = list[Union[str, "Lines"]]


@dataclass(slots=True)
class Scope:
    """A region entered and left as a whole.

    `before` is placed in front of it; `lines` is its own code. `fixed` remembers values that hold
    for as long as it lasts; `loaded` those that depend on memory, with `readers` naming the keys
    by buffer, so that a store can drop them. `header` runs once before the first iteration of a
    loop and only if there is one; None for a branch. `stores` names the buffers that it may write.
    """

    before: Lines
    lines: Lines
    header: Lines | None = None
    stores: frozenset[str] = frozenset()
    fixed: dict[object, str] = field(default_factory=dict)
    loaded: dict[int, str] = field(default_factory=dict)
    readers: dict[str, list[int]] = field(default_factory=dict)


class Builder:
    """The text of one function. `out` is the list that the next instruction is added to."""

    def __init__(self) -> None:
        self.entry: Lines = []  # allocas
        top: Lines = []
        self.scopes = [Scope([], top)]
        self.out = top
        self.declared: set[str] = set()
        self._count = 0

    # --- instructions

    def name(self, prefix: str = "v") -> str:
        """A new name, without its sigil."""
        self._count += 1
        return f"{prefix}{self._count}"

    def ins(self, text: str) -> str:
        """Add an instruction that gives a value; the value's name."""
        self._count += 1
        name = f"%v{self._count}"
        self.out.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Add an instruction that gives none."""
        self.out.append(f"  {text}")

    def call(self, result: str, name: str, types: list[str], args: list[str]) -> str:
        """Call an intrinsic; it is declared at its first use."""
        self.declared.add(f"declare {result} @{name}({', '.join(types)})")
        typed = ", ".join([f"{t} {a}" for t, a in zip(types, args, strict=True)])
        if result == "void":
            self.do(f"call void @{name}({typed})")
            return ""
        return self.ins(f"call {result} @{name}({typed})")

    # --- blocks and scopes

    def label(self, name: str) -> None:
        """Begin a block."""
        self.out.append(f"{name}:")

    def prepare(self) -> Lines:
        """A list in the code here, for what a scope about to begin places in front of itself."""
        before: Lines = []
        self.scopes[-1].lines.append(before)
        return before

    def push(
        self, before: Lines, header: Lines | None = None, stores: frozenset[str] = frozenset()
    ) -> None:
        """Begin a scope."""
        lines: Lines = []
        self.scopes[-1].lines.append(lines)
        self.scopes.append(Scope(before, lines, header, stores))
        self.out = lines

    def pop(self) -> None:
        """End the innermost scope."""
        self.scopes.pop()
        self.out = self.scopes[-1].lines

    def place(self, depth: int) -> Lines:
        """Where code goes that changes with scope `depth` and no inner one."""
        if depth + 1 == len(self.scopes):
            return self.scopes[-1].lines
        return self.scopes[depth + 1].before

    def outermost(self, depth: int, buffers: frozenset[str]) -> int:
        """The outermost loop that a load of `buffers` can be taken out of.

        It lies inside scope `depth`, which the load changes with. The number of scopes where there
        is none. The load is then done before that loop, if the loop runs at all.
        """
        found = len(self.scopes)
        while found - 1 > depth:
            scope = self.scopes[found - 1]
            if scope.header is None or not scope.stores.isdisjoint(buffers):
                break
            found -= 1
        return found

    def stored(self, buffer: str) -> None:
        """Forget what was loaded from `buffer`."""
        for scope in self.scopes:
            for key in scope.readers.pop(buffer, ()):
                scope.loaded.pop(key, None)

    def text(self) -> str:
        """The body of the function."""
        parts: list[str] = ["entry:"]
        _flatten(self.entry, parts)
        _flatten(self.scopes[0].lines, parts)
        return "\n".join(parts)


def _flatten(lines: Lines, out: list[str]) -> None:
    for line in lines:
        if isinstance(line, str):
            out.append(line)
        else:
            _flatten(line, out)
