"""Numbers of loops at known sizes: extents, and how far accesses reach, without simplifying.

A small evaluator over integers, since features ask it thousands of times. This module must not
know what the numbers are for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final

from tc.ir.expr import Binary, Broadcast, Cast, Const, Expr, Load, Ramp, Select, Sym, Unary, Var

_OPS: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "and": operator.and_,
    "or": operator.or_,
}


def value_of(x: Expr, env: Mapping[str, int]) -> int:
    """The value of an index expression; what is not in `env`, or is data, counts as 0."""
    match x:
        case Const():
            return int(x.value)
        case Var(name=name) | Sym(name=name):
            return env.get(name, 0)
        case Binary(op, a, b) if op in _OPS:
            return int(_OPS[op](value_of(a, env), value_of(b, env)))
        case Select(cond, a, b):
            return value_of(a if value_of(cond, env) else b, env)
        case Cast(x=inner) | Broadcast(x=inner) | Ramp(base=inner):
            return value_of(inner, env)
        case Unary(op="neg", x=inner):
            return -value_of(inner, env)
        case Load():
            return 0
    return 0


def reach(index: Expr, steps: Mapping[str, int], env: Mapping[str, int]) -> int:
    """How many places an index takes while each loop of `steps` makes so many iterations.

    Each loop by itself, from where `env` is: exact for sums of terms of one variable.
    """
    start = value_of(index, env)
    total = 1
    for name, extent in steps.items():
        if extent > 1:
            total += abs(value_of(index, {**env, name: env.get(name, 0) + extent - 1}) - start)
    return total
