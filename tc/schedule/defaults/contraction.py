"""The default schedule of contractions: a register-tiled product with its epilogue in registers.

B is packed in column blocks where it is constant, so that the inner loop streams it; A is read
where it lies. The tile loops run column block by column block: a block of B stays in the L2
cache while all rows of A pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tc.ir.expr import Expr, Reduce, Unary, Var
from tc.ir.interval import bounds
from tc.ir.math.expand import EXPANDED
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.ir.visit import children
from tc.schedule.defaults.blocking import (
    MOST_BODY,
    block_rows,
    block_sums,
    blocks_pass_once,
    convert_once,
    copy_block,
    fetch_ahead,
    fetch_rows,
    hurry,
    read_apart,
    stream,
    unrolled_steps,
    whole_vectors,
)
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.shape import Product, shared_axis, slides
from tc.schedule.defaults.tiles import Tile, other_tiles, register_tile
from tc.schedule.step import Arg
from tc.schedule.tensorize import dot_length

UNROLL_K = 2
ROW_TAILS = ("balanced", "ragged")
LONG = 24  # nodes of an epilogue that is still unrolled
DEEP = 256  # steps of a reduction beside which handing its sums on in memory is nothing
NARROW = 128  # bits of vectors of which a tile has so many that its epilogue is long


def schedule_contraction(plan: Plan, t: Tensor, p: Product, constants: frozenset[str]) -> None:
    """Add the steps for `t`, which sums the product `p`."""
    (column,) = plan.loops_of(t, p.columns)
    shared = shared_axis(p) is not None
    apart, near = (p.rows[:-1], p.rows[-1:]) if shared else neighbours(t, p)
    lines = plan.loops_of(t, [v for v in apart if slides(p, v)])
    rows, alone = plan.loops_of(t, near), [v for v in apart if not slides(p, v)]
    batch = plan.loops_of(t, (*p.batch, *alone))
    if has_long_epilogue(t) or pays_apart(plan, p):
        plan.do("stage", accumulator(plan, t))
    if p.span is not None:
        plan.do("split", column, p.span)
        batch, column = [*batch, column + "0"], column + "1"
    batch += lines
    plan.do("reorder", *batch, *rows, column)
    row = plan.fuse_all(rows, "m") if rows else None
    tile = tile_for(plan, p, row, column)
    may_be_one = row is None or bounds(plan.extent(row)).lo in (None, 0, 1)
    if row is not None:
        plan.do("split", row, tile.mr, tail=ROW_TAILS[plan.pick("row_tail", 0, (0, 1))])
    group = dot_group(plan, t, p, constants)
    if group > 1:
        plan.do("split", plan.loop_of(t, p.reduce.axes[0]), group)
    inner = tile_product(plan, t, p, tile, row, column, batch, group)
    packed = _packed(plan, p, constants, tile.nr, group)
    if not packed and _copied(plan, p, row, column, inner, batch, tile):
        inner = inner[:-1]
    plan.do("relax")
    if packed and lines and plan.has(column + "0") and blocks_pass_once(plan, p):
        batch = batch[: -len(lines)]
        inner = [column + "0", *lines, *(n for n in inner if n != column + "0")]
        plan.do("reorder", *inner)
    tiles = None if row is None or not packed or rows_outside(plan, row) else row + "0"
    acc, k = accumulator(plan, t), plan.loop_of(t, p.reduce.axes[-1])
    sums = k
    if tiles is not None and group == 1 and block_sums(plan, acc, k, p, tile, tiles, column):
        sums = k + "1"
        hurry(plan, p, k + "0", tiles + "1", sums, row, tile)
        finish_product(plan, t, sums, tile, row, column)
        inner = [tiles + "0", *inner[:-1]]
        fetch_ahead(plan, plan.buffer_of(p.b.tensor), k + "0", [tiles + "1", k + "10"], tile)
        convert_once(plan, p, k + "0", tiles + "1", tile)
    else:
        if tiles is not None and group == 1 and not lines:
            hurry(plan, p, column + "0", tiles, k, row, tile)
        finish_product(plan, t, k, tile, row, column, group, _places_apart(plan, t, p, tile))
        if tiles is not None and not set(lines) & set(inner):
            inner = _finish_rows(plan, p, tile, tiles, column, inner, k)
        if packed:
            stream(plan, p, row, column, [n for n in (k + "00", k + "0", k) if plan.has(n)][:1])
        blocks = tiles is not None and group == 1 and plan.has(column + "0")
        if blocks and convert_once(plan, p, column + "0", inner[-1], tile):
            inner = inner[:-1]  # the tiles of a block share what was converted
    if packed and group == 1 and len(p.reduce.axes) == 1 and may_be_one:
        read_apart(plan, p, tile, row, sums + "0" if plan.has(sums + "0") else sums)
    plan.divide([*batch, *inner])


def _finish_rows(
    plan: Plan, p: Product, tile: Tile, tiles: str, column: str, outer: list[str], k: str
) -> list[str]:
    """Blocks of rows, and fetching ahead; the loops over tiles, outermost first.

    Of what a single row streams the processor sees by itself what is next, see `stream`.
    """
    alone = tile.mr == 1 and longest(plan.extent(tiles)) == 1
    if block_rows(plan, p, tile, tiles, column):
        outer = [tiles + "0", *outer[:-1], tiles + "1"]
        tiles += "1"
    steps = next(name for name in (k + "00", k + "0", k) if plan.has(name))
    if len(p.reduce.axes) == 1 and not alone:
        fetch_ahead(plan, plan.buffer_of(p.b.tensor), column + "0", [tiles, steps], tile)
        fetch_rows(plan, p, tiles, steps, tile)
    return outer


def neighbours(t: Tensor, p: Product) -> tuple[tuple[Var, ...], tuple[Var, ...]]:
    """The row axes that lie next to each other in the output, last, and those before them."""
    assert isinstance(t, Compute)
    at = [t.axes.index(v) for v in p.rows]
    first = len(at) - 1
    while first > 0 and at[first - 1] == at[first] - 1:
        first -= 1
    first = max(first, 0)
    return p.rows[:first], p.rows[first:]


def tile_for(plan: Plan, p: Product, row: str | None, column: str) -> Tile:
    rows = 1 if row is None else longest(plan.extent(row))
    bits = p.reduce.dtype.bits
    pitch = 0
    if p.a.indices[-1] == p.reduce.axes[-1]:  # rows whose steps lie side by side
        pitch = (fixed(p.a.tensor.shape[-1]) or 0) * p.a.tensor.dtype.bytes
    own = register_tile(plan.target, bits, rows, fixed(plan.extent(column)), p.span, pitch)
    return pick_tile(plan, bits, rows, own, span=p.span)


def pick_tile(
    plan: Plan, bits: int, rows: int | None, own: Tile, label: str = "", span: int | None = None
) -> Tile:
    """`own`, or another tile that the registers can hold."""
    tiles = {each[0].vectors: each for each in other_tiles(plan.target, bits, rows, span)}
    vectors = plan.pick(f"{label}vectors", own.vectors, tiles)
    if vectors == own.vectors:
        return Tile(plan.pick(f"{label}mr", own.mr, _heights(tiles, own)), vectors, own.lanes)
    most = tiles[vectors][0]
    return Tile(plan.pick(f"{label}mr", most.mr, _heights(tiles, most)), vectors, most.lanes)


def _heights(tiles: dict[int, tuple[Tile, ...]], like: Tile) -> list[int]:
    return [tile.mr for tile in tiles.get(like.vectors, ())]


def dot_group(plan: Plan, t: Tensor, p: Product, constants: frozenset[str]) -> int:
    """How many products a dot instruction sums, where a constant B can be laid out for it; or 1."""
    (k, *more), (depth, *_) = p.reduce.axes, p.reduce.extents
    loop = plan.loop(plan.loop_of(t, k))
    group = None if loop is None else dot_length(loop.body)
    laid_out = p.b.tensor.name in constants and not p.batch and not more and k in p.b.indices
    if group is None or not laid_out or p.a.indices[-1] != k or (fixed(depth) or 0) < group:
        return 1
    return group


def tile_product(
    plan: Plan,
    t: Tensor,
    p: Product,
    tile: Tile,
    row: str | None,
    column: str,
    batch: list[str],
    group: int = 1,
) -> list[str]:
    """Split the columns and take the reduction out of the tile; the loops over tiles."""
    outer = [column + "0"] + ([] if row is None else [row + "0"])
    if rows_outside(plan, row):
        outer.reverse()
    inside = ([] if row is None else [row + "1"]) + [column + "1"]
    plan.do("split", column, tile.nr, tail="guard")
    if not plan.has(column + "0"):
        outer.remove(column + "0")
    loops = plan.loops_of(t, p.reduce.axes)
    if group > 1:
        loops = [loops[0] + "0"] if plan.has(loops[0] + "0") else []
    plan.do("reorder", *batch, *outer, *loops, *inside)
    return outer


def rows_outside(plan: Plan, row: str | None) -> bool:
    """Whether all columns pass for each tile of rows, not all rows for each block of columns."""
    return row is not None and bool(plan.pick("rows_outside", 0, (0, 1)))


def finish_product(
    plan: Plan,
    t: Tensor,
    k: str,
    tile: Tile,
    row: str | None,
    column: str,
    group: int = 1,
    whole: Sequence[str] = (),
) -> None:
    """Lanes, and everything inside a tile unrolled; `k` is the innermost loop of the reduction.

    Those called `whole` are unrolled to the end, `k` among them if there are any.
    """
    if group > 1:
        plan.do("tensorize", k + "1")
        k += "0"
    steps = unrolled_steps(plan, tile)
    long = not whole and steps > 1 and (fixed(plan.extent(k)) or steps) >= steps
    if long:
        plan.do("split", k, steps, tail="cut")
    plan.do("vectorize", column + "1", tile.lanes)
    whole_vectors(plan, column + "1")
    acc = accumulator(plan, t)
    sums = [k + "1"] if long else whole
    for name in (column + "1", *([] if row is None else [row + "1"]), *sums):
        loop = plan.loop(name)
        if loop is not None and loop.kind.value == "serial":
            plan.do("unroll", name, touching=acc)


def _places_apart(plan: Plan, t: Tensor, p: Product, tile: Tile) -> list[str]:
    """The loops to unroll where windows overlap: those of which each step reads other places.

    The loop over neighbours that windows share goes around them. Unrolled, it would keep what the
    next step reads again in registers, of which there are none left beside the sums.
    """
    window = shared_axis(p)
    if window is None:
        return []
    around, found, body = plan.loop_of(t, window), list[str](), tile.mr * tile.vectors
    for axis, extent in reversed(list(zip(p.reduce.axes, p.reduce.extents, strict=True))):
        steps, name = fixed(extent), plan.loop_of(t, axis)
        if axis == window or not plan.has(name):
            continue
        if steps is not None and body * steps <= MOST_BODY:
            body *= steps
            found.insert(0, name)
            continue
        most = unrolled_steps(plan, tile)
        if not found and most > 1 and (steps or most) >= most:
            plan.do("split", name, most, tail="cut")
            found.append(name + "1")
        break
    if found and plan.has(around):
        plan.do("reorder", around, *found)
    return found


def accumulator(plan: Plan, t: Tensor) -> str:
    """The accumulator of a tensor with one reduction, as lowering calls it."""
    return f"{plan.buffer_of(t)}_acc"


def has_long_epilogue(t: Tensor) -> bool:
    """Whether what follows the reduction would swell the unrolled tile."""
    assert isinstance(t, Compute)
    nodes = list(_around_reductions(t.body))
    return any(isinstance(x, Unary) and x.op in EXPANDED for x in nodes) or len(nodes) > LONG


def pays_apart(plan: Plan, p: Product) -> bool:
    """Whether an epilogue that is unrolled with each height of the tile is mostly code.

    Apart from it, the sums of all products of a depth are taken by the same code.
    """
    depth = fixed(p.reduce.extents[0])
    deep = depth is not None and depth >= DEEP and len(p.reduce.extents) == 1
    return deep and plan.target.vector_bits <= NARROW


def _around_reductions(x: Expr) -> Iterator[Expr]:
    yield x
    if not isinstance(x, Reduce):
        for k in children(x):
            yield from _around_reductions(k)


def _packed(plan: Plan, p: Product, constants: frozenset[str], nr: int, group: int) -> bool:
    """Pack a constant B; tells whether it is one."""
    b = p.b.tensor
    if not isinstance(b, Placeholder) or b.name not in constants:
        return False
    beside: dict[str, Arg] = {}
    if group > 1:
        beside = {"along": p.b.indices.index(p.reduce.axes[0]), "group": group}
    plan.do("pack", plan.buffer_of(b), p.b.indices.index(p.columns[0]), nr, **beside)
    return True


def _copied(
    plan: Plan,
    p: Product,
    row: str | None,
    column: str,
    outer: list[str],
    batch: list[str],
    tile: Tile,
) -> bool:
    """Copy blocks of a B that is no constant, or all of a batch's if its columns lie apart.

    Tells whether there are blocks.
    """
    b, tiles, blocks = p.b.tensor, f"{row}0", column + "0"
    if not isinstance(b, Placeholder) or len(p.reduce.axes) > 1 or b.rank < 2:
        return False
    if outer == [blocks, tiles] and copy_block(plan, p, blocks, tiles, column + "1", tile):
        return True
    if p.b.indices[-2] == p.columns[0] and batch:
        plan.do("cache", plan.buffer_of(b), batch[-1], swap=1, pad=tile.nr, along=column + "1")
    return False
