"""The default schedule of row-wise groups: everything of one row while it lies in L1.

Each intermediate is computed inside the loop over rows; reductions along the row run in lanes
with several partial results to hide the latency of the additions.
"""

from __future__ import annotations

from tc.ir.tensor import Compute, Tensor
from tc.schedule.defaults.plan import Plan, fixed, longest, narrowed
from tc.schedule.defaults.shape import reductions

ROWS = 4  # partial results of a long reduction
MOST_PARTIAL = 8  # of one that goes through them often: two units, busy for the four cycles of each
OFTEN = 8  # times; fewer would not pay for putting twice as many together
COLUMN_VECTORS = 4
MAPS = 4  # vectors of a map at once: a row is short, and its loops are steps of one chain


def schedule_rows(plan: Plan, tensors: list[Tensor], outputs: tuple[Tensor, ...]) -> None:
    """Add the steps for reductions along trailing axes with maps around them."""
    out_names = {t.name for t in outputs}
    main = tensors[-1]
    assert isinstance(main, Compute)
    outer = plan.loops_of(main, main.axes[: outer_rank(tensors)])
    if outer:
        _gather_at(plan, tensors, out_names, outer)
    for t in tensors:
        _inside_row(plan, t, outer_rank(tensors))
    plan.divide(outer)


def _gather_at(plan: Plan, tensors: list[Tensor], out_names: set[str], outer: list[str]) -> None:
    """Bring every tensor into the loop over rows of the last one."""
    before = tensors[:-1]
    # Outputs right before the last tensor come first: what they share with it can then join.
    while before and before[-1].name in out_names:
        _merge(plan, before.pop(), outer)
    for t in reversed(before):
        if t.name not in out_names:
            plan.do("compute_at", plan.buffer_of(t), outer[-1])
    for t in reversed(before):
        if t.name in out_names:
            _merge(plan, t, outer)


def _merge(plan: Plan, t: Tensor, outer: list[str]) -> None:
    """Compute the rows of an output in the loops `outer`, which get the names of its own."""
    assert isinstance(t, Compute)
    for first, second in zip(plan.loops_of(t, t.axes), outer, strict=False):
        plan.do("merge", first, second)
    outer[:] = plan.loops_of(t, t.axes)[: len(outer)]


def outer_rank(tensors: list[Tensor]) -> int:
    """How many leading axes of the last tensor say which row it is."""
    main = tensors[-1]
    own = reductions(main)
    if own:
        return main.rank
    inner = max((len(r.axes) for t in tensors for r in reductions(t)), default=0)
    return max(0, main.rank - inner)


def _inside_row(plan: Plan, t: Tensor, rank: int) -> None:
    assert isinstance(t, Compute)
    found = reductions(t)
    for r in dict.fromkeys(found):
        names = [n for n in plan.loops_of(t, r.axes) if plan.has(n)]
        k = plan.fuse_all(names, names[-1] + "f") if names else None
        if k is not None:
            bits = max(s.bits for s in r.monoid.dtypes)
            reduce_in_lanes(plan, k, bits, len(r.monoid.left), MOST_PARTIAL)
    inner = [n for n in plan.loops_of(t, t.axes[rank:]) if plan.has(n)]
    if inner and not found:
        plan.vectorize_map(inner[-1], max(32, t.dtype.bits), MAPS)


def reduce_in_lanes(plan: Plan, k: str, bits: int, states: int, most: int = ROWS) -> None:
    """Partial results in lanes, several vectors of them where the loop is long."""
    hi = longest(plan.extent(k))
    if hi is not None and hi < 4:
        return
    lanes = narrowed(plan.lanes(max(bits, 32)), hi)
    rows = ROWS if states == 1 and (hi is None or hi >= 2 * ROWS * lanes) else 1
    size = fixed(plan.extent(k))  # one that is only known at run time may well be short
    if rows > 1 and size is not None and size >= OFTEN * most * lanes:
        rows = max(rows, most)
    rows = plan.pick("accumulators", rows, [n for n in (1, 2, 4, 8) if fits(hi, n * lanes)])
    plan.do("rfactor", k, lanes, rows=rows)


def fits(hi: int | None, length: int) -> bool:
    """Whether a loop of at most `hi` iterations has as many as that."""
    return hi is None or hi >= length


def schedule_columns(plan: Plan, t: Tensor) -> None:
    """Add the steps for a reduction of columns: the last axis in lanes, the reduction outside."""
    assert isinstance(t, Compute)
    (r,) = reductions(t)
    axes, reduce_loops = plan.loops_of(t, t.axes), plan.loops_of(t, r.axes)
    column = axes[-1]
    lanes = narrowed(plan.lanes(max(32, t.dtype.bits)), longest(plan.extent(column)))
    vectors = plan.pick("vectors", COLUMN_VECTORS, (1, 2, 4, 6, 8))
    plan.do("split", column, lanes * vectors, tail="guard")
    outer = [*axes[:-1], column + "0"] if plan.has(column + "0") else axes[:-1]
    plan.do("reorder", *outer, *reduce_loops, column + "1")
    plan.do("vectorize", column + "1", lanes)
    if plan.has(column + "1"):
        plan.do("unroll", column + "1")
    plan.divide(outer)
