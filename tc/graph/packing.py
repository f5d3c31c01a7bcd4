"""Computations that lay data out anew: packed parameters, and plain copies."""

from __future__ import annotations

from tc.graph.graph import Value
from tc.graph.group import Computation
from tc.ir.expr import Const, Expr, Read, Var, select
from tc.ir.tensor import Compute, Placeholder
from tc.ir.tensor_walk import bodies, topological
from tc.ir.visit import sub_exprs
from tc.schedule.pack import Packing, packed_shape


def pack_value(value: Value, p: Packing) -> tuple[Value, Computation]:
    """The value in blocks of `p.factor` along `p.dim`, innermost, zeros at the end."""
    source = Placeholder("in0", value.shape, value.dtype)
    shape = packed_shape(value.shape, p)
    axes = tuple(Var(f"i{n}_1") for n in range(len(shape)))
    inner = axes[len(value.shape)]
    index: list[Expr] = list(axes[1 : len(value.shape)])
    index.insert(p.dim, axes[0] * p.factor + inner)
    inside = index[p.dim] < value.shape[p.dim]
    name = f"{value.name}.packed{p.dim}x{p.factor}"
    if p.group > 1:
        index[p.along] = index[p.along] * p.group + axes[-1]
        inside = inside & (index[p.along] < value.shape[p.along])
        name += f".{p.along}x{p.group}"
    zero = Const(False if str(value.dtype) == "bool" else 0, value.dtype)
    body = select(inside, source[tuple(index)], zero)
    packed = Value(name, shape, value.dtype)
    return packed, Computation((source,), (Compute("packed", axes, shape, body),), frozenset())


def copy_of(value: Value) -> Computation:
    """The value again, in other memory."""
    source = Placeholder("in0", value.shape, value.dtype)
    axes = tuple(Var(f"i{n}_1") for n in range(len(value.shape)))
    copy = Compute("copy", axes, value.shape, source[axes])
    return Computation((source,), (copy,), frozenset())


def taken_dim(made: Computation, table: Placeholder) -> int | None:
    """The one dim of a constant at which `made` reads it only where data says, as a gather does.

    None: it is no constant, or read otherwise too.
    """
    if table.name not in made.constants:
        return None
    reads = [
        x
        for t in topological(made.outputs)
        for body in bodies(t)
        for x in sub_exprs(body)
        if isinstance(x, Read) and x.tensor.name == table.name
    ]
    dims = {
        tuple(d for d, i in enumerate(x.indices) if any(isinstance(y, Read) for y in sub_exprs(i)))
        for x in reads
    }
    return dims.pop()[0] if len(dims) == 1 and len(next(iter(dims))) == 1 else None
