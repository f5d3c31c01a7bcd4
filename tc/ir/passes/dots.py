"""DOT loops become dot products of vectors.

    for k in dot(2):                                       acc[ramp(0, 1, 16)] = dot(
        acc[ramp(0, 1, 16)] = fma(                  =>         (a[m], a[m + 1] in every lane),
            broadcast(cast(a[m + k], f32), 16),                b[ramp(n, 1, 32)],
            cast(b[ramp(n + k, 2, 16)], f32), …)               acc[ramp(0, 1, 16)])

The elements of a lane must lie side by side, in one operand at least for every lane anew. A loop
for which that is not so is unrolled. bf16 against f32 becomes arithmetic on the halves of words:
no machine has an instruction for it. This pass must not ask what the target has.
"""

from __future__ import annotations

from dataclasses import dataclass

from tc.ir.affine import Poly, expr_of
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
from tc.ir.facts import plain_poly
from tc.ir.loop import For, Func, LoopKind, Stmt, Store
from tc.ir.types import F32, I32, DType
from tc.ir.visit import map_stmt, uses, with_body

WORD = 32  # bits of an operand that belong to one lane


@dataclass(frozen=True, slots=True)
class _Factor:
    """One side of the products: the element of iteration 0 in lane 0."""

    load: Load
    base: Expr
    lanes: int  # 1: the same in every lane

    @property
    def dtype(self) -> DType:
        return self.load.dtype

    def words(self, lanes: int) -> Expr:
        """The elements of each lane side by side."""
        group = WORD // self.dtype.bits
        wide = Load(self.load.buffer, (Ramp(self.base, Const(1), group * self.lanes),))
        if self.lanes == lanes:
            return wide
        return Bitcast(Broadcast(Bitcast(wide, I32), lanes), self.dtype)


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
            new = _dot(x, y, old) or _dot(y, x, old)
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
    if not isinstance(x, Load) or x.mask is not None:
        return None
    match x.indices[0]:
        case Ramp(base, Const(stride), width) if stride == count and width == lanes:
            return _based(x, base, var, lanes)
        case index if index.lanes == 1:
            return _based(x, index, var, 1)
    return None


def _based(x: Load, index: Expr, var: Var, lanes: int) -> _Factor | None:
    p: Poly = dict(plain_poly(index))
    if p.pop((var,), 0) != 1:
        return None
    base = expr_of(p)
    return None if uses(base, var) else _Factor(x, base, lanes)


def _dot(x: _Factor, y: _Factor, old: Load) -> Expr | None:
    """The sum as one expression; None where the factors are of other types."""
    lanes = old.lanes
    match x.dtype, y.dtype:
        case (DType.BF16, DType.BF16) | (DType.U8, DType.I8) if max(x.lanes, y.lanes) > 1:
            return Dot(x.words(lanes), y.words(lanes), old)
        case DType.F32, DType.BF16 if x.lanes == 1:
            # The lower half of a word is the first element; a bf16 is the upper half of an f32.
            words = Bitcast(y.words(lanes), I32)
            first = Bitcast(binary("shl", words, Broadcast(Const(16, I32), lanes)), F32)
            high = Broadcast(Const(-(1 << 16), I32), lanes)
            second = Bitcast(binary("and", words, high), F32)
            out: Expr = old
            for n, part in enumerate((first, second)):
                one = Load(x.load.buffer, (x.base + n,))
                out = Fma(Broadcast(one, lanes), part, out)
            return out
    return None
