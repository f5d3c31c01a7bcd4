"""The default schedule of attention: a block of queries at a time, its scores never in memory.

For each head, the keys are transposed into local memory once; a block of query rows then gets
its scores, their maxima, exponentials and sums and its product with the values, all of it in
the caches of one core (the blocks of Dao et al., "FlashAttention", arXiv 2205.14135, section 3,
with whole rows of scores, since a row fits the L2 cache).
"""

from __future__ import annotations

from dataclasses import dataclass

from tc.ir.passes.versions import MAX_VERSIONS
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.schedule.defaults.contraction import finish_product, tile_for
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.rowwise import reduce_in_lanes
from tc.schedule.defaults.shape import Product, product_of, reductions


@dataclass(frozen=True, slots=True)
class Attention:
    """The tensors of an attention group: scores, what is between, and the output."""

    scores: Compute
    keys: Product
    between: tuple[Compute, ...]
    output: Compute
    values: Product


def attention_of(tensors: list[Tensor]) -> Attention | None:
    """The parts, if the group is: scores, maxima, exponentials, sums, product with values."""
    if len(tensors) < 4 or not all(isinstance(t, Compute) for t in tensors):
        return None
    first, *between, last = (t for t in tensors if isinstance(t, Compute))
    keys, values = product_of(first), product_of(last)
    if keys is None or values is None or not isinstance(values.a.tensor, Compute):
        return None
    if len(keys.rows) != 1 or len(values.rows) != 1 or not keys.batch or not values.batch:
        return None
    if any(product_of(t) is not None for t in between):
        return None
    return Attention(first, keys, tuple(between), last, values)


def has_blocks(plan: Plan, a: Attention) -> bool:
    """Whether there are loops to block: that of an axis of a single place goes away."""
    axes = ((a.output, a.values.rows[0]), (a.output, a.values.columns[0]))
    scores = (a.scores, a.keys.columns[0])
    loops = [plan.loop_of(t, axis) for t, axis in (*axes, scores)]
    return all(fixed(plan.extent(name)) != 1 for name in loops)


def schedule_attention(plan: Plan, a: Attention) -> None:
    """Add the steps."""
    out = a.output
    batch, rows = plan.loops_of(out, a.values.batch), plan.loops_of(out, a.values.rows)
    (column,) = plan.loops_of(out, a.values.columns)
    plan.do("reorder", *batch, *rows, column)
    row = rows[0]
    value_tile = tile_for(plan, a.values, row, column)
    plan.do("split", row, value_tile.mr, tail="balanced")
    for t in reversed((a.scores, *a.between)):
        plan.do("compute_at", plan.buffer_of(t), row + "0")
    for t in a.between:
        _row_part(plan, t)
    _values(plan, a, row, column)
    _scores(plan, a, batch)
    plan.divide(batch)


def _values(plan: Plan, a: Attention, row: str, column: str) -> None:
    tile = tile_for(plan, a.values, row + "1", column)
    plan.do("split", column, tile.nr, tail="guard")
    outer = [column + "0"] if plan.has(column + "0") else []
    reduce_loops = plan.loops_of(a.output, a.values.reduce.axes)
    plan.do("reorder", *outer, *reduce_loops, row + "1", column + "1")
    plan.do("relax")
    finish_product(plan, a.output, a.values, tile, row, column)


def _scores(plan: Plan, a: Attention, batch: list[str]) -> None:
    (row,) = plan.loops_of(a.scores, a.keys.rows)
    (column,) = plan.loops_of(a.scores, a.keys.columns)
    tile = tile_for(plan, a.keys, row, column)
    keys = a.keys.b.tensor
    dims = [d for d, i in enumerate(a.keys.b.indices) if i == a.keys.columns[0]]
    plan.do("split", column, tile.nr, tail="guard")
    reduce_loops = plan.loops_of(a.scores, a.keys.reduce.axes)
    rows = [row] if plan.has(row) else []
    plan.do("reorder", column + "0", *reduce_loops, *rows, column + "1")
    if isinstance(keys, Placeholder) and dims == [keys.rank - 2]:
        plan.do("cache", plan.buffer_of(keys), batch[-1], swap=1, pad=tile.nr, along=column + "1")
    plan.do("relax")
    k = reduce_loops[-1]
    plan.do("vectorize", column + "1", tile.lanes)
    for name in (column + "1", *rows):
        # Rows whose number is not known to be that of the tile stay a loop.
        if plan.has(name) and (longest(plan.extent(name)) or MAX_VERSIONS + 1) <= MAX_VERSIONS:
            plan.do("unroll", name)
    if plan.has(k):
        plan.do("split", k, 2, tail="cut")
        plan.do("unroll", k + "1")


def _row_part(plan: Plan, t: Compute) -> None:
    found = reductions(t)
    for r in found:
        for k in plan.loops_of(t, r.axes):
            reduce_in_lanes(plan, k, 32, len(r.monoid.left))
    if not found:
        plan.vectorize(plan.loop_of(t, t.axes[-1]), 32)
