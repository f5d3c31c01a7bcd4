"""Sizes as text: integer expressions over symbol names, read without `eval` and computed fast.

A size is an int, or text in the IR's own syntax ("s0 * 768", "(s0 + 15) // 16 * 16",
"max(s0, s1)"). `compile_dim` turns it into a function of the symbols' values. This module must not
know where a size is used, nor the IR's classes beyond printing one.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from tc.errors import CompileError, describe
from tc.ir.expr import Const, Expr
from tc.ir.printer import expr_text

Dim = int | str
Values = Sequence[int]
Evaluate = Callable[[Values], int]

_MOST_TEXT = 20_000  # a size that a pass made is a few hundred characters long at most
_BINARY: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


def dim_of(expression: Expr) -> Dim:
    """The size that an index expression stands for, to be kept as an int or as text."""
    if isinstance(expression, Const):
        return int(expression.value)
    return expr_text(expression)


def compile_dim(dim: Dim, symbols: Sequence[str]) -> Evaluate:
    """A function from the values of `symbols`, in their order, to the size.

    Raises:
        CompileError: text that is no integer expression over these symbols (a damaged file).
    """
    if isinstance(dim, int):
        return lambda _: dim
    try:
        if len(dim) > _MOST_TEXT:
            raise ValueError("it is too long")
        place = {name: number for number, name in enumerate(symbols)}
        return _compile(ast.parse(dim, mode="eval").body, place)
    except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError) as error:
        raise CompileError(
            describe(
                f"size {dim[:200]!r}",
                why=f"not an integer expression over {', '.join(symbols) or 'no symbols'} "
                f"({error})",
                way_out="save the program again",
            )
        ) from error


def _compile(node: ast.expr, place: Mapping[str, int]) -> Evaluate:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("a bool stands in it")
        case ast.Constant(value=int(value)):
            return lambda _: value
        case ast.Name(id=name) if name in ("true", "false"):
            flag = int(name == "true")
            return lambda _: flag
        case ast.Name(id=name):
            return operator.itemgetter(place[name])
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            minus = _compile(inner, place)
            return lambda v: -minus(v)
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            # In the IR ~ is the logical not of a condition; sizes hold no other use of it.
            negated = _compile(inner, place)
            return lambda v: int(not negated(v))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _both(_BINARY[type(op)], _compile(left, place), _compile(right, place))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _both(_COMPARE[type(op)], _compile(left, place), _compile(right, place))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, [_compile(a, place) for a in args])
    raise ValueError(f"{ast.unparse(node)!r} is not part of it")


def _both(apply: Callable[[int, int], int], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda v: int(apply(left(v), right(v)))


def _call(name: str, parts: list[Evaluate]) -> Evaluate:
    match name, parts:
        case "min", [a, b]:
            return lambda v: min(a(v), b(v))
        case "max", [a, b]:
            return lambda v: max(a(v), b(v))
        case "select", [c, a, b]:
            return lambda v: a(v) if c(v) else b(v)
    raise ValueError(f"{name} of {len(parts)} arguments is not part of it")
