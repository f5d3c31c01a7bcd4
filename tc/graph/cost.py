"""How much work a computation is: floating-point operations, and bytes that must move at least.

Counted on the tensor expressions, so that no schedule changes it. A product of a sum and its
addition count as two operations, any function as one. Integers of 32 bits count as numbers too,
since products of quantised ones are summed in them; longer ones are indices.
"""

from __future__ import annotations

from tc.graph.group import Computation
from tc.ir.expr import Binary, Cast, Const, Expr, Fma, Read, Reduce, Unary
from tc.ir.tensor import Placeholder, Scatter, Tensor
from tc.ir.tensor_walk import bodies, reads, topological
from tc.ir.types import I32, DType
from tc.ir.visit import children, sub_exprs
from tc.ops.dims import product, smaller, tidy


def flops(made: Computation) -> Expr:
    """Floating-point operations of one call, over its symbols."""
    total: Expr = Const(0)
    for t in topological(made.outputs):
        if not isinstance(t, Placeholder):
            extents = t.extents if isinstance(t, Scatter) else t.shape
            each: Expr = Const(0)
            for body in bodies(t):
                each = each + _operations(body)
            total = total + product(extents) * each
    return tidy(total)


def moved_bytes(made: Computation) -> Expr:
    """Bytes of the operands and results of one call; of a table, only what is looked up."""
    order = topological(made.outputs)
    total: Expr = Const(0)
    in_place = [t for t in made.outputs if isinstance(t, Scatter) and t.in_place]
    for p in made.inputs:
        if any(t.base.name == p.name for t in in_place):
            continue
        size = product(p.shape)
        looked_up = [product(t.shape) for t in order if _looks_up(t, p)]
        if looked_up:
            size = smaller(size, looked_up[0])
        total = total + size * p.dtype.bytes
    for t in made.outputs:
        written = t.extents if isinstance(t, Scatter) and t.in_place else t.shape
        total = total + product(written) * t.dtype.bytes
    return tidy(total)


def _operations(x: Expr) -> Expr:
    if isinstance(x, Reduce):
        # Weights of an online softmax are shared by all that they weigh: a product and a sum each.
        states = 2 if x.monoid.name == "online_softmax" else len(x.monoid.left)
        inner: Expr = Const(states if _counts(x.dtype) else 0)
        for v in x.values:
            inner = inner + _operations(v)
        return product(x.extents) * inner + _operations(x.result)
    if isinstance(x, Read):
        return Const(0)
    own = 0
    if isinstance(x, Binary | Unary | Fma) and _counts(x.dtype):
        own = 2 if isinstance(x, Fma) else 1
    total: Expr = Const(own)
    for kid in children(x):
        total = total + _operations(kid)
    return total


def _counts(dtype: DType) -> bool:
    return dtype.is_float or dtype is I32


def factors(made: Computation) -> str:
    """Element types of the factors whose products are summed, "f32*bf16"; "" for no such sum."""
    for t in topological(made.outputs):
        for x in (n for body in bodies(t) for n in sub_exprs(body)):
            if isinstance(x, Reduce) and x.monoid.name == "sum":
                match x.values[0]:
                    case Binary("mul", a, b) if a != b:
                        sides = [_stored(a), _stored(b)]
                        if all(sides):
                            return "*".join(map(str, sides))
    return ""


def _stored(x: Expr) -> DType | None:
    """The element type of an operand that is read, before it is converted."""
    while isinstance(x, Cast):
        x = x.x
    return x.tensor.dtype if isinstance(x, Read) else None


def _looks_up(t: Tensor, p: Placeholder) -> bool:
    """Whether `t` reads `p` at places that are data."""
    return any(
        r.tensor.name == p.name
        and any(isinstance(n, Read) for i in r.indices for n in sub_exprs(i))
        for r in reads(t)
    )
