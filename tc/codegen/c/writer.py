"""The text of one C function under construction: lines in blocks, names, helpers used.

This module must not know the IR.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tc.codegen.c.live import chained, live
from tc.codegen.c.text import Names, Term, wrap
from tc.codegen.scopes import Lines, Scope, Scopes

LONGEST_INLINE = 64


class Block(list["str | Lines"]):
    """Lines one step further in."""


class Writer(Scopes):
    """Lines of a function; `helpers` are the names of the helper functions that they use."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.names = names
        self.helpers: dict[str, None] = {}
        self._outer: list[Lines] = []
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

    @contextmanager
    def detached(self, head: str, stores: frozenset[str]) -> Iterator[None]:
        """A loop that runs at least once, added where lines go when its body is complete.

        So what the body needs from outside is added in front of it, wherever that is.
        """
        out, lines = self.out, Block()
        before: Lines = []
        header: Lines = []
        self.scopes.append(Scope(before, lines, header, stores, always=True))
        self.out = lines
        yield
        self.scopes.pop()
        self.out = out
        out.extend((before, header, head, lines, "}"))

    def begin(self, before: Lines, head: str, header: Lines | None, stores: frozenset[str]) -> None:
        """Begin the block of a loop or a branch."""
        self.scopes[-1].lines.append(head)
        self.push(before, header, stores, Block())

    def open(self, head: str) -> None:
        """Begin a block within the code here that is not a scope of its own places."""
        block = Block()
        self.out.extend((head, block, "}"))
        self._outer.append(self.out)
        self.scopes.append(Scope(block, block))
        self.out = block

    def close(self) -> None:
        """End the block that `open` began."""
        self.scopes.pop()
        self.out = self._outer.pop()

    def end(self, tail: str = "}") -> None:
        """End the innermost block."""
        self.pop()
        self.do(tail)

    def text(self) -> str:
        """All lines, but for those that nothing uses."""
        lines: list[tuple[int, str]] = []
        _flatten(self.scopes[0].lines, 1, lines)
        lines = chained(live(lines))
        return "\n".join(part for depth, line in lines for part in wrap(line, depth))


def _flatten(lines: Lines, depth: int, out: list[tuple[int, str]]) -> None:
    for line in lines:
        if isinstance(line, str):
            out.append((depth, line))
        else:
            _flatten(line, depth + isinstance(line, Block), out)
