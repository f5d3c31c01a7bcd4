"""The value of a condition on sizes, as the text of a Python expression.

This module must not import torch, nor run text as code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

_OPERATORS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "max": max,
    "min": min,
    "abs": abs,
    "float": float,
    "round": round,
    "int": int,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
    "math.trunc": math.trunc,
    "math.sqrt": math.sqrt,
    "math.log": math.log,
    "math.log2": math.log2,
    "math.exp": math.exp,
}


def holds(condition: str, sizes: Mapping[str, int]) -> bool:
    """Whether a condition holds for these sizes.

    Raises:
        ValueError: it has other than sizes, numbers, arithmetic, comparisons and roundings.
    """
    try:
        return bool(_value(ast.parse(condition, mode="eval").body, sizes))
    except ArithmeticError:
        return False
    except (KeyError, TypeError, SyntaxError) as error:
        raise ValueError(f"condition {condition!r}: {error}") from error


def _value(node: ast.expr, sizes: Mapping[str, int]) -> Any:
    match node:
        case ast.Name(name):
            return sizes[name]
        case ast.Constant(value):
            return value
        case ast.UnaryOp(op, inner):
            return _OPERATORS[type(op)](_value(inner, sizes))
        case ast.BinOp(left, op, right):
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.Compare(left, [op], [right]):
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.BoolOp(op, values):
            each = (_value(value, sizes) for value in values)
            return all(each) if isinstance(op, ast.And) else any(each)
        case ast.Call(function, arguments):
            return _FUNCTIONS[ast.unparse(function)](*(_value(a, sizes) for a in arguments))
    raise ValueError(f"condition {ast.unparse(node)!r}: no arithmetic of sizes")
