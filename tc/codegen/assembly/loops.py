"""The inner loops of a piece of assembly, from its blocks and branches.

A loop is a strongly connected set of blocks; an inner one has no loop within it. This module must
not know what an instruction computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tc.frozen import frozen

_LABEL: Final = re.compile(r"^([.\w$]+):")
_INSTRUCTION: Final = re.compile(r"^\s+([a-z][\w.]*)(?:\s+(.*))?$")
_COMMENT: Final = {"aarch64": "//", "x86_64": "#"}
_BRANCHES: Final = {
    "aarch64": re.compile(r"b|b\.\w+|b(eq|ne|lt|le|gt|ge|lo|ls|hi|hs|mi|pl|cc|cs)|cbn?z|tbn?z"),
    "x86_64": re.compile(r"j\w+"),
}
_ENDS: Final = {"aarch64": ("b", "ret", "br"), "x86_64": ("jmp", "ret", "retq")}


@frozen
class Instruction:
    """One instruction: its name, its operands as text, and what a comment says of it."""

    name: str
    operands: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.name}\t{self.operands}".rstrip()


@dataclass(slots=True)
class _Block:
    labels: list[str] = field(default_factory=list)
    body: list[Instruction] = field(default_factory=list)
    next: list[int] = field(default_factory=list)


@frozen
class Loop:
    """An inner loop: the function that it is in, and its instructions in the order of memory."""

    function: str
    body: tuple[Instruction, ...]


def inner_loops(text: str, arch: str) -> list[Loop]:
    """Every inner loop of the functions in `text`, in the order of memory.

    Args:
        arch: "aarch64" or "x86_64".
    """
    found = []
    for name, lines in _functions(text):
        blocks = _blocks(lines, arch)
        for members in sorted(_innermost(blocks, range(len(blocks)))):
            found.append(Loop(name, tuple(x for n in members for x in blocks[n].body)))
    return found


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each function's name and lines: they begin at labels that are not local."""
    name, lines = "", list[str]()
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label is not None and not label[1].startswith(".L"):
            yield name, lines
            name, lines = label[1], []
        else:
            lines.append(line)
    yield name, lines


def _blocks(lines: Sequence[str], arch: str) -> list[_Block]:
    """The basic blocks with their successors."""
    blocks = [_Block()]
    for line in lines:
        label = _LABEL.match(line)
        if label is not None:
            if blocks[-1].body:
                blocks.append(_Block())
            blocks[-1].labels.append(label[1])
            continue
        code, _, comment = line.partition(_COMMENT[arch])
        found = _INSTRUCTION.match(code.rstrip())
        if found is None:
            continue
        name = found[1]
        blocks[-1].body.append(Instruction(name, (found[2] or "").strip(), comment.strip()))
        if _BRANCHES[arch].fullmatch(name) or name in _ENDS[arch]:
            blocks.append(_Block())
    places = {label: n for n, block in enumerate(blocks) for label in block.labels}
    for n, block in enumerate(blocks):
        last = block.body[-1] if block.body else Instruction("", "")
        if _BRANCHES[arch].fullmatch(last.name):
            target = places.get(last.operands.split(",")[-1].strip())
            block.next += [] if target is None else [target]
        if last.name not in _ENDS[arch] and n + 1 < len(blocks):
            block.next.append(n + 1)
    return blocks


def _innermost(blocks: Sequence[_Block], within: Sequence[int]) -> Iterator[list[int]]:
    """The loops without loops in them; of a loop with some, what is left without its head."""
    for members in _cycles(blocks, within):
        entered = {m for n, b in enumerate(blocks) if n not in members for m in b.next}
        head = min(entered.intersection(members), default=members[0])
        inner = list(_innermost(blocks, [n for n in members if n != head]))
        yield from inner or [members]


def _cycles(blocks: Sequence[_Block], nodes: Sequence[int]) -> list[list[int]]:
    """The strongly connected sets with a cycle, in the order of memory.

    Blocks from which the same ones are reached, themselves among them, are of one set.
    """
    following = {n: [m for m in blocks[n].next if m in nodes] for n in nodes}
    reached = {n: sum(1 << m for m in set(following[n])) for n in nodes}
    changes = True
    while changes:
        changes = False
        for n in reversed(nodes):
            more = reached[n]
            for m in following[n]:
                more |= reached[m]
            changes |= more != reached[n]
            reached[n] = more
    sets: dict[int, list[int]] = {}
    for n in nodes:
        if reached[n] >> n & 1:
            sets.setdefault(reached[n], []).append(n)
    return list(sets.values())
