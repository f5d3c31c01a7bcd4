"""Register tiles from the number and width of the registers.

A tile of mr rows and nv vectors keeps mr * nv accumulators; nv vectors of B and one broadcast of
A must fit beside them. Low et al., "Analytical modeling is enough for high-performance BLIS"
(ACM TOMS 43, 2016), section 4: enough accumulators to hide the latency of two FMA units. More
than 8 rows of an A that is not packed collide in the L1 cache at power-of-two strides.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.target import Target

MAX_ROWS = 8
MOST_VECTORS, MOST_TILE_ROWS = 8, 14  # of tiles that are worth trying
_WIDE, _MOST_COLUMNS = 4, 64
LOADS = 0.65  # for each FMA: a core, shared or not, is about as much slower as there are more
PERIOD, FEW_ROWS = 4096, 4  # rows that lie so many bytes apart share lines of an L1 cache
COLLIDING = 0.95  # share of the rate that more than a few such rows leave
WIDEST = 12  # vectors: sums that keep three units busy for the four cycles that each takes


@frozen
class Tile:
    """Rows, and columns as vectors times lanes."""

    mr: int
    vectors: int
    lanes: int

    @property
    def nr(self) -> int:
        return self.vectors * self.lanes


def register_tile(
    target: Target,
    bits: int,
    rows: int | None,
    columns: int | None,
    span: int | None = None,
    pitch: int = 0,
) -> Tile:
    """The tile for a product of up to `rows` rows and `columns` columns (None: not known).

    With a `span`, each so many columns are to be made of whole tiles. Rows of A lie `pitch` bytes
    apart, 0: not known.
    """
    lanes = _lanes(target, bits, span)
    best: tuple[float, Tile] | None = None
    for vectors in (3, 2, 4, 1, MOST_VECTORS, WIDEST):
        mr = min(MAX_ROWS, (target.vector_registers - vectors - 1) // vectors)
        if rows is not None:
            mr = min(mr, max(rows, 1))  # a product of no rows still has loops
        if span is not None and span % (vectors * lanes):
            continue
        if mr < 1 or (vectors > _WIDE and not _is_wide_enough(mr, vectors * lanes, rows)):
            continue
        tile = Tile(mr, vectors, lanes)
        score = _efficiency(tile, columns)
        if pitch and pitch % PERIOD == 0 and mr > FEW_ROWS:
            score *= COLLIDING
        if best is None or score > best[0]:
            best = (score, tile)
    assert best is not None
    return best[1]


def _lanes(target: Target, bits: int, span: int | None) -> int:
    """Those of a vector, or of the widest part of one of which there are whole ones in a span."""
    lanes = max(1, target.vector_lanes(bits))
    while span is not None and span % lanes:
        lanes //= 2
    return lanes


def _is_wide_enough(mr: int, columns: int, rows: int | None) -> bool:
    """Whether many vectors make up for few rows, all of them in one tile.

    With narrow vectors one or two rows are too few accumulators to hide the latency otherwise;
    wide ones are bound by the weights that they stream.
    """
    return rows is not None and rows <= mr and columns <= _MOST_COLUMNS


def other_tiles(
    target: Target, bits: int, rows: int | None, span: int | None = None
) -> tuple[tuple[Tile, ...], ...]:
    """Tiles that the registers can hold: for each number of vectors those of all heights."""
    lanes = _lanes(target, bits, span)
    found = []
    for vectors in range(1, MOST_VECTORS + 1):
        if span is not None and span % (vectors * lanes):
            continue
        most = min(MOST_TILE_ROWS, (target.vector_registers - vectors - 1) // vectors)
        if rows is not None:
            most = min(most, max(rows, 1))
        found.append(tuple(Tile(mr, vectors, lanes) for mr in range(max(most, 0), 0, -1)))
    return tuple(tiles for tiles in found if tiles)


def _efficiency(tile: Tile, columns: int | None) -> float:
    """Share of the FMA rate: useful columns x loads per FMA x latency hidden."""
    used = 1.0
    if columns:
        used = columns / (-(-columns // tile.nr) * tile.nr)
    accumulators = tile.mr * tile.vectors
    hidden = min(1.0, accumulators / 10)
    loads = (tile.mr + tile.vectors) / accumulators
    fed = min(1.0, LOADS / loads)
    return used * hidden * fed + 0.001 * accumulators
