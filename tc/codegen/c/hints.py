"""Hints of what is read soon that a loop can give: those of cache lines one after the other.

This module must not write C.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tc.ir.affine import constant, plain_poly, sub
from tc.ir.loop import Prefetch, Stmt

LEAST: Final = 8  # lines that are worth a loop


def lines(body: Sequence[Stmt], line: int) -> Iterator[tuple[int, int]]:
    """Where each part of a sequence begins, and its length: hints a line of bytes apart are one."""
    first = 0
    for n in range(1, len(body) + 1):
        if n == len(body) or not _follows(body[n - 1], body[n], line):
            yield first, n - first
            first = n


def _follows(a: Stmt, b: Stmt, line: int) -> bool:
    """Whether `b` asks for the line behind that of `a`."""
    if not isinstance(a, Prefetch) or not isinstance(b, Prefetch):
        return False
    if (a.buffer, a.near) != (b.buffer, b.near):
        return False
    apart = sub(plain_poly(b.indices[0]), plain_poly(a.indices[0]))
    return apart == constant(line // a.buffer.dtype.bytes)
