"""The default schedule of attention: blocks of queries over blocks of keys, all of it in L1.

A block of queries lies transposed in local memory, so that queries are the lanes of the scores:
maxima, exponentials and sums then need no work across lanes, and keys and values are read as they
lie in memory. For each block of keys that some query of the block sees, scores, weights and the
values under them follow each other (Dao, "FlashAttention-2", arXiv 2307.08691, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tc.frozen import frozen
from tc.ir.expr import Read, Reduce, Var
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.ir.visit import uses
from tc.schedule.defaults.contraction import (
    accumulator,
    has_long_epilogue,
    pick_tile,
)
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.shape import (
    Product,
    classified,
    factors_of,
    reads_in,
    reductions,
)
from tc.schedule.defaults.tiles import Tile, register_tile
from tc.schedule.prefetch import LINE

MIN_BLOCK = 32  # keys; fewer would not pay for what is done once a block
QUERIES = 48  # that share what is loaded of keys and values; more would see more of each other's
MOST_WAITED = 16  # lines on their way to a core
UNROLL = 4  # steps of a sum: loops over 64 elements are short enough then to be predicted


@frozen
class Attention:
    """The tensors and axes of an attention group.

    `row` is the axis of the queries in the output, `column` that of the values' elements, `batch`
    are all others. `keys` is the product that the scores are made of, if they are.
    """

    before: tuple[Compute, ...]
    scores: Compute
    keys: Product | None
    output: Compute
    fold: Reduce
    row: Var
    column: Var
    batch: tuple[Var, ...]


@frozen
class _Block:
    """How many queries and keys are attended at once; `loop` is over the blocks of keys."""

    queries: int
    keys: int
    loop: str


def attention_of(tensors: list[Tensor]) -> Attention | None:
    """The parts, if the group ends with an online softmax over scores that it computes."""
    if not tensors or any(not isinstance(t, Compute) or _gathers(t) for t in tensors):
        return None
    *before, last = (t for t in tensors if isinstance(t, Compute))
    found = reductions(last)
    if len(found) != 1 or found[0].monoid.name != "online_softmax" or len(found[0].axes) != 1:
        return None
    (fold,) = found
    score = fold.values[0]
    axes = _axes(last, fold)
    if not isinstance(score, Read) or score.tensor not in before or axes is None:
        return None
    scores = next(t for t in before if t is score.tensor)
    others = tuple(t for t in before if t is not scores)
    batch = tuple(v for v in last.axes if v not in axes)
    return Attention(others, scores, _product(scores), last, fold, *axes, batch)


def _gathers(t: Tensor) -> bool:
    """Whether places are data, which are checked between the statements of a nest."""
    assert isinstance(t, Compute)
    places = (i for r in reads_in(t.body) for i in r.indices)
    return any(next(reads_in(i), None) is not None for i in places)


def _product(scores: Compute) -> Product | None:
    """The product of queries and keys: its columns are the last axis."""
    found = reductions(scores)
    if len(found) != 1 or found[0].monoid.name != "sum":
        return None
    sides = factors_of(found[0].values[0])
    if sides is None:
        return None
    key = scores.axes[-1]
    for a, b in (sides, sides[::-1]):
        if any(uses(i, key) for i in b.indices) and not any(uses(i, key) for i in a.indices):
            made = classified(scores, found[0], a, b, (key,))
            if made is None:
                return None
            rows = _several(scores, made.rows)
            alone = tuple(v for v in made.rows if v not in rows)
            return replace(made, rows=rows, batch=(*made.batch, *alone))
    return None


def _axes(out: Compute, fold: Reduce) -> tuple[Var, Var] | None:
    """(row, column) of the output: the axes of the scores alone, and of the values alone."""
    score, value = fold.values[0], fold.values[2]
    rows = [v for v in out.axes if uses(score, v) and not uses(value, v)]
    columns = [v for v in out.axes if uses(value, v) and not uses(score, v)]
    # An axis of a single place may not be mentioned at all.
    single = [v for v in out.axes if not uses(score, v) and not uses(value, v)]
    if not columns and single:
        columns = [single.pop()]
    if not rows and single:
        rows = [single.pop()]
    rows, columns = ([*_several(out, tuple(found))] for found in (rows, columns))
    return (rows[0], columns[0]) if len(rows) == 1 and len(columns) == 1 else None


def _several(t: Compute, axes: tuple[Var, ...]) -> tuple[Var, ...]:
    """Of axes that one side alone mentions, those of several places; the last, if there are none.

    A batch of one is a zero where a side was computed with that size known, and belongs to neither.
    """
    several = tuple(v for v in axes if fixed(t.shape[t.axes.index(v)]) != 1)
    return several or axes[-1:]


def query_dim(a: Attention) -> int | None:
    """The dim of the queries, if they are an input of which it is no more than an offset."""
    if a.keys is None or len(a.keys.rows) != 1 or not isinstance(a.keys.a.tensor, Placeholder):
        return None
    dims = [d for d, i in enumerate(a.keys.a.indices) if uses(i, a.keys.rows[0])]
    return dims[0] if len(dims) == 1 else None


def schedule_attention(plan: Plan, a: Attention, query: int) -> None:
    """Add the steps; `query` is the dim of the queries in their input."""
    assert a.keys is not None
    out = a.output
    batch = plan.loops_of(out, a.batch)
    row, column, key = (plan.loop_of(out, v) for v in (a.row, a.column, *a.fold.axes))
    bits = a.fold.monoid.left[0].type.bits
    tile = few_columns(plan, bits, None, fixed(plan.extent(row)))
    tile = pick_tile(plan, bits, None, tile, "score_")
    rows = max(1, QUERIES // tile.nr) * tile.nr
    rows = plan.pick(
        "queries", rows, [tile.nr * n for n in (1, 2, 3, 4, 6, 8) if tile.nr * n <= 128]
    )
    values = few_columns(plan, bits, rows, fixed(plan.extent(column)))
    values = pick_tile(plan, bits, rows, values, "value_")
    plan.do("reorder", *batch, row, column)
    plan.do("split", row, rows, tail="ragged")
    if not plan.has(row + "1"):
        plan.do("split", row, 1)
    narrowed = plan.attempt("narrow", key, row + "1")
    block = _Block(rows, _keys(plan, column, rows, tile, bits), key + "0")
    plan.do("online", key, row + "1", column, block=block.keys, fused=1)
    for t in (a.scores, *reversed(a.before)):
        plan.do("compute_at", plan.buffer_of(t), block.loop)
    plan.divide([*batch, row + "0"])
    _scores(plan, a, tile, block, (row + "0", query))
    _turn_values(plan, a, block)
    _statistics(plan, a, tile, row + "1", key)
    plan.vectorize(column + "_o", 32)
    plan.vectorize(column, 32)
    value_tiles(plan, a, values, (row + "1_v", column + "_v", key + "_v"), block)
    if narrowed:
        plan.do("zigzag", row + "0")  # later queries see more keys, or fewer


def few_columns(plan: Plan, bits: int, rows: int | None, columns: int | None) -> Tile:
    """A register tile of few columns: queries come in any number, heads in multiples of 16 or so.

    The last tile of queries leaves lanes empty, of two vectors fewer than of three.
    """
    pair = 2 * plan.lanes(bits)
    return register_tile(plan.target, bits, rows, pair if columns is None else min(columns, pair))


def _keys(plan: Plan, column: str, rows: int, tile: Tile, bits: int) -> int:
    """How many keys are a block: their values and weights fill the L1 cache together."""
    width = fixed(plan.extent(column)) or tile.nr
    count = plan.target.l1d_bytes * 8 // (bits * (width + rows))
    own = max(MIN_BLOCK, count // tile.mr * tile.mr)
    return plan.pick(
        "keys", own, [n // tile.mr * tile.mr for n in (32, 64, 96, 128, 192, 256, 512)]
    )


def _scores(plan: Plan, a: Attention, tile: Tile, block: _Block, outer: tuple[str, int]) -> None:
    """The product of keys and queries, with queries in lanes and keys as rows of the tile.

    `outer` is the loop over blocks of queries, and their dim in the input.
    """
    assert a.keys is not None
    t, p = a.scores, a.keys
    (row,), (key,) = plan.loops_of(t, p.rows), plan.loops_of(t, p.columns)
    depth = plan.loops_of(t, p.reduce.axes)
    if has_long_epilogue(t):
        plan.do("stage", accumulator(plan, t))
    at = [t.axes.index(v) for v in (*p.rows, *p.columns)]
    plan.do("permute", plan.buffer_of(t), *(d for d in range(t.rank) if d not in at), *at[::-1])
    plan.do("split", row, tile.lanes, tail="guard")
    lanes, vectors = row + "1", row + "0"
    queries, query = plan.buffer_of(p.a.tensor), outer[1]
    plan.do("cache", queries, outer[0], last=query, pad=tile.lanes, along=lanes)
    for b in _pointwise_reads(a):
        # As it lies, queries would be far apart in memory; here they share the L1 cache.
        plan.do("cache", plan.buffer_of(b), block.loop, along=lanes)
        plan.vectorize(f"{plan.buffer_of(b)}_{b.rank - 1}", max(32, b.dtype.bits))
    plan.do("relax")
    plan.do("split", vectors, tile.vectors, tail="ragged")
    tiles, vectors = vectors + "0", vectors + "1"
    plan.do("reorder", key, *[n for n in (tiles, vectors, lanes) if plan.has(n)])
    heights = [n for n in (tile.mr, tile.mr // 2) if n > 1]
    nests = []
    for height in heights:
        plan.do("split", key, height, tail="cut")
        nests.append([key + "0", tiles, *depth, key + "1", vectors, lanes])
        key += "t"
    nests.append([key, tiles, *depth, vectors, lanes])
    for nest in nests:
        if plan.has(nest[0]):
            plan.do("reorder", *[n for n in nest if plan.has(n)])
    plan.do("vectorize", lanes, tile.lanes)
    plan.attempt("uniform", lanes)
    inner = [vectors, *(n[-3] for n in nests[:-1])]
    steps = _unroll_tile(plan, accumulator(plan, t), inner, depth[-1])
    count = -(-block.keys // tile.mr) * -(-block.queries // tile.nr)
    length = fixed(p.reduce.extents[0]) if len(depth) == 1 else None
    _fetch(plan, (p.b.tensor, length), block, nests[0][:2], count, steps)
    _transpose(plan, queries, query, tile.lanes)


def _turn_values(plan: Plan, a: Attention, block: _Block) -> None:
    """A copy of a block of values, where the elements of each do not lie side by side."""
    read = next(reads_in(a.fold.values[2]), None)
    if read is None or not isinstance(read.tensor, Placeholder) or read.indices[-1] == a.column:
        return
    dims = [d for d, i in enumerate(read.indices) if i == a.column]
    if len(dims) == 1:
        plan.attempt("cache", plan.buffer_of(read.tensor), block.loop, last=dims[0])


def _pointwise_reads(a: Attention) -> list[Placeholder]:
    """Inputs with an element for each query and key: a bias, a mask."""
    assert a.keys is not None
    apart = (a.keys.a.tensor, a.keys.b.tensor)
    axes = (*a.keys.rows, *a.keys.columns)
    found = (
        r.tensor
        for r in reads_in(a.scores.body)
        if all(any(uses(i, v) for i in r.indices) for v in axes)
    )
    return [t for t in dict.fromkeys(found) if isinstance(t, Placeholder) and t not in apart]


def _transpose(plan: Plan, queries: str, dim: int, lanes: int) -> None:
    """The copy of the queries, a vector at a time."""
    name = f"{queries}_{dim}"
    plan.do("split", name, lanes)
    plan.do("vectorize", name + "1", lanes)
    plan.attempt("uniform", name + "1")


def _unroll_tile(plan: Plan, acc: str, names: list[str], k: str) -> str:
    """Everything inside a tile unrolled, and some steps of the loop over what is summed.

    Gives the loop that is left.
    """
    steps = longest(plan.extent(k))
    unrolled = plan.pick("unroll_k", UNROLL, (1, 2, 4))
    if unrolled > 1 and (steps is None or steps >= unrolled):
        plan.do("split", k, unrolled, tail="cut")
        names = [*names, k + "1"]
    for name in names:
        if plan.has(name):
            plan.do("unroll", name, touching=acc)
    return k + "0" if plan.has(k + "0") else k


def _statistics(plan: Plan, a: Attention, tile: Tile, row: str, key: str) -> None:
    """Maxima, weights and sums of the rows of a block, a row in each lane."""
    states = plan.buffer_of(a.output)
    plan.do("permute", f"{states}_acc_w", 1, 0)
    loops = {f"{row}_{x}": f"{key}_{x}" for x in "tw"}
    for name in (*loops, row + "_m", row + "_s"):
        plan.do("split", name, tile.lanes, tail="guard")
    plan.do("relax")
    for name, inner in loops.items():
        plan.do("split", name + "0", tile.vectors, tail="ragged")
        plan.do("reorder", name + "00", inner, name + "01", name + "1")
    for name in (*loops, row + "_m", row + "_s"):
        plan.do("vectorize", name + "1", tile.lanes)
    for name in loops:
        plan.do("unroll", name + "01")


def _fetch(
    plan: Plan, of: tuple[Tensor, int | None], block: _Block, tiles: Sequence[str], count: int,
    steps: str,
) -> None:  # fmt: skip
    """Spread the fetching of the next block's rows over the `count` tiles of this one.

    `of` has the keys or values and how long a head's rows are, which may be parts of longer ones.

    The first tiles alone meet what is new and would wait for it, all the more where each row of
    a head lies in a page of its own: a processor looks ahead within a page. Tiles that would ask
    for more lines than a core waits for at once do so in the loop over their `steps`.
    """
    t, length = of
    if length is None or not plan.pick("ahead", 1, (0, 1)):
        return
    lines = -(-(-(-length * t.dtype.bytes // LINE) * block.keys) // count)
    over = [block.loop, *tiles]
    if lines > MOST_WAITED:
        over.append(steps)
        lines = -(-lines // min(longest(plan.extent(steps)) or lines, lines))
    plan.attempt("prefetch", plan.buffer_of(t), *over, lines=lines, rows=length)


def value_tiles(
    plan: Plan, a: Attention, tile: Tile, nest: tuple[str, str, str], block: _Block | None = None
) -> None:
    """Register tiles of the product of weights and values, over the loops (row, column, key).

    `block` is what they are tiles of, where there is more than one.
    """
    i, e, j = nest
    acc = f"{plan.buffer_of(a.output)}_acc_2_v"
    parts, width = [e], fixed(plan.extent(e))
    if width is None:
        # Whole tiles without masks, then what is left in single vectors.
        plan.do("reorder", e, i)
        plan.do("split", e, tile.nr, tail="cut")
        parts = [e, e + "t"]
        plan.do("split", e + "t", tile.lanes, tail="guard")
    else:
        plan.do("split", e, tile.nr, tail="guard")
    plan.do("split", i, tile.mr, tail="balanced")
    for part in parts:
        outer = [part + "0", i + "0"] if len(parts) > 1 else [i + "0", part + "0"]
        plan.do("reorder", *outer, j, i + "1", part + "1")
    if len(parts) > 1:
        plan.do("permute", acc, 1, 0)
    plan.do("relax")
    for part in parts:
        plan.do("vectorize", part + "1", tile.lanes)
    steps = _unroll_tile(plan, acc, [e + "1", i + "1"], j)
    value = next(reads_in(a.fold.values[2]), None)
    if block is not None and value is not None and width is not None:
        tiles = [n for n in (i + "0", e + "0") if plan.has(n)]
        count = -(-block.queries // tile.mr) * -(-width // tile.nr)
        _fetch(plan, (value.tensor, width), block, tiles, count, steps)
