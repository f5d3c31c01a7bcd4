"""The default schedule of attention for one query: a step of a generation.

For each head the scores of all keys are taken first, their maxima, exponentials and sums after
them, while they lie in L1; then the values are added up row by row, each times its weight, with
the result in registers. Keys and values are read once, in the order of memory.
"""

from __future__ import annotations

from tc.ir.tensor import Compute, Tensor
from tc.schedule.defaults.contraction import finish_product, tile_for
from tc.schedule.defaults.plan import Plan, fixed
from tc.schedule.defaults.rowwise import reduce_in_lanes
from tc.schedule.defaults.shape import Product, product_of, reductions


def one_query_of(tensors: list[Tensor]) -> Product | None:
    """The product with the values, if the group ends with that of weights which it computes."""
    if len(tensors) < 2 or not all(isinstance(t, Compute) for t in tensors):
        return None
    last = tensors[-1]
    assert isinstance(last, Compute)
    p = product_of(last)
    if p is None or not p.batch or not isinstance(p.a.tensor, Compute):
        return None
    sizes = dict(zip(last.axes, last.shape, strict=True))
    if p.columns != last.axes[-1:] or p.b.indices[-1] != p.columns[0]:
        return None
    return p if all(fixed(sizes[v]) == 1 for v in p.rows) else None


def schedule_one_query(plan: Plan, tensors: list[Tensor], p: Product) -> None:
    """Add the steps."""
    out = tensors[-1]
    assert isinstance(out, Compute)
    heads = [name for name in plan.loops_of(out, out.axes[:-1]) if plan.has(name)]
    (column,) = plan.loops_of(out, p.columns)
    reduce_loops = plan.loops_of(out, p.reduce.axes)
    tile = tile_for(plan, p, None, column)
    plan.do("split", column, tile.nr, tail="guard")
    outer = [column + "0"] if plan.has(column + "0") else []
    plan.do("reorder", *heads, *outer, *reduce_loops, column + "1")
    for t in reversed(tensors[:-1]):
        plan.do("compute_at", plan.buffer_of(t), heads[-1])
    for t in tensors[:-1]:
        _row(plan, t)
    plan.do("relax")
    finish_product(plan, out, p, tile, None, column)
    plan.divide(heads)


def _row(plan: Plan, t: Tensor) -> None:
    """Everything of one row of scores in lanes."""
    assert isinstance(t, Compute)
    found = reductions(t)
    for r in found:
        for k in plan.loops_of(t, r.axes):
            reduce_in_lanes(plan, k, 32, len(r.monoid.left))
    if not found:
        plan.vectorize(plan.loop_of(t, t.axes[-1]), 32)
