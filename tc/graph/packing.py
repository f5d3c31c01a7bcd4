"""Computations that lay data out anew: packed parameters, and plain copies."""

from __future__ import annotations

from tc.graph.graph import Value
from tc.graph.group import Computation
from tc.ir.expr import Const, Expr, Var, select
from tc.ir.tensor import Compute, Placeholder
from tc.schedule.pack import Packing, packed_shape


def pack_value(value: Value, p: Packing) -> tuple[Value, Computation]:
    """The value in blocks of `p.factor` along `p.dim`, innermost, zeros at the end."""
    source = Placeholder("in0", value.shape, value.dtype)
    shape = packed_shape(value.shape, p)
    axes = tuple(Var(f"i{n}_1") for n in range(len(shape)))
    at = axes[0] * p.factor + axes[-1]
    index: list[Expr] = list(axes[1:-1])
    index.insert(p.dim, at)
    zero = Const(False if str(value.dtype) == "bool" else 0, value.dtype)
    body = select(at < value.shape[p.dim], source[tuple(index)], zero)
    packed = Value(f"{value.name}.packed{p.dim}x{p.factor}", shape, value.dtype)
    return packed, Computation((source,), (Compute("packed", axes, shape, body),), frozenset())


def copy_of(value: Value) -> Computation:
    """The value again, in other memory."""
    source = Placeholder("in0", value.shape, value.dtype)
    axes = tuple(Var(f"i{n}_1") for n in range(len(value.shape)))
    copy = Compute("copy", axes, value.shape, source[axes])
    return Computation((source,), (copy,), frozenset())
