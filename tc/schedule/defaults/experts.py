"""The default schedule of products of rows with one of several constant matrices each.

A tile of rows that all meet one matrix is that of a plain product; the rows of any other tile are
multiplied one by one. Columns are outermost: a block of a matrix stays in the cache while its rows
pass, which lie next to each other where they are sorted.
"""

from __future__ import annotations

from tc.ir.expr import Read
from tc.ir.loop import LoopKind
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.ir.visit import sub_exprs, uses
from tc.schedule.agree import OTHER
from tc.schedule.defaults.blocking import read_apart, unrolled_steps, whole_vectors
from tc.schedule.defaults.contraction import accumulator, has_long_epilogue, pick_tile
from tc.schedule.defaults.plan import Plan, fixed
from tc.schedule.defaults.shape import Product
from tc.schedule.defaults.tiles import Tile, register_tile

ROWS = 4  # of a tile: the more, the fewer tiles have rows of one matrix alone


def is_of_experts(t: Tensor, p: Product, constants: frozenset[str]) -> bool:
    """Whether each row meets the matrix of a constant stack whose number is data."""
    b = p.b.tensor
    if not isinstance(t, Compute) or not isinstance(b, Placeholder) or b.name not in constants:
        return False
    if p.rows or len(p.batch) != 1 or len(p.reduce.axes) != 1 or b.rank != 3:
        return False
    (row,), first = p.batch, p.b.indices[0]
    rest = {*p.b.indices[1:]}
    number = uses(first, row) and any(isinstance(x, Read) for x in sub_exprs(first))
    return number and rest == {*p.columns, *p.reduce.axes} and t.axes == (row, *p.columns)


def schedule_experts(plan: Plan, t: Tensor, p: Product) -> None:
    """Add the steps for `t`, which sums the product `p`."""
    (row,), (column,) = plan.loops_of(t, p.batch), plan.loops_of(t, p.columns)
    (k,), acc = plan.loops_of(t, p.reduce.axes), accumulator(plan, t)
    weights = plan.buffer_of(p.b.tensor)
    bits = p.reduce.dtype.bits
    own = register_tile(plan.target, bits, ROWS, fixed(plan.extent(column)))
    tile = pick_tile(plan, bits, None, own)
    if has_long_epilogue(t):
        plan.do("stage", acc)
    plan.do("split", row, tile.mr, tail="ragged")
    plan.do("split", column, tile.nr, tail="guard")
    tiles = [n for n in (column + "0", row + "0") if plan.has(n)]
    rows, columns = row + "1", column + "1"
    plan.do("reorder", *tiles, *[n for n in (rows, columns) if plan.has(n)])
    alone = not plan.has(rows)
    if not alone:
        plan.do("agree", rows, weights)
        plan.do("reorder", k, rows, columns)
    one = "" if alone else OTHER
    plan.do("reorder", k + one, columns + one)
    plan.do("pack", weights, p.b.indices.index(p.columns[0]), tile.nr)
    plan.do("relax")
    _finish(plan, p, tile, k + one, columns + one, acc + one, "")
    if not alone:
        _finish(plan, p, tile, k, columns, acc, rows)
    plan.divide(tiles)


def _finish(plan: Plan, p: Product, tile: Tile, k: str, columns: str, acc: str, rows: str) -> None:
    """Lanes, and all in a tile unrolled; what is named is that of one of the versions."""
    steps = unrolled_steps(plan, tile)
    long = steps > 1 and (fixed(plan.extent(k)) or steps) >= steps
    if long:
        plan.do("split", k, steps, tail="cut")
    plan.do("vectorize", columns, tile.lanes)
    whole_vectors(plan, columns)
    for name in (columns, rows, k + "1" if long else ""):
        loop = plan.loop(name)
        if loop is not None and loop.kind is LoopKind.SERIAL:
            plan.do("unroll", name, touching=acc)
    if not rows:
        read_apart(plan, p, tile, None, k + "0" if long else k)
