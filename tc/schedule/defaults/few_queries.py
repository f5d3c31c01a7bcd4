"""The default schedule of attention for few queries: a step of a generation.

Query heads that share keys are the rows of one pass over them: the scores of all keys first, in
the order of memory, their maxima, exponentials and sums while they lie in the caches, then the
values, each row of them read once for all heads, with the results in registers.
"""

from __future__ import annotations

import math

from tc.ir.expr import Binary, Const, Expr, Var
from tc.ir.tensor import Compute
from tc.ir.visit import children
from tc.schedule.defaults.attention import Attention, few_columns, value_tiles
from tc.schedule.defaults.contraction import pick_tile
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.rowwise import reduce_in_lanes
from tc.schedule.defaults.shape import reductions
from tc.schedule.defaults.tiles import register_tile


def schedule_few_queries(plan: Plan, a: Attention) -> None:
    """Add the steps."""
    out = a.output
    batch = plan.loops_of(out, a.batch)
    row, column, key = (plan.loop_of(out, v) for v in (a.row, a.column, *a.fold.axes))
    shared, seen = _shared(plan, a), row
    if fixed(plan.extent(row)) == 1 and shared is not None:
        head, group = shared
        plan.do("split", head, group, tail="perfect")
        batch = [*(n for n in batch if n != head), row, head + "0"]
        row = head + "1"
    elif not are_few(plan, a):
        plan.do("split", row, 1)
        batch, row, seen = [*batch, row + "0"], row + "1", ""
    if not batch:
        return
    plan.do("reorder", *batch, row, column)
    if seen:
        plan.attempt("narrow", key, seen)
    plan.do("online", key, row, column)
    for t in (a.scores, *reversed(a.before)):
        plan.do("compute_at", plan.buffer_of(t), batch[-1])
    plan.divide(batch)
    for t in (*a.before, a.scores):
        _along_row(plan, t)
    heads = [n for n in plan.loops_of(a.scores, a.scores.axes[:-1]) if plan.has(n)]
    last = plan.loop_of(a.scores, a.scores.axes[-1])
    if heads and plan.has(last):
        plan.do("reorder", last, *heads)  # the heads that share a key follow each other
    reduce_in_lanes(plan, key + "_t", 32, 1)
    plan.vectorize(key + "_w", 32)
    reduce_in_lanes(plan, key + "_l", 32, 1)
    _values(plan, a, row, column, key + "_v")


def are_few(plan: Plan, a: Attention) -> bool:
    """Whether the queries are known to be so few that they would leave most lanes empty."""
    count = fixed(plan.extent(plan.loop_of(a.output, a.row)))
    return count is not None and 4 * count <= plan.lanes(a.fold.monoid.left[0].type.bits)


def _shared(plan: Plan, a: Attention) -> tuple[str, int] | None:
    """The loop over query heads, and how many of them share a head of the values."""
    for v, n in zip(a.output.axes, a.output.shape, strict=True):
        groups = set(_groups(a.fold.values[2], v))
        if v in a.batch and len(groups) == 1 and (count := fixed(n)) is not None:
            group = math.gcd(*groups)
            if 1 < group <= 16 and count % group == 0:
                return plan.loop_of(a.output, v), group
    return None


def _groups(x: Expr, axis: Var) -> list[int]:
    """The divisors g of all v // g in `x`; 1 where the axis stands otherwise."""
    if x == axis:
        return [1]
    match x:
        case Binary("floordiv", b, Const(g)) if b == axis:
            return [int(g)]
    return [g for k in children(x) for g in _groups(k, axis)]


def _along_row(plan: Plan, t: Compute) -> None:
    """What is computed of one row of scores, in lanes."""
    found = reductions(t)
    for r in found:
        for k in plan.loops_of(t, r.axes):
            if plan.has(k):
                reduce_in_lanes(plan, k, 32, len(r.monoid.left))
    if not found and t.axes:
        plan.vectorize(plan.loop_of(t, t.axes[-1]), 32)


def _values(plan: Plan, a: Attention, row: str, column: str, key: str) -> None:
    bits = a.fold.monoid.left[0].type.bits
    rows, columns = longest(plan.extent(row)), fixed(plan.extent(column))
    if columns is None:
        tile = few_columns(plan, bits, rows, None)
    else:
        tile = register_tile(plan.target, bits, rows, columns)
    tile = pick_tile(plan, bits, rows, tile, "value_")
    value_tiles(plan, a, tile, (row, column, key))
