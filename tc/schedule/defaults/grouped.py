"""The default schedule of products in groups: integer sums of each group, then their real sum.

As that of contractions, but a tile has two accumulators for each of its elements, so it is
smaller: that of a group stays in registers, the other one is touched once in a group.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.ir.expr import Const, Reduce
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.ir.tensor_walk import bodies
from tc.ir.visit import sub_exprs
from tc.schedule.defaults.blocking import stream
from tc.schedule.defaults.contraction import has_long_epilogue, neighbours
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.shape import Product, classified, factors_of, reads_in, reductions
from tc.schedule.defaults.tiles import Tile
from tc.schedule.tensorize import dot_length

ROWS, VECTORS = 6, 2
WORDS = 4  # of a register of a row, each of which is a factor by its lane
VECTORS_BY_LANES = 3  # the more, the less what is done once for each row weighs
BESIDE = 4  # registers beside sums and weights: a row's operand, a product, two constants


@frozen
class Grouped:
    """Σ over `outer` of what is made of the sum `product` over one group."""

    outer: Reduce
    product: Product


def grouped_of(t: Tensor, constants: frozenset[str]) -> Grouped | None:
    """The sums, if `t` is made so and the weights are constant."""
    found = reductions(t)
    if not isinstance(t, Compute) or len(found) != 2:
        return None
    outer, inner = sorted(found, key=lambda r: inner_sums(r), reverse=True)
    sides = factors_of(inner.values[0])
    if inner_sums(outer) != 1 or sides is None or len(outer.axes) != 1 or len(inner.axes) != 1:
        return None
    if any(r.monoid.name != "sum" for r in found) or any(e == Const(1) for e in t.shape[-1:]):
        return None
    p = classified(t, inner, *sides, t.axes[-1:])
    if p is None or p.batch or p.b.tensor.name not in constants:
        return None
    return Grouped(outer, p) if p.b.indices == (t.axes[-1], *outer.axes, *inner.axes) else None


def inner_sums(r: Reduce) -> int:
    return sum(isinstance(x, Reduce) for v in r.values for x in sub_exprs(v))


def schedule_grouped(plan: Plan, t: Compute, grouped: Grouped, constants: frozenset[str]) -> None:
    """Add the steps for `t`."""
    p = grouped.product
    (column,), (g,) = plan.loops_of(t, p.columns), plan.loops_of(t, grouped.outer.axes)
    k = plan.loop_of(t, p.reduce.axes[0])
    apart, near = neighbours(t, p)
    batch, rows = plan.loops_of(t, apart), plan.loops_of(t, near)
    sums = [f"{plan.buffer_of(t)}_acc", f"{plan.buffer_of(t)}_acc_1"]
    if has_long_epilogue(t):
        plan.do("stage", sums[0])
    plan.do("reorder", *batch, *rows, column)
    row = plan.fuse_all(rows, "m") if rows else None
    rows_at_once = 1 if row is None else longest(plan.extent(row))
    tile = _pick(plan, rows_at_once, _tile(plan, rows_at_once))
    if row is not None:
        plan.do("split", row, tile.mr, tail="balanced")
    loop = plan.loop(k)
    group = dot_length(loop.body) if loop is not None else None
    if group is not None:
        plan.do("split", k, group)
    words = group is not None and by_lanes(plan) and (fixed(plan.extent(k + "0")) or 0) >= WORDS
    if words:
        plan.do("split", k + "0", WORDS)
    plan.do("split", column, tile.nr, tail="guard")
    tiles = [column + "0", *([] if row is None else [row + "0"])]
    inside = [*([] if row is None else [row + "1"]), column + "1"]
    steps = [g, *([k + "00", k + "01"] if words else [k + "0" if group is not None else k])]
    tiles, steps, inside = ([n for n in names if plan.has(n)] for names in (tiles, steps, inside))
    plan.do("reorder", *batch, *tiles, *steps, *inside)
    _lay_out(plan, t, p, constants, tile.nr, group)
    plan.do("relax")
    if group is not None:
        plan.do("tensorize", k + "1")
    plan.do("vectorize", column + "1", tile.lanes)
    for name in [*reversed(inside), *([k + "01"] if words else [])]:
        for acc in sums:
            if plan.has(name):
                plan.do("unroll", name, touching=acc)
    stream(plan, p, row, column, [n for n in steps if n != k + "01"])
    plan.divide([*batch, *tiles])


def _tile(plan: Plan, rows: int | None) -> Tile:
    lanes = plan.lanes(32)
    if rows == 1:
        return Tile(1, 2 * VECTORS, lanes)
    vectors = VECTORS_BY_LANES if by_lanes(plan) else VECTORS
    most = min(ROWS, (plan.target.vector_registers - vectors - BESIDE) // vectors)
    return Tile(most if rows is None else min(most, max(rows, 1)), vectors, lanes)


def by_lanes(plan: Plan) -> bool:
    """Whether an instruction multiplies by the bytes of one lane: rows are then loaded whole."""
    target = plan.target
    return target.has("neon") and (target.has("dotprod") or target.has("i8mm"))


def _pick(plan: Plan, rows: int | None, own: Tile) -> Tile:
    """`own`, or another tile for whose sums there are registers."""
    vectors = plan.pick("vectors", own.vectors, (1, 2, 3, 4) if rows != 1 else (1, 2, 4, 6, 8))
    most = max(1, (plan.target.vector_registers - vectors - BESIDE) // vectors)
    most = most if rows is None else min(most, max(rows, 1))
    own_rows = own.mr if vectors == own.vectors else min(own.mr, most)
    return Tile(plan.pick("mr", own_rows, range(most, 0, -1)), vectors, own.lanes)


def _lay_out(
    plan: Plan, t: Compute, p: Product, constants: frozenset[str], nr: int, group: int | None
) -> None:
    """Pack the weight for the dot products, and what belongs to its channels beside it."""
    b = plan.buffer_of(p.b.tensor)
    if group is None:
        plan.do("pack", b, 0, nr)
    else:
        plan.do("pack", b, 0, nr, along=2, group=group)
    for body in bodies(t):
        for read in dict.fromkeys(reads_in(body)):
            own, column = read.tensor, p.columns[0]
            if not isinstance(own, Placeholder) or own.name not in constants or own is p.b.tensor:
                continue
            if len(read.indices) == 2 and read.indices[1] == column:
                plan.do("pack", plan.buffer_of(own), 1, nr)
