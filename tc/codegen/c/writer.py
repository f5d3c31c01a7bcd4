"""The text of one C function under construction: lines in blocks, names, helpers used.

This module must not know the IR.
"""

from __future__ import annotations

from tc.codegen.c.text import Names, Term, wrap
from tc.codegen.scopes import Lines, Scopes

LONGEST_INLINE = 64


class Block(list["str | Lines"]):
    """Lines one step further in."""


class Writer(Scopes):
    """Lines of a function; `helpers` are the names of the helper functions that they use."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.declared: Lines = []  # what stands at the beginning of the function
        self.names = names
        self.helpers: dict[str, None] = {}
        self.headers: set[str] = set()

    def do(self, line: str) -> None:
        """Add a line."""
        self.out.append(line)

    def use(self, helper: str) -> str:
        """Note that a helper is used; its name."""
        self.helpers[helper] = None
        return helper

    def call(self, helper: str, *args: Term) -> Term:
        """A call of a helper."""
        return Term(f"{self.use(helper)}({', '.join(a.text for a in args)})")

    def settle(self, kind: str, value: Term, stem: str = "t") -> Term:
        """A variable that holds `value` from here on."""
        name = self.names.numbered(stem)
        space = "" if kind.endswith("*") else " "
        self.do(f"const {kind}{space}{name} = {value.text};")
        return Term(name)

    def begin(self, before: Lines, head: str, header: Lines | None, stores: frozenset[str]) -> None:
        """Begin the block of a loop or a branch."""
        self.scopes[-1].lines.append(head)
        self.push(before, header, stores, Block())

    def end(self, tail: str = "}") -> None:
        """End the innermost block."""
        self.pop()
        self.do(tail)

    def text(self, depth: int = 1) -> str:
        """All lines."""
        out: list[str] = []
        for part in (self.declared, self.scopes[0].lines):
            _flatten(part, depth, out)
        return "\n".join(out)


def _flatten(lines: Lines, depth: int, out: list[str]) -> None:
    for line in lines:
        if isinstance(line, str):
            out.extend(wrap(line, depth))
        else:
            _flatten(line, depth + isinstance(line, Block), out)
