"""The table of transcendental operators and the expansion of one expression.

This is the only entry that passes and tests need. `ULP` is the promise: the largest error of each
operator in units in the last place of the result, over the whole domain, denormals included; one
more for the f32 functions on targets that fuse nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import is_
from typing import Final

from tc.errors import UnsupportedError, describe
from tc.ir.expr import (
    Binary,
    Broadcast,
    Const,
    Expr,
    Let,
    Select,
    Unary,
    Var,
    cast,
)
from tc.ir.math import (
    error_function,
    exponential,
    inverse,
    logarithm,
    power,
    remainder,
    trigonometric,
)
from tc.ir.math.build import Builder, Fresh, share
from tc.ir.types import BF16, BOOL, F16, F32, F64, DType
from tc.ir.visit import children, with_children


def _rsqrt(b: Builder, x: Expr) -> Expr:
    return b.k(1.0) / Unary("sqrt", x)


def _sign(b: Builder, x: Expr) -> Expr:
    """-1, 0 or 1; 0 for NaN, as PyTorch."""
    zero = b.k(0.0)
    return b.select(zero < x, 1.0, b.select(x < zero, -1.0, zero))


_UNARY: Final[dict[str, Callable[[Builder, Expr], Expr]]] = {
    "exp": exponential.exp,
    "exp_nonpos": exponential.exp_nonpos,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "sigmoid": exponential.sigmoid,
    "tanh": exponential.tanh,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "log": logarithm.log,
    "log2": logarithm.log2,
    "log1p": logarithm.log1p,
    "asinh": logarithm.asinh,
    "acosh": logarithm.acosh,
    "atanh": logarithm.atanh,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "tan": trigonometric.tan,
    "asin": inverse.asin,
    "acos": inverse.acos,
    "atan": inverse.atan,
    "erf": error_function.erf,
    "erfc": error_function.erfc,
    "rsqrt": _rsqrt,
    "sign": _sign,
}
_BINARY: Final[dict[str, Callable[[Builder, Expr, Expr], Expr]]] = {
    "pow": power.pow,
    "atan2": inverse.atan2,
    "fmod": remainder.fmod,
}
EXPANDED: Final = frozenset(_UNARY) | frozenset(_BINARY)

# What a model's inner loops are made of stays in f32; the rest computes its f32 results in f64.
_IN_F32: Final = frozenset(
    ["exp", "exp_nonpos", "exp2", "sigmoid", "tanh", "erf", "log", "rsqrt", "sign"]
)

_ULP_ROWS: Final = {
    # operator: (f32, f64)
    "exp": (2.0, 2.0),
    "exp_nonpos": (5.0, 2.0),  # for x <= 0, 3 for x > -30; in f32 below 2^-126 it may be 0
    "exp2": (2.0, 2.0),
    "expm1": (0.6, 3.0),
    "sigmoid": (3.0, 3.0),
    "tanh": (5.0, 3.0),
    "sinh": (0.6, 3.0),
    "cosh": (0.6, 3.0),
    "log": (1.5, 1.0),
    "log2": (0.6, 1.5),
    "log1p": (0.6, 1.5),
    "asinh": (0.6, 3.0),
    "acosh": (0.6, 3.0),
    "atanh": (0.6, 3.0),
    "sin": (0.6, 1.0),
    "cos": (0.6, 1.0),
    "tan": (0.6, 3.0),
    "asin": (0.6, 2.5),
    "acos": (0.6, 2.0),
    "atan": (0.6, 2.0),
    "erf": (5.0, 2.0),
    "erfc": (0.6, 5.0),
    "rsqrt": (1.5, 1.5),
    "sign": (0.0, 0.0),
    "pow": (0.6, 3.0),
    "atan2": (0.6, 3.0),
    "fmod": (0.0, 0.0),
}
# f16 and bf16 are rounded once more from the f32 result: half an ulp of their own and a sliver.
# f64 sin, cos and tan hold it for |x| <= 2^27 (see `tc.ir.math.trigonometric`), fmod for
# quotients below 2^150, in f64 2^53 (see `tc.ir.math.remainder`).
ULP: Final[dict[tuple[str, DType], float]] = {
    (op, dtype): bound
    for op, (f32, f64) in _ULP_ROWS.items()
    for dtype, bound in ((F16, 0.51), (BF16, 0.51), (F32, f32), (F64, f64))
}


class Names:
    """Deterministic new names, `exp_n1`, `exp_n2`, …, that avoid the `taken` ones."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = frozenset(taken)
        self._count = 0

    def __call__(self, prefix: str) -> str:
        while True:
            self._count += 1
            name = f"{prefix}_n{self._count}"
            if name not in self._taken:
                return name


def expand_expr(x: Expr, fresh: Fresh, fused: bool = True) -> Expr:
    """`x` with every operator of `EXPANDED` replaced by arithmetic of the same meaning.

    Args:
        x: any expression, of scalars or vectors.
        fresh: gives a new name that starts with a prefix; called once for each `Let`.
        fused: see `Builder`.

    Raises:
        UnsupportedError: an operator on a type that has no such function (integers, except sign).
    """

    plain: set[int] = set()  # nodes without such an operator: what many share is looked at once

    def rewrite(x: Expr) -> Expr:
        kids = children(x)
        if not kids or id(x) in plain:
            return x
        new = tuple(map(rewrite, kids))
        match x:
            case Unary(op) if op in _UNARY:
                return _expand(op, new, fresh, fused)
            case Binary(op) if op in _BINARY:
                return _expand(op, new, fresh, fused)
        if all(map(is_, kids, new)):
            plain.add(id(x))
            return x
        return with_children(x, new)

    return rewrite(x)


def _expand(op: str, operands: tuple[Expr, ...], fresh: Fresh, fused: bool) -> Expr:
    dtype, lanes = operands[0].dtype, max(x.lanes for x in operands)
    if op == "sign" and not dtype.is_float:
        return _bind(op, operands, lanes, fresh, _integer_sign)
    if not dtype.is_float:
        raise UnsupportedError(
            describe(f"{op} of {dtype}", why="only floats have it", way_out="cast to a float")
        )
    result = F64 if dtype is F64 else F32
    inner = result if op in _IN_F32 else F64
    simple = _simple_power(op, operands)

    def formula(*values: Expr) -> Expr:
        if simple is not None:
            b = Builder(result, result, lanes, fused)
            return cast(simple(b, cast(values[0], result)), dtype)
        b = Builder(inner, result, lanes, fused)
        wide = [cast(cast(v, result), inner) for v in values]
        y = _UNARY[op](b, wide[0]) if op in _UNARY else _BINARY[op](b, wide[0], wide[1])
        return cast(cast(y, result), dtype)

    return _bind(op, operands, lanes, fresh, formula)


def _bind(
    op: str,
    operands: tuple[Expr, ...],
    lanes: int,
    fresh: Fresh,
    formula: Callable[..., Expr],
) -> Expr:
    """`formula` of the operands, each evaluated once."""
    spread = [x if x.lanes == lanes else Broadcast(x, lanes) for x in operands]
    names = [x if isinstance(x, (Var, Const)) else Var(fresh(op), x.dtype, x.lanes) for x in spread]
    body = share(formula(*names), fresh, op)
    for name, value in reversed(list(zip(names, spread, strict=True))):
        if name is not value and isinstance(name, Var):
            body = Let(name, value, body)
    return body


def _integer_sign(x: Expr) -> Expr:
    def k(value: int) -> Expr:
        c = Const(value, x.dtype)
        return Broadcast(c, x.lanes) if x.lanes > 1 else c

    if x.dtype is BOOL:
        return x
    return Select(k(0) < x, k(1), Select(x < k(0), k(-1), k(0)))


def _simple_power(op: str, operands: tuple[Expr, ...]) -> Callable[[Builder, Expr], Expr] | None:
    """x^y for the constant exponents that are a few multiplications or a square root."""
    if op != "pow":
        return None
    y = operands[1]
    if isinstance(y, Broadcast):
        y = y.x
    return _SIMPLE_POWERS.get(float(y.value)) if isinstance(y, Const) else None


_SIMPLE_POWERS: Final[dict[float, Callable[[Builder, Expr], Expr]]] = {
    1.0: lambda _, x: x,
    2.0: lambda _, x: x * x,
    3.0: lambda _, x: x * x * x,
    0.5: lambda _, x: Unary("sqrt", x),
    -0.5: _rsqrt,
    -1.0: lambda b, x: b.k(1.0) / x,
}
