"""Arithmetic of shapes: dims that are numbers or expressions over symbols, and axes of a rank.

Everything here is about integers that are known when a kernel is built; no data is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from tc.errors import CompileError
from tc.ir.affine import Poly, divide, expr_of, number, poly_of, sub
from tc.ir.expr import Const, Expr, ExprLike, cast, maximum, minimum, select, wrap
from tc.ir.interval import bounds
from tc.ir.tensor import Shape, Tensor
from tc.ir.types import F32, DType

Dim: TypeAlias = Expr | int

ONE = Const(1)
ZERO = Const(0)


def poly(x: ExprLike) -> Poly:
    """The polynomial of a dim."""
    return poly_of(wrap(x), lambda atom: atom)


def tidy(x: ExprLike) -> Expr:
    """A dim in its normal form: equal dims become equal expressions."""
    x = wrap(x)
    return x if isinstance(x, Const) else expr_of(poly(x))


def known(x: ExprLike) -> int | None:
    """The value of a dim that is a number, or the only one within its bounds."""
    value = number(poly(x))
    return bounds(wrap(x)).value if value is None else value


def fixed(x: ExprLike, thing: str) -> int:
    """The value of a dim that must be a number; CompileError says that `thing` is symbolic."""
    value = known(x)
    if value is None:
        raise CompileError(f"{thing}: must be a number, is {wrap(x)}; give it a fixed size")
    return value


def same(a: ExprLike, b: ExprLike) -> bool:
    """Whether two dims are provably equal."""
    return not sub(poly(a), poly(b))


def at_least(a: ExprLike, b: ExprLike) -> bool:
    """Whether a >= b for all sizes that the symbols allow, as far as intervals can tell."""
    low = bounds(expr_of(sub(poly(a), poly(b)))).lo
    return low is not None and low >= 0


def smaller(a: ExprLike, b: ExprLike) -> Expr:
    """min(a, b), without the min where it is known which."""
    if at_least(b, a):
        return tidy(a)
    return tidy(b) if at_least(a, b) else minimum(tidy(a), tidy(b))


def larger(a: ExprLike, b: ExprLike) -> Expr:
    """max(a, b), without the max where it is known which."""
    if at_least(a, b):
        return tidy(a)
    return tidy(b) if at_least(b, a) else maximum(tidy(a), tidy(b))


def quotient(a: ExprLike, b: ExprLike) -> Expr:
    """a // b, exact factors cancelled."""
    whole, rest = divide(poly(a), poly(b))
    if not rest:
        return expr_of(whole)
    value, by = known(a), known(b)
    if value is not None and by is not None:
        return Const(value // by)
    return expr_of(whole) + expr_of(rest) // tidy(b) if by is not None else tidy(a) // tidy(b)


def ceil_div(a: ExprLike, b: int) -> Expr:
    """The least integer that is not below a / b."""
    return quotient(tidy(a) + (b - 1), b)


def product(dims: Sequence[ExprLike]) -> Expr:
    """The number of elements of a shape."""
    out: Expr = ONE
    for d in dims:
        out = out * wrap(d)
    return tidy(out)


def shape_of(dims: Sequence[Dim]) -> Shape:
    """Dims in normal form."""
    return tuple(tidy(d) for d in dims)


def axis_of(dim: int, rank: int, op: str) -> int:
    """A dim number that may be negative as one from 0; CompileError where there is none such.

    A scalar has the dims 0 and -1, as in PyTorch.
    """
    span = max(rank, 1)
    if not -span <= dim < span:
        raise CompileError(f"{op}: dim {dim} of a tensor with {rank} dims; give one below {span}")
    return dim % span


def axes_of(dims: Sequence[int] | int | None, rank: int, op: str) -> tuple[int, ...]:
    """The dims of a reduction, ascending; None and the empty list mean all."""
    if dims is None or dims == () or dims == []:
        return tuple(range(rank))
    given = (dims,) if isinstance(dims, int) else dims
    found = sorted({axis_of(d, rank, op) for d in given})
    if len(found) != len(given):
        raise CompileError(f"{op}: dims {tuple(given)} name one dim twice")
    return tuple(a for a in found if a < rank)


def broadcast(op: str, *shapes: Shape) -> Shape:
    """The shape that all operands stretch to; CompileError where two sizes disagree.

    Two sizes that nobody can compare now are taken to be equal.
    """
    rank = max((len(s) for s in shapes), default=0)
    out: list[Expr] = []
    for place in range(-rank, 0):
        size: Expr = ONE
        for s in shapes:
            if len(s) >= -place:
                size = _join(size, s[place], op)
        out.append(size)
    return tuple(out)


def _join(a: Expr, b: Expr, op: str) -> Expr:
    x, y = known(a), known(b)
    if x == 1 or same(a, b):
        return b
    if y == 1:
        return a
    if x is not None and y is not None:
        raise CompileError(f"{op}: sizes {x} and {y} do not broadcast; make them equal or 1")
    return b if x is None and y is not None else a


def stretched(t: Tensor, shape: Shape, index: Sequence[Expr]) -> Expr:
    """The element of `t` that stands at `index` of the broadcast `shape`."""
    skip = len(shape) - t.rank
    places = []
    for n, size in enumerate(t.shape):
        repeats = known(size) == 1 and known(shape[skip + n]) != 1
        places.append(ZERO if repeats else index[skip + n])
    return t[tuple(places)]


def clamp_place(place: Dim, size: Expr) -> Expr:
    """A slice bound as Python reads it: negative from the end, then held within [0, size]."""
    if isinstance(place, int):
        if place >= 0:
            return size if place >= (1 << 62) else smaller(place, size)
        return larger(size + place, 0)
    low = bounds(place).lo
    if low is None or low < 0:
        place = select(place < 0, larger(size + place, 0), place)
        return minimum(place, size)
    return smaller(place, size)


def size_as(size: ExprLike, dtype: DType = F32) -> Expr:
    """A dim as a float, for means and the like."""
    return cast(tidy(size), dtype)


def sqrt_of(size: ExprLike) -> float | None:
    """The square root of a dim that is a number."""
    value = known(size)
    return None if value is None else math.sqrt(value)
