"""Choice, conversion, names and vectors; loads from buffers.

Import from `tc.ir.expr`, which has these nodes beside all others.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.ir.arith import Const, Expr, ExprLike, Var, binary, wrap
from tc.ir.buffer import Buffer
from tc.ir.remembered import answers, remembers
from tc.ir.types import BOOL, DType


@remembers
@frozen
class Fma(Expr):
    """a * b + c, rounded once."""

    a: Expr
    b: Expr
    c: Expr

    @property
    def dtype(self) -> DType:
        return self.c.dtype

    @property
    def lanes(self) -> int:
        return max(self.a.lanes, self.b.lanes, self.c.lanes)


@remembers
@frozen
class Select(Expr):
    """`then` where `cond`, else `other`; loads of the side not taken touch no memory."""

    cond: Expr
    then: Expr
    other: Expr

    @property
    def dtype(self) -> DType:
        return self.then.dtype

    @property
    def lanes(self) -> int:
        return max(self.cond.lanes, self.then.lanes, self.other.lanes)


@answers(dtype="type")
@remembers
@frozen
class Cast(Expr):
    """Value conversion: floats to integers truncate, to bool compare with zero."""

    x: Expr
    type: DType

    @property
    def dtype(self) -> DType:
        return self.type

    @property
    def lanes(self) -> int:
        return self.x.lanes


@answers(dtype="type")
@remembers
@frozen
class Bitcast(Expr):
    """The same bits as another type; one of another size has more or fewer lanes, in all as long.

    The first of the lanes that lie in one larger element are its lowest bits.
    """

    x: Expr
    type: DType

    @property
    def dtype(self) -> DType:
        return self.type

    @property
    def lanes(self) -> int:
        return max(1, self.x.lanes * self.x.dtype.bits // self.type.bits)


@remembers
@frozen
class Dot(Expr):
    """c + Σ a * b over the lanes of a and b that belong to each lane of c: 32 bits of each.

    Two bf16 by two bf16 on an f32, or four u8 by four i8 on an i32. In which order f32 sums are
    rounded is the target's; integers are exact.
    """

    a: Expr
    b: Expr
    c: Expr

    @property
    def dtype(self) -> DType:
        return self.c.dtype

    @property
    def lanes(self) -> int:
        return self.c.lanes


@remembers
@frozen
class Let(Expr):
    """`body` with `var` standing for `value`, which is evaluated once."""

    var: Var
    value: Expr
    body: Expr

    @property
    def dtype(self) -> DType:
        return self.body.dtype

    @property
    def lanes(self) -> int:
        return self.body.lanes


@answers(lanes="width")
@remembers
@frozen
class Ramp(Expr):
    """The vector base, base + stride, … of `width` lanes."""

    base: Expr
    stride: Expr
    width: int

    @property
    def dtype(self) -> DType:
        return self.base.dtype

    @property
    def lanes(self) -> int:
        return self.width


@answers(lanes="width")
@remembers
@frozen
class Broadcast(Expr):
    """A scalar repeated in `width` lanes."""

    x: Expr
    width: int

    @property
    def dtype(self) -> DType:
        return self.x.dtype

    @property
    def lanes(self) -> int:
        return self.width


@answers(lanes=1)
@remembers
@frozen
class LaneReduce(Expr):
    """All lanes of a vector folded with add, mul, min, max, and, or: a balanced tree."""

    op: str
    x: Expr

    @property
    def dtype(self) -> DType:
        return self.x.dtype


@remembers
@frozen
class Load(Expr):
    """An element of a buffer of the loop IR; where `mask` is false nothing is read, giving 0.

    A vector comes from indices with lanes. Indices are in elements, one for each dim.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    mask: Expr | None = None

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @property
    def lanes(self) -> int:
        return max((i.lanes for i in self.indices), default=1)


def cast(x: ExprLike, dtype: DType) -> Expr:
    """`x` converted to `dtype`; nothing is added where it has that type already."""
    x = wrap(x)
    if x.dtype is dtype:
        return x
    if isinstance(x, Const) and x.type is not BOOL and x.type.is_int and dtype.is_float:
        return Const(float(x.value), dtype)
    return Cast(x, dtype)


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("min", a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("max", a, b)


def equal(a: ExprLike, b: ExprLike) -> Expr:
    """a == b as an expression (`==` itself is structural equality of nodes)."""
    return binary("eq", a, b)


def select(cond: Expr, then: ExprLike, other: ExprLike) -> Expr:
    """`then if cond else other`; a constant condition folds."""
    then = wrap(then, other if isinstance(other, Expr) else None)
    other = wrap(other, then)
    if isinstance(cond, Const):
        return then if cond.value else other
    return Select(cond, then, other)
