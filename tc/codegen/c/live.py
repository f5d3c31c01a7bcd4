"""Lines of a function without those that nothing uses, and assignments that go together.

Where a value turns out to have no instruction, what was written of its operands stays behind:
variables that nothing reads, and arrays that a loop fills. This module must not know the IR.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

Numbered = list[tuple[int, str]]  # lines with their depth

_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_VARIABLE: Final = re.compile(
    r"(?:const )?(?:\w+_t|float|double|bool|__m\w+|tc_\w+) \*?(?:const restrict )?(\w+)(?:\[\d+\])?"
    r"(?: = .*)?;$"
)
_ARRAY: Final = re.compile(r"(?:\w+_t|float|double) (\w+)\[\d+\](?: = .*)?;$")
_FILLED: Final = re.compile(r"(\w+)\[[^\]]*\] = ")
_NUMBER: Final = r"-?(?:\d[\w.+-]*|INFINITY|NAN)"
_LITERAL: Final = re.compile(rf"(\w+) = ({_NUMBER}|\w+\((?:{_NUMBER})?\));")  # in all lanes too
_HEAD: Final = re.compile(r"(?:for|if) \(.*\{$")


def live(lines: Numbered) -> Numbered:
    """The lines, but for variables and arrays that nothing reads and blocks without a line."""
    while True:
        counts = Counter(w for _, line in lines for w in _WORD.findall(line))
        arrays = {found[1] for _, line in lines if (found := _ARRAY.match(line))}
        filled = Counter(found[1] for _, line in lines if (found := _FILLED.match(line)))
        dead = {name for name in arrays if counts[name] == 1 + filled[name]}
        dead |= {found[1] for _, line in lines if (found := _VARIABLE.match(line))
                 and counts[found[1]] == 1}  # fmt: skip
        kept = _without_empty_blocks([x for x in lines if _named(x[1]) not in dead])
        if len(kept) == len(lines):
            return lines
        lines = kept


def _named(line: str) -> str | None:
    """What a line declares or stores to."""
    found = _VARIABLE.match(line) or _FILLED.match(line)
    return found[1] if found else None


def _without_empty_blocks(lines: Numbered) -> Numbered:
    kept: Numbered = []
    for depth, line in lines:
        if line == "}" and kept and kept[-1][0] == depth and _HEAD.match(kept[-1][1]):
            kept.pop()
        else:
            kept.append((depth, line))
    return kept


def chained(lines: Numbered) -> Numbered:
    """Variables that get the same literal one after the other get it in one statement."""
    out: Numbered = []
    names: list[str] = []
    for depth, line in lines:
        found = _LITERAL.fullmatch(line)
        if found is None:
            names = []
        elif names and out[-1] == (depth, f"{' = '.join([*names, found[2]])};"):
            out.pop()
            names.append(found[1])
            line = f"{' = '.join([*names, found[2]])};"
        else:
            names = [found[1]]
        out.append((depth, line))
    return out
