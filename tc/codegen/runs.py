"""Factors that lie side by side in memory: one vector load brings them all, each to its lane.

Where an instruction multiplies by one lane of a register, a load for each factor is a waste, and
on processors that load no more vectors in a cycle than they multiply it is what bounds the loop.
This module must not write code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from tc.frozen import frozen
from tc.ir.affine import ONE, plain_poly
from tc.ir.expr import Binary, Bitcast, Broadcast, Const, Dot, Expr, Fma, Load, Ramp
from tc.ir.loop import Scope, Seq, Store
from tc.ir.types import F32
from tc.ir.visit import own_exprs, sub_exprs

_WIDTHS: Final = (4, 2)
_WORD: Final = 32  # bits of a factor: one f32, or small elements that are multiplied together
_BITS: Final = 128  # of a register
_OTHERS: Final = 4  # registers for what is multiplied


@frozen
class Part:
    """One lane of a vector load that stands for several loads."""

    load: Load
    lane: int


def runs(s: Seq, registers: int) -> dict[int, Part]:
    """For factors of the stores in `s` that all lanes share, by identity of their load: which lane
    of which load they are. A lane is an f32, or the small elements that a dot product multiplies.

    Every load of a run is done whenever one is, so that all of its elements can be read. Runs wait
    in registers from their first use to their last: where these, with all sums that the statements
    around keep, would be more than `registers` of 128 bits, each factor is loaded by itself.
    """
    found: dict[int, Part] = {}
    for block in _blocks(s):
        places = _places(block)
        parts = _parts([load for load, _ in places])
        if _at_once(places, parts) + _sums(block) + _OTHERS <= registers:
            found = {**parts, **found}
    return found


def _blocks(s: Seq) -> Iterator[list[Store]]:
    """The stores that follow each other with no branch and no loop between."""
    for is_store, block in groupby(s.body, lambda x: isinstance(x, Store)):
        if is_store:
            yield [x for x in block if isinstance(x, Store)]


def _places(block: Sequence[Store]) -> list[tuple[Load, int]]:
    """The shared factors of a block, and the number of the statement that each stands in."""
    found = {}
    for n, store in enumerate(block):
        for root in own_exprs(store):
            for load in shared_factors(root):
                found[id(load), n] = (load, n)
    return list(found.values())


def shared_factors(root: Expr) -> Iterator[Load]:
    """The loads of factors of products in `root` that all lanes share."""
    for x in sub_exprs(root):
        if isinstance(x, Fma) and x.lanes > 1 and x.dtype is F32:
            for factor in (x.a, x.b):
                load = factor.x if isinstance(factor, Broadcast) else factor
                if isinstance(load, Load) and load.lanes == 1 and load.mask is None:
                    yield load
        elif isinstance(x, Dot):
            words = shared_word(x.a), shared_word(x.b)
            yield from (load for load in words if load is not None)


def shared_word(x: Expr) -> Load | None:
    """The load of the small elements that are the same for all lanes of a dot product."""
    match x:
        case Binary("and", y, Broadcast(Const(), _)):
            return shared_word(y)
        case Bitcast(Broadcast(Bitcast(Load(_, (Ramp(_, Const(1), width),), None) as load, _), _)):
            return load if width * load.dtype.bits == _WORD else None
    return None


def _parts(loads: Sequence[Load]) -> dict[int, Part]:
    groups: dict[tuple[object, ...], dict[int, list[Load]]] = {}
    for load in loads:
        poly = dict(plain_poly(_start(load)))
        offset, part = divmod(poly.pop(ONE, 0), load.lanes)
        key = (load.buffer.name, load.lanes, part, frozenset(poly.items()))
        groups.setdefault(key, {}).setdefault(offset, []).append(load)
    found = {}
    for offsets in groups.values():
        for first, width in _pieces(sorted(offsets)):
            one = offsets[first][0]
            if one.lanes > 1 and width < max(_WIDTHS):
                continue  # words come in whole registers
            whole = Load(one.buffer, (Ramp(_start(one), Const(1), width * one.lanes),))
            for lane in range(width):
                for load in offsets[first + lane]:
                    found[id(load)] = Part(whole, lane)
    return found


def _start(load: Load) -> Expr:
    (index,) = load.indices
    return index.base if isinstance(index, Ramp) else index


def _pieces(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of offsets that follow each other, cut into widths that registers have."""
    at = 0
    while at < len(offsets):
        for width in _WIDTHS:
            if offsets[at : at + width] == list(range(offsets[at], offsets[at] + width)):
                yield offsets[at], width
                at += width
                break
        else:
            at += 1


def _at_once(places: Sequence[tuple[Load, int]], parts: dict[int, Part]) -> int:
    """The most runs that wait at the same time."""
    spans: dict[int, list[int]] = {}
    for load, n in places:
        if id(load) in parts:
            spans.setdefault(id(parts[id(load)].load), []).append(n)
    ends = [(min(s), 1) for s in spans.values()] + [(max(s) + 1, -1) for s in spans.values()]
    most = now = 0
    for _, change in sorted(ends):
        now += change
        most = max(most, now)
    return most


def _sums(block: Sequence[Store]) -> int:
    """How many registers the places of register buffers take that the block writes."""
    places = {(s.buffer, s.indices) for s in block if s.buffer.scope is Scope.REGISTER}
    return sum(-(-i[0].lanes * b.dtype.bits // _BITS) for b, i in places)
