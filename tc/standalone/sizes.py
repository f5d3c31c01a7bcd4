"""Sizes in C: the text of `tc.device.dims` as int64_t expressions, and bounds of what they can be.

A size is planned for at the limits of an instance, so it must not grow where a symbol shrinks; one
for which that cannot be shown is replaced by its greatest value. This module must not know where a
size is used.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import lru_cache

from tc.device.dims import Dim
from tc.errors import CompileError, describe
from tc.frozen import frozen

MOST = 1 << 61  # of bytes, so that sums of some sizes are in range
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<="}
_BITS = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
_CALLS = {"min": "min_size", "max": "max_size"}


@frozen
class Symbols:
    """The symbols of a size: the C text of each, and its least and greatest value."""

    text: Mapping[str, str]
    low: Mapping[str, int]
    high: Mapping[str, int]


@frozen
class Size:
    """An expression: its C text (a whole one, as an operand), bounds, whether it only grows.

    `grows`: greater symbols never make it less; `shrinks`: they never make it greater.
    """

    text: str
    low: int
    high: int
    grows: bool
    shrinks: bool

    @property
    def fixed(self) -> bool:
        """Whether it is a number."""
        return self.low == self.high


def number(value: int) -> Size:
    """A size that is known."""
    text = str(value) if abs(value) < 1 << 31 else f"INT64_C({value})"
    return Size(text if value >= 0 else f"({text})", value, value, True, True)


def size(dim: Dim, symbols: Symbols) -> Size:
    """The size that `dim` stands for.

    Raises:
        CompileError: it, or what it is made of, can be larger than memory; it is no size.
    """
    return _in_range(number(dim) if isinstance(dim, int) else _size(_parsed(dim), symbols))


def planned(dim: Dim, symbols: Symbols) -> str:
    """C text of a size that no smaller symbols make larger."""
    found = size(dim, symbols)
    return found.text if found.grows else number(found.high).text


def product(dims: tuple[Dim, ...], factor: int, symbols: Symbols) -> Size:
    """The number of elements of a shape, times `factor`.

    Raises:
        CompileError: as `size`.
    """
    found = number(factor)
    for dim in sorted(dims, key=lambda d: isinstance(d, str)):  # numbers first
        found = _combine("*", found, size(dim, symbols))
    return found


def _in_range(found: Size) -> Size:
    if not -MOST < found.low <= found.high < MOST:
        raise CompileError(
            describe(
                f"size {found.text[:80]}",
                why=f"can reach {found.high} at these bounds",
                way_out="export with smaller max_batch and max_length",
            )
        )
    return found


@lru_cache(4096)
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _size(node: ast.expr, s: Symbols) -> Size:
    match node:
        case ast.Constant(value=int(value)):
            return number(int(value))
        case ast.Name(id=name) if name in ("true", "false"):
            return number(int(name == "true"))
        case ast.Name(id=name) if name in s.text:
            return Size(s.text[name], s.low[name], s.high[name], True, False)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _combine("-", number(0), _size(inner, s))
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            return _truth(f"(!{_size(inner, s).text})")
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _combine("+", _size(left, s), _size(right, s))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _combine("-", _size(left, s), _size(right, s))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _combine("*", _size(left, s), _size(right, s))
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return _quotient(_size(left, s), _size(right, s))
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            return _rest(_size(left, s), _size(right, s))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BITS:
            a, b = _size(left, s), _size(right, s)
            return _truth(f"({a.text} {_BITS[type(op)]} {b.text})")
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            a, b = _size(left, s), _size(right, s)
            return _truth(f"({a.text} {_COMPARE[type(op)]} {b.text})")
        case ast.Call(func=ast.Name(id=("min" | "max") as name), args=[left, right]):
            return _extreme(name, _size(left, s), _size(right, s))
        case ast.Call(func=ast.Name(id="select"), args=[cond, left, right]):
            a, b = _size(left, s), _size(right, s)
            text = f"({_size(cond, s).text} ? {a.text} : {b.text})"
            return Size(text, min(a.low, b.low), max(a.high, b.high), False, False)
    raise CompileError(describe(f"size {ast.unparse(node)[:80]!r}", why="no integer expression"))


def _truth(text: str) -> Size:
    return Size(text, 0, 1, False, False)


def _combine(op: str, a: Size, b: Size) -> Size:
    corners = [_apply(op, x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    if a.fixed and b.fixed:
        return _in_range(number(corners[0]))
    if (op == "*" and (a.text == "1" or b.text == "1")) or (op == "+" and b.text == "0"):
        return b if a.text == "1" else a
    grows, shrinks = a.grows and b.grows, a.shrinks and b.shrinks
    if op == "-":
        grows, shrinks = a.grows and b.shrinks, a.shrinks and b.grows
    if op == "*" and min(a.low, b.low) < 0:
        grows = shrinks = False
    left = a.text
    if op == "*" and _is_product(left):
        left = left[1:-1]
    return _in_range(Size(f"({left} {op} {b.text})", min(corners), max(corners), grows, shrinks))


def _is_product(text: str) -> bool:
    """Whether text in parentheses is a product, which another factor can be added to."""
    return bool(re.fullmatch(r"\(\w+( \* \w+)+\)", text))


def _apply(op: str, x: int, y: int) -> int:
    return x + y if op == "+" else x - y if op == "-" else x * y


def _quotient(a: Size, b: Size) -> Size:
    if b.low <= 0:
        raise CompileError(describe(f"size {a.text} // {b.text}", why="may divide by zero"))
    if a.fixed and b.fixed:
        return number(a.low // b.low)
    corners = [x // y for x in (a.low, a.high) for y in (b.low, b.high)]
    text = f"({a.text} / {b.text})" if a.low >= 0 else f"div_floor({a.text}, {b.text})"
    up = a.grows and (b.fixed or (b.shrinks and a.low >= 0))
    down = a.shrinks and (b.fixed or (b.grows and a.low >= 0))
    return Size(text, min(corners), max(corners), up, down)


def _rest(a: Size, b: Size) -> Size:
    if b.low <= 0:
        raise CompileError(describe(f"size {a.text} % {b.text}", why="may divide by zero"))
    if a.fixed and b.fixed:
        return number(a.low % b.low)
    text = f"({a.text} % {b.text})" if a.low >= 0 else f"mod_floor({a.text}, {b.text})"
    return Size(text, 0, b.high - 1, False, False)


def _extreme(name: str, a: Size, b: Size) -> Size:
    pick = min if name == "min" else max
    low, high = pick(a.low, b.low), pick(a.high, b.high)
    if a.fixed and b.fixed:
        return number(low)
    text = f"{_CALLS[name]}({a.text}, {b.text})"
    return Size(text, low, high, a.grows and b.grows, a.shrinks and b.shrinks)
