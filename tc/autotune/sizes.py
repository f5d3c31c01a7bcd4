"""Numbers of loops at known sizes: extents, and how far accesses reach, without simplifying.

A small evaluator over integers, since features ask it thousands of times. This module must not
know what the numbers are for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from tc.ir.expr import Binary, Broadcast, Cast, Const, Expr, Ramp, Select, Sym, Unary, Var
from tc.ir.visit import free_vars

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
        case Binary(op, a, b):
            known = _OPS.get(op)
            return 0 if known is None else int(known(value_of(a, env), value_of(b, env)))
        case Var(name=name) | Sym(name=name):
            return env.get(name, 0)
        case Const():
            return int(x.value)
        case Select(cond, a, b):
            return value_of(a if value_of(cond, env) else b, env)
        case Cast(x=inner) | Broadcast(x=inner) | Ramp(base=inner):
            return value_of(inner, env)
        case Unary(op="neg", x=inner):
            return -value_of(inner, env)
    return 0


def spans(index: Expr, loops: Mapping[str, int], env: Mapping[str, int]) -> dict[str, int]:
    """How many places further an index is in the last iteration of each loop than where `env` is.

    Each loop by itself, so that their sum is exact for sums of terms of one variable. Loops that
    the index does not have are left out.
    """
    start = value_of(index, env)
    return {
        name: abs(value_of(index, {**env, name: env.get(name, 0) + loops[name] - 1}) - start)
        for name in (v.name for v in free_vars(index))
        if loops.get(name, 0) > 1
    }


def moving(indices: Sequence[Expr], loops: Collection[str], env: Mapping[str, int]) -> list[str]:
    """The loops whose next iteration is at another place."""
    had = {v.name for i in indices for v in free_vars(i)}
    found = [name for name in loops if name in had]
    if not found:
        return found
    start = [value_of(i, env) for i in indices]
    return [n for n in found if [value_of(i, {**env, n: 1}) for i in indices] != start]
