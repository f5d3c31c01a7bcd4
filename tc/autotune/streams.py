"""In which way a kernel asks for the bytes that come from far away.

What a core gets from memory depends on how many lines it has asked for at a time: on the places
far apart that it reads side by side, on how long it goes on at each, and on whether the next
iteration goes on where this one ended, as the prefetchers of processors expect, or is told of
beforehand. Of all reads the mean, weighed by their bytes. This module must not know what the bytes
cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from tc.autotune.sizes import moving, value_of
from tc.autotune.traffic import LINE, Access, address
from tc.frozen import frozen
from tc.ir.expr import Expr
from tc.ir.loop import Buffer, LoopKind

FARTHEST: Final = 1 << 16  # bytes: beyond that nothing is told by how far ahead it is


@frozen
class Fetch:
    """A hint that a line is read soon."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    times: float


@frozen
class Streams:
    """Means over the reads of a kernel, as logarithms but for `fetched`.

    Attributes:
        places: read side by side by an unrolled body, far apart from each other.
        run: bytes that lie together at each place.
        gap: from one iteration to the next, over the run.
        ahead: bytes from what is read to what is hinted at.
        fetched: bytes hinted at, for each that is read.
    """

    places: float = 0.0
    run: float = 0.0
    gap: float = 0.0
    ahead: float = 0.0
    fetched: float = 0.0

    @staticmethod
    def of(
        reads: Sequence[tuple[Access, float]], fetches: Sequence[Fetch], env: Mapping[str, int]
    ) -> Streams:
        """Of reads, each with the bytes that it touches in all."""
        total = sum(size for _, size in reads)
        if not total:
            return Streams()
        each = [(size / total, *_way(a, fetches, env)) for a, size in reads]
        places, run, gap, ahead = (sum(line[0] * line[n] for line in each) for n in range(1, 5))
        hinted = sum(fetch.times for fetch in fetches) * LINE
        return Streams(places, run, gap, ahead, min(8.0, hinted / total))


def _way(
    a: Access, fetches: Sequence[Fetch], env: Mapping[str, int]
) -> tuple[float, float, float, float]:
    """Logarithms of places, run, gap and bytes ahead of one read."""
    sizes = [max(1, value_of(n, env)) for n in a.buffer.shape]
    start = address(a.indices, sizes, env)

    def step(name: str) -> int:
        return abs(address(a.indices, sizes, {**env, name: 1}) - start) * a.buffer.dtype.bytes

    extents = {name: extent for name, extent, _ in a.loops}
    kinds = {name: kind for name, _, kind in a.loops}
    found = moving(a.indices, extents, env)
    beside = [n for n in found if kinds[n] in (LoopKind.VECTOR, LoopKind.UNROLLED)]
    places, run = 1, a.buffer.dtype.bytes
    for size, name in sorted((step(name), name) for name in beside if extents[name] > 1):
        if size <= run:
            run += size * (extents[name] - 1)
        else:
            places *= extents[name]
    after = next((step(n) for n in reversed(found) if n not in beside and extents[n] > 1), run)
    hints = [
        (address(f.indices, sizes, env) - start) * a.buffer.dtype.bytes
        for f in fetches
        if f.buffer.name == a.buffer.name
    ]
    ahead = min((min(n, FARTHEST) for n in hints if n > 0), default=0)
    gap = math.log2(max(after, 1) / run)
    return math.log2(places), math.log2(run), gap, math.log2(1 + ahead)
