"""Blocks of text under construction: where a line is placed, and which values hold there.

A scope is a loop body or a branch. Each has a list of lines that stands in front of it, in the
code of the scope around, so that what does not change inside can be placed outside at once and
no pass has to move it. Both code generators build on this; it must not know the IR, nor either
language.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

Lines = list[Union[str, "Lines"]]


@dataclass(slots=True)
class Scope:
    """A region entered and left as a whole.

    `before` is placed in front of it; `lines` is its own code. `fixed` remembers values that hold
    for as long as it lasts; `loaded` those that depend on memory, with `readers` naming the keys
    by buffer, so that a store can drop them. `header` runs once before the first iteration of a
    loop and only if there is one; None for a branch. `stores` names the buffers that it may write.
    `always`: there is a first iteration, so that the header is as good as code of the scope around.
    `innermost`: a loop without another inside.
    """

    before: Lines
    lines: Lines
    header: Lines | None = None
    stores: frozenset[str] = frozenset()
    always: bool = False
    innermost: bool = False
    fixed: dict[object, Any] = field(default_factory=dict)
    loaded: dict[object, Any] = field(default_factory=dict)
    readers: dict[str, list[object]] = field(default_factory=dict)


class Scopes:
    """The text of one function. `out` is the list that the next line is added to."""

    def __init__(self) -> None:
        top: Lines = []
        self.scopes = [Scope([], top)]
        self.out = top

    def prepare(self) -> Lines:
        """A list in the code here, for what a scope about to begin places in front of itself."""
        before: Lines = []
        self.scopes[-1].lines.append(before)
        return before

    def push(
        self,
        before: Lines,
        header: Lines | None = None,
        stores: frozenset[str] = frozenset(),
        lines: Lines | None = None,
    ) -> None:
        """Begin a scope; `lines`: the list for its code."""
        lines = [] if lines is None else lines
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
