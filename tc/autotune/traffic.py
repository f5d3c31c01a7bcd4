"""Bytes that a kernel brings from beyond each cache, estimated from how far its accesses reach.

A cache holds what the iterations of a loop touch, all accesses together, or it does not: what fits
is fetched once for each time around it, what does not, once for each iteration. Ding and Kennedy,
"Improving effective bandwidth through compiler enhancement of global cache reuse" (2001), count
reuse likewise. This module must not know what the bytes cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tc.autotune.nests import Loops
from tc.autotune.sizes import moving, spans, value_of
from tc.ir.expr import Expr
from tc.ir.loop import Buffer, LoopKind
from tc.target import Target

LINE: Final = 64
FILLED: Final = 0.8  # of a cache, before what is needed again is pushed out
SET_BYTES: Final = 4096  # addresses so far apart meet in one set of the first cache


@dataclass(slots=True)
class Access:
    """A buffer read or written in one place."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    loops: Loops
    times: float
    write: bool

    @property
    def is_rare(self) -> bool:
        """Whether it is in a branch that is hardly ever taken."""
        loops = (n for _, n, kind in self.loops if kind is not LoopKind.VECTOR)
        return self.times < 0.5 * math.prod(max(1, n) for n in loops)


class Traffic:
    """What the accesses of a kernel need of the memory.

    Attributes:
        beyond: bytes from beyond L1, L2 and L3; `alone`: if each access had them to itself.
        unique: bytes of all different lines.
        inner: bytes of one run of the innermost loops.
        alike: lines that an unrolled body wants at once in one set of the first cache.
        reads: what is read of buffers that the first cache does not hold, with the bytes that each
            touches in all.
    """

    def __init__(self, accesses: Sequence[Access], env: Mapping[str, int], target: Target) -> None:
        merged: dict[tuple[str, tuple[Expr, ...], int], Access] = {}
        for access in accesses:
            if not access.is_rare:
                merged.setdefault((access.buffer.name, access.indices, len(access.loops)), access)
        known = [(a, _footprints(a, env)) for a in merged.values()]
        each: dict[tuple[str, ...], dict[str, float]] = {}
        for a, feet in known:
            names = tuple(name for name, _, _ in a.loops)
            for depth, size in enumerate(feet):
                found = each.setdefault(names[:depth], {})
                found[a.buffer.name] = max(found.get(a.buffer.name, 0.0), size)
        together = {at: sum(sizes.values()) for at, sizes in each.items()}
        caches = (target.l1d_bytes, target.l2_bytes or 1 << 18, target.l3_bytes or 1 << 20)
        self.beyond: list[float] = [
            sum(_beyond(a, feet, together, cache * FILLED) for a, feet in known) for cache in caches
        ]
        self.alone: list[float] = [
            sum(_beyond(a, feet, None, cache * FILLED) for a, feet in known) for cache in caches
        ]
        self.unique = sum(feet[0] for _, feet in known)
        far = [(a, feet[0]) for a, feet in known if not a.write and feet[0] > caches[0] / 2]
        self.reads = far or [(a, feet[0]) for a, feet in known if not a.write]
        self.inner = sum(feet[-1] for _, feet in known)
        self.alike = max((_alike(a, env) for a, _ in known), default=1.0)


def _footprints(a: Access, env: Mapping[str, int]) -> list[float]:
    """Bytes that the access touches in one iteration of all loops outside of depth d, by d."""
    extents = {name: extent for name, extent, _ in a.loops}
    further = [spans(i, extents, env) for i in a.indices]
    line = max(1, LINE // a.buffer.dtype.bytes)
    whole = value_of(a.buffer.shape[-1], env) if a.buffer.shape else 1
    places = [1] * len(further)
    found = []
    for name in (None, *reversed(extents)):
        for n, each in enumerate(further):
            places[n] += each.get(name, 0) if name is not None else 0
        lines = list(places)
        if lines and 1 < lines[-1] < whole:
            lines[-1] = -(-lines[-1] // line) * line  # which are fetched whole
        found.append(float(math.prod(lines) * a.buffer.dtype.bytes))
    return found[::-1]


def _beyond(
    a: Access,
    feet: Sequence[float],
    together: Mapping[tuple[str, ...], float] | None,
    cache: float,
) -> float:
    """Bytes of an access that come from beyond a cache.

    The outermost loop of which an iteration fits is gone around with what the last one left.
    """
    names = tuple(name for name, _, _ in a.loops)
    sizes = feet if together is None else [together[names[:d]] for d in range(len(feet))]
    depth = next((d for d, size in enumerate(sizes) if size <= cache), len(feet) - 1)
    if together is not None:
        depth = max(0, depth - 1)
    outside = math.prod(max(1, extent) for _, extent, _ in a.loops[:depth])
    return feet[depth] * outside


def _alike(a: Access, env: Mapping[str, int]) -> float:
    """How many lines of one set of the first cache an unrolled body touches."""
    count = 1.0
    sizes = [max(1, value_of(n, env)) for n in a.buffer.shape]
    start = address(a.indices, sizes, env)
    unrolled = {n: e for n, e, kind in a.loops if kind is LoopKind.UNROLLED and e > 1}
    for name in moving(a.indices, unrolled, env):
        extent = unrolled[name]
        step = abs(address(a.indices, sizes, {**env, name: 1}) - start) * a.buffer.dtype.bytes
        if step >= LINE:
            count *= max(1.0, extent * math.gcd(step, SET_BYTES) / SET_BYTES)
    return count


def address(indices: Sequence[Expr], sizes: Sequence[int], env: Mapping[str, int]) -> int:
    """The place of an element in a buffer of these sizes."""
    place = 0
    for index, size in zip(indices, sizes, strict=True):
        place = place * size + value_of(index, env)
    return place
