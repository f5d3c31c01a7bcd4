"""Blocks of a product that fit the caches, and what is fetched ahead of them.

Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34, 2008),
section 4.2: a block of B that all tiles of rows read is at home in the L2 cache. This module must
not choose register tiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tc.ir.loop import LoopKind
from tc.ir.tensor import Placeholder
from tc.schedule.defaults.plan import Plan, fixed, longest
from tc.schedule.defaults.shape import Product, elements_beside
from tc.schedule.defaults.tiles import WIDEST, Tile
from tc.schedule.prefetch import LINE
from tc.schedule.step import Arg

MOST_BODY = 128  # multiplications of an unrolled body
LARGE_TILE = 16  # accumulators from which two steps of the reduction fill the unrolled body
PANEL_SHARE = 4  # the part of the L2 cache for a block of B: the next one comes in beside it
ROWS_SHARE = 8  # the part of the last cache that a block of rows of A may fill
MOST_ROWS = 1024  # blocks of more rows than this are hardly ever filled
NEAR = 1024  # bytes that a core reads of memory while it waits for a line of it
MOST_LINES = 12  # hints in an iteration
WORD = 4  # bytes of an element; of narrower ones the same hints fetch more than there is
MIN_DEPTH = 64  # steps of a block of the reduction; fewer would not pay for the sums
CONVERTED_TILES = 8  # that meet a block from which on its elements are converted once
FAR_TILES, NEAR_TILES = 2, 8  # that meet a block from which on it is copied first
NEVER = 1 << 30
STREAMS = (4, 3, 2)  # places of a tile's weights that one row may read at once, the best first
OPERANDS = 3  # registers beside the sums of one row
SHORTEST = 8  # iterations of a stream; fewer would not pay for adding up
WAITING_ROWS = 256  # rows whose sums may wait in memory between blocks of the reduction


def unrolled_steps(plan: Plan, tile: Tile) -> int:
    """Steps of the reduction in an unrolled body.

    What a step does besides its multiplications takes slots of the front end, which two hardware
    threads of a core share: the fewer the accumulators, the more it weighs.
    """
    own = 2 if tile.mr * tile.vectors >= LARGE_TILE else 4
    most = max(1, MOST_BODY // (tile.mr * tile.vectors))
    return plan.pick("unroll_k", own, [n for n in (1, 2, 4, 8, 16) if n <= most])


def lines_ahead(plan: Plan, tile: Tile, tiles: int | None) -> int:
    """Cache lines of the next block of B to ask for in an unrolled body; 0: none.

    As many as there are for each, where it is known how many `tiles` share them.
    """
    own = 4 if tile.mr * tile.vectors >= LARGE_TILE else 2
    body = tile.nr * unrolled_steps(plan, tile) * WORD
    if tiles is not None and tiles > 1:
        own = next(n for n in (1, 2, 4) if n >= min(4, body / (tiles * LINE)))
    return plan.pick("lines", own, (0, 1, 2, 4, 8))


def block_sums(
    plan: Plan, acc: str, k: str, p: Product, tile: Tile, tiles: str, column: str
) -> bool:
    """Sum over loop `k` in blocks where B's would fill the L2 cache; tells whether that was needed.

    The sums of a block of rows wait in memory meanwhile, so that block has to be small.
    """
    (depth, *more) = map(fixed, p.reduce.extents)
    if depth is None or more or p.batch or not (plan.has(tiles) and plan.has(column + "0")):
        return False
    if fixed(plan.extent(tiles)) == 1:
        return False  # nobody reads a block again
    step_bytes = tile.nr * p.reduce.dtype.bits // 8
    steps = unrolled_steps(plan, tile)
    room = plan.target.l2_bytes // PANEL_SHARE
    length = _even_length(depth, room // step_bytes, steps)
    own = length or 0 if depth * step_bytes > room else 0
    length = plan.pick("kc", own, (0, *_lengths(depth, steps)))
    if not length:
        return False
    rows = max(1, WAITING_ROWS // tile.mr)
    rows = plan.pick("mc", rows, [n for n in (rows // 4, rows // 2, rows * 2, rows * 4) if n])
    plan.do("partial", acc, k, length)
    plan.do("split", tiles, rows, tail="equal")
    plan.do("reorder", tiles + "0", column + "0", k + "0", tiles + "1")
    return True


def _lengths(depth: int, steps: int) -> list[int]:
    """Lengths that divide `depth` into a few blocks of whole unrolled bodies."""
    parts = (2, 3, 4, 6, 8, 12, 16)
    each = (depth // n for n in parts if depth % n == 0)
    return [n for n in each if n % steps == 0 and n >= MIN_DEPTH]


def _even_length(depth: int, most: int, steps: int) -> int | None:
    """The greatest length of at most `most` that divides `depth` into whole unrolled bodies."""
    lengths = range(most // steps * steps, most // 2, -steps)
    return next((n for n in lengths if depth % n == 0), None)


def blocks_pass_once(plan: Plan, p: Product) -> bool:
    """Whether all lines of an image pass for each column block of B, not all of B for each line.

    That is where B would not stay in the L2 cache from one line to the next.
    """
    depth = math.prod(fixed(extent) or 1 for extent in p.reduce.extents)
    columns = p.span or fixed(p.b.tensor.shape[p.b.indices.index(p.columns[0])])
    large = (columns or 0) * depth * p.b.tensor.dtype.bytes > plan.target.l2_bytes // 2
    return bool(plan.pick("lines_inside", int(large), (0, 1)))


def block_rows(plan: Plan, p: Product, tile: Tile, tiles: str, column: str) -> bool:
    """Let no more rows of A pass for each column block than the last cache can hold on to.

    They pass again for each column block, so that what is left of that cache has to do for B, for
    the result, and for whatever else the machine runs. Rows that lie side by side, each step of
    the sum far from the next, have to stay nearer: there no processor sees what comes next. Tells
    whether there is such a block.
    """
    if not plan.has(tiles) or not plan.has(column + "0") or p.batch:
        return False
    depth = math.prod(fixed(extent) or 1 for extent in p.reduce.extents)
    row_bytes, room = depth * p.reduce.dtype.bits // 8, plan.target.l3_bytes // ROWS_SHARE
    if (beside := elements_beside(p)) is not None:
        row_bytes, room = (
            max(1, beside) * p.a.tensor.dtype.bytes,
            plan.target.l2_bytes // PANEL_SHARE,
        )
    count = room // (tile.mr * row_bytes)
    most = longest(plan.extent(tiles))
    own = count
    if not 1 <= count <= MOST_ROWS // tile.mr or (most is not None and most <= count):
        own = 0
    counts = (n for n in (4, 8, 16, 32, 64, 128) if most is None or n < most)
    count = plan.pick("mc", own, (0, *counts))
    if not count:
        return False
    plan.do("split", tiles, count, tail="equal")
    plan.do("reorder", tiles + "0", column + "0", tiles + "1")
    return True


def fetch_ahead(plan: Plan, buffer: str, loop: str, over: Sequence[str], tile: Tile) -> None:
    """Spread the fetching of the next block of B over the rows of this one.

    The first rows that meet a block of weights would wait for memory, the others come for nothing.
    """
    if not all(map(plan.has, (loop, *over))):
        return  # there is no next block of nothing
    lines = lines_ahead(plan, tile, fixed(plan.extent(over[0])))
    if lines:
        plan.attempt("prefetch", buffer, loop, *over, lines=lines)


def hurry(
    plan: Plan, p: Product, loop: str, tiles: str, steps: str, row: str | None, tile: Tile
) -> None:
    """Ask for the weights of a single tile of a few rows a little ahead of where it reads.

    Memory is what it waits for: no other tile is there to fetch the next block meanwhile.
    """
    if row is None or len(p.reduce.axes) > 1 or not all(map(plan.has, (loop, tiles, steps))):
        return
    if tile.mr == 1 or not plan.has(row + "1") or (fixed(plan.extent(tiles)) or 1) > 1:
        return
    weights = p.b.tensor
    size = math.prod(fixed(n) or NEVER for n in weights.shape) * weights.dtype.bytes
    # Shorter ones are waited for half as long, and few are in the cache from the last time.
    far = weights.dtype.bits >= 32 and size > plan.target.l2_bytes
    own = NEAR if far else 0
    near = plan.pick("hurry", own, (0, 512, 1024, 2048))
    if near:
        lines = -(-tile.nr * p.b.tensor.dtype.bytes // LINE)
        plan.attempt(
            "hurry", plan.buffer_of(p.b.tensor), loop, tiles, steps, row + "1", lines, near
        )


def fetch_rows(plan: Plan, p: Product, tiles: str, steps: str, tile: Tile) -> None:
    """Spread the fetching of the next tile's rows of A over the steps of this one.

    A row is a page of its own or nearly so, and a processor looks ahead within a page alone: where
    the rows come from beyond the L2 cache, each tile would wait for the first lines of each.
    """
    a, depth = p.a.tensor, fixed(p.reduce.extents[0])
    if not isinstance(a, Placeholder) or depth is None or p.a.indices[-1] != p.reduce.axes[0]:
        return
    rows, row_bytes = longest(plan.extent(tiles)), depth * a.dtype.bytes
    far = rows is None or rows * tile.mr * row_bytes > plan.target.l2_bytes // 2
    if far and plan.has(steps) and plan.pick("rows_ahead", 1, (0, 1)):
        bytes_ = tile.mr * unrolled_steps(plan, tile) * a.dtype.bytes
        plan.attempt("prefetch", plan.buffer_of(a), tiles, steps, lines=-(-bytes_ // LINE))


def convert_once(plan: Plan, p: Product, loop: str, tiles: str, tile: Tile) -> bool:
    """Convert a block of narrow B at the beginning of `loop`, not in each tile; tells whether so.

    Conversions take as many slots as loads do, in every step of every tile; but where few tiles
    meet a block, writing it and reading it again would cost more.
    """
    b, most = p.b.tensor, longest(plan.extent(tiles))
    if not b.dtype.is_float or b.dtype.bits >= p.reduce.dtype.bits or len(p.reduce.axes) > 1:
        return False
    least = plan.pick("convert_once", CONVERTED_TILES, (4, 8, 16, NEVER))
    if least == NEVER or (most is not None and most < least):
        return False
    buffer, wide = plan.buffer_of(b), str(p.reduce.dtype)
    if not plan.attempt("cache", buffer, loop, dtype=wide, over=tiles, least=least):
        return False
    plan.do("vectorize", f"{buffer}_2", tile.lanes)
    return True


def copy_block(plan: Plan, p: Product, loop: str, tiles: str, column: str, tile: Tile) -> bool:
    """Copy the block of B, which is no constant, that `loop` meets; tells whether that pays.

    Its rows lie apart: the caches have few places for lines at the same place of a page, and each
    tile would look up all pages anew. Where columns lie apart, the copy also transposes them.
    """
    b, swap = p.b.tensor, int(p.b.indices[-1] != p.columns[0])
    size = math.prod(fixed(n) or NEVER for n in b.shape[-2:]) * b.dtype.bytes
    own = FAR_TILES if size > plan.target.l1d_bytes else NEAR_TILES
    least = plan.pick("copy_block", own, (2, 4, 8, 16, NEVER))
    most = longest(plan.extent(tiles))
    if not plan.has(loop) or not plan.has(tiles) or (most is not None and most < least):
        return False
    always = swap or fixed(plan.extent(tiles)) is not None
    some: dict[str, Arg] = {} if always else {"over": tiles, "least": least}
    buffer, last = plan.buffer_of(b), b.rank - 1
    if not plan.attempt("cache", buffer, loop, swap=swap, pad=tile.nr, along=column, **some):
        return False
    if not swap:
        plan.do("vectorize", f"{buffer}_{last}", tile.lanes)
        whole_vectors(plan, f"{buffer}_{last}")
        plan.do("unroll", f"{buffer}_{last}")
    return True


def stream(plan: Plan, p: Product, row: str | None, column: str, over: Sequence[str]) -> None:
    """Ask for the weights of a loop over columns a little ahead where one row alone meets them.

    f32 is multiplied as it comes, and the processor sees what is next. Shorter elements are widened
    first, which keeps it from looking far enough ahead.
    """
    buffer, weights = plan.buffer_of(p.b.tensor), p.b.tensor.dtype
    if row is not None and (fixed(plan.extent(row + "1")) or 0) > 1:
        return
    if len(p.reduce.axes) > 1 or not over:
        return
    if not all(map(plan.has, (column + "0", *over))):
        return
    shape = next(x.shape for x in plan.func.params if x.name == buffer)
    size = math.prod(fixed(n) or 0 for n in shape[1:]) * weights.bytes
    rounds = math.prod(fixed(plan.extent(n)) or 0 for n in over)
    lines = -(-size // (rounds * LINE)) if rounds else 0
    if not 0 < lines <= MOST_LINES:
        return
    near = plan.pick("near", NEAR if weights.bits < 32 else 0, (0, 256, 512, 1024, 2048, 4096))
    if near:
        plan.do("prefetch", buffer, column + "0", *over, lines=lines, near=near)


def read_apart(plan: Plan, p: Product, tile: Tile, row: str | None, steps: str) -> None:
    """Let one row meet the weights of a tile at several places at once.

    A single stream waits wherever a page of memory ends, and one row has too few sums to hide
    what a multiplication takes; there are registers for those of several streams. Weights that
    are widened first are asked for ahead instead, see `stream`; the widest tile has sums enough.
    """
    length = fixed(plan.extent(steps)) if plan.has(steps) else None
    rows = None if row is None else plan.extent(row + "1")
    if length is None or (rows is not None and (fixed(rows) or 1) > 1):
        return
    most = (plan.target.vector_registers - OPERANDS) // tile.vectors
    counts = [n for n in STREAMS if n <= most and length % n == 0 and length // n >= SHORTEST]
    apart = counts and p.b.tensor.dtype.bits >= 32 and tile.vectors < WIDEST
    own = counts[0] if apart else 1
    count = plan.pick("streams", own, (*counts, 1))
    if count > 1:
        over = {"over": row + "1"} if row is not None and plan.has(row + "1") else {}
        plan.attempt("streams", steps, count, **over)


def whole_vectors(plan: Plan, loop: str) -> None:
    """Let vectors that lie within the limits do without a mask, where masks are no registers.

    A masked store then takes dozens of operations, in every tile, for what the last one needs.
    """
    if plan.target.has("avx512f"):
        return
    for name in (loop + "v", loop):
        found = plan.loop(name)
        if found is not None and found.kind is LoopKind.VECTOR:
            plan.attempt("uniform", name)
