"""Floats that a model's Python makes of sizes, such as `1 / n` or `n ** 0.5`.

torch keeps one as a sympy expression over the symbols of sizes; here it becomes a `tc.ir`
expression in f64, as Python computes it. This module must not look at graphs, nor at sizes that
are integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tc.errors import describe
from tc.frontend.captured import GraphError
from tc.graph.graph import Arg
from tc.ir.expr import Const, Expr, binary, cast, maximum, minimum, unary
from tc.ir.types import F64

_OPAQUE: Final = "OpaqueUnaryFn_"
_FUNCTIONS: Final = frozenset(("sqrt", "exp", "log", "sin", "cos", "tan", "tanh", "log2"))
_DIVISIONS: Final = frozenset(("FloatTrueDiv", "IntTrueDiv"))
_POWERS: Final = frozenset(("FloatPow", "Pow", "PowByNatural"))


def float_of(expression: Any, size: Callable[[Any], Expr]) -> Expr:
    """The expression of a float; `size` gives those of the integers in it.

    Raises:
        GraphError: a function of sizes that is not known here.
    """
    if expression.is_Number:
        return Const(float(expression), F64)
    if expression.is_integer:
        return cast(size(expression), F64)
    parts = [float_of(part, size) for part in expression.args]
    found = _apply(expression.func.__name__, parts)
    if found is None:
        raise GraphError(
            describe(
                f"float {expression}",
                why=f"{expression.func.__name__} of sizes",
                way_out="run the model eagerly",
            )
        )
    return found


def has_float(arg: Arg) -> bool:
    """Whether such a float is among an operator's arguments."""
    if isinstance(arg, tuple):
        return any(has_float(part) for part in arg)
    return isinstance(arg, Expr) and arg.dtype.is_float


def _apply(name: str, parts: list[Expr]) -> Expr | None:
    match name, parts:
        case "ToFloat", [x]:
            return x
        case "Abs", [x]:
            return unary("abs", x)
        case _, [a, b] if name in _DIVISIONS:
            return a / b
        case _, [a, b] if name in _POWERS:
            return _power(a, b)
        case _, [x] if name.removeprefix(_OPAQUE) in _FUNCTIONS:
            return unary(name.removeprefix(_OPAQUE), x)
        case "Add", [first, *rest]:
            for part in rest:
                first = first + part
            return first
        case "Mul", [first, *rest]:
            for part in rest:
                first = first * part
            return first
        case (("Max" | "Min"), [first, *rest]):
            for part in rest:
                first = maximum(first, part) if name == "Max" else minimum(first, part)
            return first
    return None


def _power(base: Expr, exponent: Expr) -> Expr:
    """Roots and quotients by what rounds once."""
    match exponent:
        case Const(value=0.5):
            return unary("sqrt", base)
        case Const(value=-0.5):
            return 1.0 / unary("sqrt", base)
        case Const(value=-1.0):
            return 1.0 / base
    return binary("pow", base, exponent)
