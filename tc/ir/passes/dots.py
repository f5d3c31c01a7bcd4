"""DOT loops become dot products of vectors.

    for k in dot(2):                                       acc[ramp(0, 1, 16)] = dot(
        acc[ramp(0, 1, 16)] = fma(                  =>         (a[m], a[m + 1] in every lane),
            broadcast(cast(a[m + k], f32), 16),                b[ramp(n, 1, 32)],
            cast(b[ramp(n + k, 2, 16)], f32), …)               acc[ramp(0, 1, 16)])

The elements of a lane must lie side by side, in one operand at least for every lane anew. A loop
for which that is not so is unrolled. A mask on the elements is put on the vectors. This pass must
not ask what the target has.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.ir.affine import Poly, expr_of, plain_poly
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Dot,
    Expr,
    Fma,
    Load,
    Ramp,
    Var,
    binary,
)
from tc.ir.loop import For, Func, LoopKind, Stmt, Store
from tc.ir.types import I32, DType
from tc.ir.visit import map_stmt, uses, with_body

WORD = 32  # bits of an operand that belong to one lane


@frozen
class _Factor:
    """One side of the products: the element of iteration 0 in lane 0."""

    load: Load
    base: Expr
    lanes: int  # 1: the same in every lane
    mask: int | None  # the bits of an element that count, where not all do

    @property
    def dtype(self) -> DType:
        return self.load.dtype

    def words(self, lanes: int) -> Expr:
        """The elements of each lane side by side."""
        group = WORD // self.dtype.bits
        wide = Load(self.load.buffer, (Ramp(self.base, Const(1), group * self.lanes),))
        out: Expr = wide
        if self.lanes != lanes:
            out = Bitcast(Broadcast(Bitcast(wide, I32), lanes), self.dtype)
        if self.mask is None:
            return out
        return binary("and", out, Broadcast(Const(self.mask, self.dtype), out.lanes))


def unmasked(x: Expr) -> Expr:
    """An operand of a product before its conversions, and the mask below them."""
    while isinstance(x, Cast | Broadcast):
        x = x.x
    masked = _masked(x)
    return x if masked is None else masked[0]


def _masked(x: Expr) -> tuple[Expr, int] | None:
    """Elements and the constant that masks each of them."""
    match x:
        case Binary("and", y, Const(mask) | Broadcast(Const(mask))) if isinstance(y, Load):
            return y, int(mask)
        case Binary("and", Broadcast(Load() as y), Broadcast(Const(mask))):
            return y, int(mask)
    return None


def dots(func: Func) -> Func:
    """Replace every DOT loop of `func`, whose buffers are flat."""

    def stmt(s: Stmt) -> Stmt | None:
        if not isinstance(s, For) or s.kind is not LoopKind.DOT:
            return None
        return _together(s) or For(s.var, s.extent, LoopKind.UNROLLED, s.body)

    return with_body(func, map_stmt(func.body, None, stmt))


def _together(s: For) -> Stmt | None:
    match s.body, s.extent:
        case Store(buffer, (at,), value, None), Const(count) if at.lanes > 1:
            old = Load(buffer, (at,))
            found = _factors(value, old)
            if found is None or uses(at, s.var):
                return None
            sides = [_factor(x, s.var, int(count), at.lanes) for x in found]
            x, y = sides
            if x is None or y is None:
                return None
            new = _dot(x, y, old)
            if new is None:
                new = _dot(y, x, old)
            return None if new is None else Store(buffer, (at,), new, None)
    return None


def _factors(value: Expr, old: Load) -> tuple[Expr, Expr] | None:
    match value:
        case Fma(a, b, c) if c == old:
            return a, b
        case Binary("add", c, Binary("mul", a, b)) if c == old:
            return a, b
    return None


def _factor(x: Expr, var: Var, count: int, lanes: int) -> _Factor | None:
    """The factor, if its elements of all iterations and lanes lie side by side."""
    while isinstance(x, Cast | Broadcast):
        x = x.x
    masked = _masked(x)
    mask = None
    if masked is not None:
        x, mask = masked
    if not isinstance(x, Load) or x.mask is not None:
        return None
    match x.indices[0]:
        case Ramp(base, Const(stride), width) if stride == count and width == lanes:
            return _based(x, base, var, lanes, mask)
        case index if index.lanes == 1:
            return _based(x, index, var, 1, mask)
    return None


def _based(x: Load, index: Expr, var: Var, lanes: int, mask: int | None) -> _Factor | None:
    p: Poly = dict(plain_poly(index))
    if p.pop((var,), 0) != 1:
        return None
    base = expr_of(p)
    return None if uses(base, var) else _Factor(x, base, lanes, mask)


def _dot(x: _Factor, y: _Factor, old: Load) -> Expr | None:
    """The sum as one expression; None where the factors are of other types."""
    lanes = old.lanes
    match x.dtype, y.dtype:
        case (DType.BF16, DType.BF16) | (DType.U8, DType.I8) if max(x.lanes, y.lanes) > 1:
            return Dot(x.words(lanes), y.words(lanes), old)
    return None
