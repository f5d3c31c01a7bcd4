"""Every buffer becomes one-dimensional, row-major.

    A[i, k]  =>  A[i * K + k]

An index with constant or symbolic stride between lanes stays a Ramp. This pass must not change
the memory that an access touches.
"""

from __future__ import annotations

from tc.ir.expr import Broadcast, Const, Expr, Load, Ramp, binary
from tc.ir.loop import Alloc, Buffer, Func, Prefetch, Stmt, Store
from tc.ir.passes.rewrite import Rewriter
from tc.ir.visit import map_stmt, rewrite_exprs


def flatten(func: Func) -> Func:
    """`func` with one-dimensional buffers."""
    flat: dict[Buffer, Buffer] = {}

    def buffer(b: Buffer) -> Buffer:
        if b not in flat:
            flat[b] = Buffer(b.name, (_size(b.shape),), b.dtype, b.scope, b.align)
        return flat[b]

    def load(x: Expr) -> Expr | None:
        if isinstance(x, Load):
            return Load(buffer(x.buffer), (flat_index(x.buffer, x.indices),), x.mask)
        return None

    def stmt(s: Stmt) -> Stmt | None:
        match s:
            case Store(b, indices, value, mask):
                return Store(buffer(b), (flat_index(b, indices),), value, mask)
            case Prefetch(b, indices, near):
                return Prefetch(buffer(b), (flat_index(b, indices),), near)
            case Alloc(b, body):
                return Alloc(buffer(b), body)
        return None

    body = map_stmt(rewrite_exprs(func.body, Rewriter(load)), None, stmt)
    return Func(func.name, tuple(map(buffer, func.params)), func.symbols, func.outputs, body)


def _size(shape: tuple[Expr, ...]) -> Expr:
    size: Expr = Const(1)
    for extent in shape:
        size = size * extent
    return size


def flat_index(buffer: Buffer, indices: tuple[Expr, ...]) -> Expr:
    """The index of an element in row-major order."""
    out: Expr = Const(0)
    stride: Expr = Const(1)
    for index, extent in zip(reversed(indices), reversed(buffer.shape), strict=True):
        out = _plus(_times(index, stride), out)
        stride = extent * stride
    return out


def _times(x: Expr, stride: Expr) -> Expr:
    if isinstance(x, Ramp):
        return Ramp(x.base * stride, x.stride * stride, x.width)
    if x.lanes > 1 and stride != Const(1):
        return binary("mul", x, Broadcast(stride, x.lanes))
    return x * stride


def _plus(a: Expr, b: Expr) -> Expr:
    if a.lanes < b.lanes:
        a, b = b, a
    match a, b:
        case Ramp(p, s, w), Ramp(q, t, _):
            return Ramp(p + q, s + t, w)
        case Ramp(p, s, w), _ if b.lanes == 1:
            return Ramp(p + b, s, w)
    if a.lanes > b.lanes:
        return a if b == Const(0) else binary("add", a, Broadcast(b, a.lanes))
    return binary("add", a, b)
