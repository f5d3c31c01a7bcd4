"""What kind of workload a group of tensors is, read from the expressions alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tc.frozen import frozen
from tc.ir.expr import Binary, Cast, Const, Expr, Read, Reduce, Var
from tc.ir.simplify import simplify
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import bodies, topological
from tc.ir.visit import sub_exprs, substitute, uses

NARROWEST = 4  # columns side by side that are worth a vector of their own
MANY = 32  # rows and columns of a product for which a matrix is transposed


@frozen
class Product:
    """A sum of products: out[axes] = Σ over `reduce` of a * b, with whatever is done to it.

    `rows`, `columns` and `batch` are the axes that occur in a alone, in b alone, in both. With a
    `span`, so many columns side by side meet the same part of a: a group of channels does.
    """

    reduce: Reduce
    a: Read
    b: Read
    batch: tuple[Var, ...]
    rows: tuple[Var, ...]
    columns: tuple[Var, ...]
    span: int | None = None


def computed(outputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Everything but the inputs, operands first."""
    return [t for t in topological(outputs) if not isinstance(t, Placeholder)]


def reductions(t: Tensor) -> list[Reduce]:
    """The different reductions in the expressions of a tensor."""
    found = (x for b in bodies(t) for x in sub_exprs(b) if isinstance(x, Reduce))
    return list(dict.fromkeys(found))


def is_pointwise(tensors: list[Tensor]) -> bool:
    """No reduction, scan or scatter anywhere."""
    return all(isinstance(t, Compute) and not reductions(t) for t in tensors)


def is_irregular(tensors: list[Tensor]) -> bool:
    return any(isinstance(t, Scan | Scatter) for t in tensors)


def products_of(t: Tensor) -> Iterator[Product]:
    """The ways to take `t` for a sum of products; first where columns are its last axis.

    One operand alone has the axis of the columns, or the other has the part of it that counts
    groups.
    """
    found = reductions(t)
    if not isinstance(t, Compute) or len(found) != 1 or found[0].monoid.name != "sum":
        return
    sides = factors_of(found[0].values[0])
    if sides is None or not any(_has(sides[0], k) and _has(sides[1], k) for k in found[0].axes):
        return
    ways = []
    for a, b in (sides, sides[::-1]):
        own = [v for v in t.axes if _has(b, v) and not _has(a, v)]
        shared = [
            v
            for v, size in zip(t.axes, t.shape, strict=True)
            if v in b.indices and (span := _span(a, v)) and simplify(size % span) == Const(0)
        ]
        if len(own or shared) == 1:
            ways.append((a, b, (own or shared)[0]))
    for a, b, column in sorted(ways, key=lambda way: way[2] != t.axes[-1]):
        product = classified(t, found[0], a, b, (column,), _span(a, column))
        if product is not None:
            yield product


def classified(
    t: Compute, r: Reduce, a: Read, b: Read, columns: tuple[Var, ...], span: int | None = None
) -> Product | None:
    """The product with its axes told apart."""
    others = [v for v in t.axes if v not in columns]
    batch = tuple(v for v in others if _has(a, v) and _has(b, v))
    rows = tuple(v for v in others if _has(a, v) and not _has(b, v))
    if len(batch) + len(rows) + len(columns) != len(t.axes):
        return None
    return Product(r, a, b, batch, rows, columns, span)


def _span(r: Read, v: Var) -> int | None:
    """How many values of `v` side by side read the same, where that is all it is read by."""
    found = [x for i in r.indices for x in sub_exprs(i)]
    parts = [x for x in found if isinstance(x, Binary) and x.op == "floordiv" and x.a == v]
    (part, *others) = dict.fromkeys(parts) or (None,)
    if part is None or others or found.count(v) != len(parts) or not isinstance(part.b, Const):
        return None
    return int(part.b.value)


def shared_axis(p: Product) -> Var | None:
    """The summed axis along which a is read in windows whose neighbours share elements.

    Those of a convolution do, if its stride is less than its kernel.
    """
    last = p.a.indices[-1]
    rows = [v for v in p.rows if uses(last, v)]
    sums = [(k, n) for k, n in zip(p.reduce.axes, p.reduce.extents, strict=True) if uses(last, k)]
    if len(rows) != 1 or len(sums) != 1:
        return None
    (row,), ((k, extent),) = rows, sums
    step, reach = (simplify(substitute(last, {v: v + 1}) - last) for v in (row, k))
    if not (isinstance(step, Const) and isinstance(reach, Const) and isinstance(extent, Const)):
        return None
    shared = 0 < step.value < reach.value * extent.value and extent.value > 1
    return k if shared else None


def slides(p: Product, row: Var) -> bool:
    """Whether a's windows move along the axis `row`: lines of an image do, its images do not."""
    return any(uses(i, row) and any(uses(i, k) for k in p.reduce.axes) for i in p.a.indices)


def elements_beside(p: Product) -> int | None:
    """How many elements of a one more row brings, if rows lie side by side; else None.

    Rows do in images that are stored channel by channel.
    """
    last = p.a.indices[-1]
    rows = [v for v in p.rows if uses(last, v)]
    if len(rows) != 1:
        return None
    step = simplify(substitute(last, {rows[0]: rows[0] + 1}) - last)
    apart = [n for k, n in zip(p.reduce.axes, p.reduce.extents, strict=True) if not uses(last, k)]
    if not isinstance(step, Const) or not all(isinstance(n, Const) for n in apart):
        return None
    return abs(int(step.value)) * math.prod(int(n.value) for n in apart if isinstance(n, Const))


def streams(t: Tensor, p: Product, constants: frozenset[str]) -> bool:
    """Whether the columns of b can be read side by side: packed, contiguous or transposed."""
    if p.b.tensor.name in constants:
        return p.columns[0] in p.b.indices and (p.span or 0) % NARROWEST == 0
    if p.span is not None:
        return False
    if p.b.indices[-1] == p.columns[0]:
        return True
    apart = len(p.b.indices) > 1 and p.b.indices[-2] == p.columns[0]
    return apart and (bool(p.batch) or _size_of(t, p.rows) >= MANY <= _size_of(t, p.columns))


def _size_of(t: Tensor, axes: tuple[Var, ...]) -> float:
    """How many elements there are along some axes of `t`; infinity where that is not known."""
    assert isinstance(t, Compute)
    sizes = (n for v, n in zip(t.axes, t.shape, strict=True) if v in axes)
    return math.prod(n.value if isinstance(n, Const) else math.inf for n in sizes)


def factors_of(x: Expr) -> tuple[Read, Read] | None:
    """The two operands of a product, conversions and masks aside."""
    if isinstance(x, Binary) and x.op == "mul":
        a, b = _plain(x.a), _plain(x.b)
        if isinstance(a, Read) and isinstance(b, Read):
            return a, b
    return None


def _plain(x: Expr) -> Expr:
    while isinstance(x, Cast):
        x = x.x
    match x:
        case Binary("and", y, Const()):
            return y
    return x


def _has(r: Read, v: Var) -> bool:
    return any(uses(i, v) for i in r.indices)


def reads_in(x: Expr) -> Iterator[Read]:
    return (n for n in sub_exprs(x) if isinstance(n, Read))


def is_column_reduction(t: Tensor) -> bool:
    """Whether `t` reduces while its last axis runs through memory: sums of columns, of windows."""
    if not isinstance(t, Compute) or not t.axes:
        return False
    found = reductions(t)
    if len(found) != 1:
        return False
    last = t.axes[-1]
    own = [r for v in found[0].values for r in reads_in(v) if _has(r, last)]
    return any(r.indices[-1] == last for r in own) or (
        bool(own) and all(_runs_along(r, last) for r in own)
    )


def _runs_along(r: Read, v: Var) -> bool:
    """Whether reads for values of `v` that follow each other lie side by side, or evenly apart."""
    *outer, last = r.indices
    if any(uses(i, v) for i in outer):
        return False
    step = simplify(substitute(last, {v: v + 1}) - last)
    return isinstance(step, Const) and step.value > 0
