"""Dependence analysis: may the iterations of a loop run in any order, or at the same time?

Two accesses of one buffer conflict unless they are the same element in the same iteration only.
The test is on affine indices: if some index contains the loop variable with a constant factor,
takes the same form in every access, and the rest of it varies by less than that factor, then two
different iterations touch different elements.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

from tc.frozen import frozen
from tc.ir.affine import expr_of, plain_poly
from tc.ir.affine import separated as split_off
from tc.ir.expr import Binary, Const, Expr, Load, Var
from tc.ir.facts import Facts
from tc.ir.interval import Interval, bounds
from tc.ir.loop import Alloc, For, Stmt, Store, Update
from tc.ir.rewrite import Rewriter
from tc.ir.simplify import is_true, simplifier
from tc.ir.types import I64
from tc.ir.visit import free_vars, own_exprs, sub_exprs, sub_stmts, substitute
from tc.schedule.rewrite import env_of, header, loops, refuse

Access = tuple[Expr, ...]

_PROVEN: Final[ContextVar[bool]] = ContextVar("proven", default=False)


@contextlib.contextmanager
def proven() -> Iterator[None]:
    """Take iterations to be independent without looking, which is half the work of a schedule.

    For whoever only looks at the loops that a schedule gives: what is compiled is made anew from
    the steps, with every proof.
    """
    token = _PROVEN.set(True)
    try:
        yield
    finally:
        _PROVEN.reset(token)


def require_independent(step: str, x: For) -> None:
    """Refuse unless different iterations of `x` touch different elements of what is written."""
    name = shared_buffer(x)
    if name is not None:
        raise refuse(
            step, header(x), f"its iterations may touch the same element of {name}",
            "choose a loop over an axis of the output, or rfactor the reduction",
        )  # fmt: skip


def shared_buffer(x: For, apart: frozenset[str] = frozenset()) -> str | None:
    """A buffer of which different iterations of `x` may write and touch the same element.

    Those named in `apart` are known to have elements of their own for each iteration.
    """
    if _PROVEN.get():
        return None
    own = apart | {s.buffer.name for s in sub_stmts(x.body) if isinstance(s, Alloc)}
    written = {name: w for name, w in _writes(x.body).items() if name not in own}
    if not written:
        return None
    place, loaded = _place_in(x), _reads(x.body, written)
    for name, (shape, stored) in written.items():
        if not separated(stored + loaded.get(name, []), shape, x, place):
            return name
    return None


def _writes(s: Stmt) -> dict[str, tuple[tuple[Expr, ...], list[Access]]]:
    """For each buffer that is written: its shape and the places of the writes."""
    out: dict[str, tuple[tuple[Expr, ...], list[Access]]] = {}
    for inner in sub_stmts(s):
        match inner:
            case Store(buffer=b, indices=indices):
                out.setdefault(b.name, (b.shape, []))[1].append(indices)
            case Update(buffers=bs, indices=indices):
                for b in bs:
                    out.setdefault(b.name, (b.shape, []))[1].append(indices)
    return out


def _reads(s: Stmt, names: Container[str]) -> dict[str, list[Access]]:
    """For each buffer of these names that is read: the places of the reads."""
    out: dict[str, list[Access]] = {}
    for inner in sub_stmts(s):
        for e in own_exprs(inner):
            for n in sub_exprs(e):
                if isinstance(n, Load) and n.buffer.name in names:
                    out.setdefault(n.buffer.name, []).append(n.indices)
    return out


def separated(
    accesses: list[Access], shape: tuple[Expr, ...], x: For, place: _Place | None = None
) -> bool:
    """Whether two different iterations of `x` can never touch one element.

    `place` is that of `x`, for a caller that asks about several buffers.

    Neighbouring dims are also looked at as the one dim that they form in memory, since a fused
    loop m appears as m // n and m % n.
    """
    if not accesses or Const(0) in shape:
        return True
    extent = bounds(x.extent)
    if extent.hi is not None and extent.hi <= 1:
        return True
    place = place or _place_in(x)
    accesses = list(dict.fromkeys(accesses))
    if _apart(accesses, shape, place):
        return True
    return _apart(accesses, shape, replace(place, inside=place.proven))


def _apart(accesses: list[Access], shape: tuple[Expr, ...], place: _Place) -> bool:
    rank = len(shape)
    for width in range(1, rank + 1):
        for first in range(rank - width + 1):
            dims = slice(first, first + width)
            parts = [*shape[dims], *(i for a in accesses for i in a[dims])]
            if not any(place.var in free_vars(i) for i in parts):
                continue  # it is the same in all iterations
            joined = [_linear(a[dims], shape[dims]) for a in accesses]
            if width > 1:
                joined = [place.plain(i) for i in joined]
            if _separates(list(dict.fromkeys(joined)), place):
                return True
    return False


@frozen
class _Place:
    """A loop variable, what is known of it and the loops inside, and simplifiers to share."""

    var: Var
    env: dict[Var, Interval]
    lengths: dict[Var, Expr]
    plain: Callable[[Expr], Expr]
    inside: Callable[[Expr], Expr]
    proven: Callable[[Expr], Expr]


def _place_in(x: For) -> _Place:
    inside = list(loops(x.body))
    env = env_of(inside)
    hi = bounds(x.extent).hi
    env[x.var] = Interval(0, None if hi is None else hi - 1)
    plain = simplifier()

    @functools.cache
    def known() -> Callable[[Expr], Expr]:
        # That a loop variable is below its extent is no theorem to look for a proof of.
        facts = Facts(env)
        for cond in extent_facts([x, *inside]):
            facts = facts.given(plain(cond))
        return Rewriter(facts)

    @functools.cache
    def proven() -> Callable[[Expr], Expr]:
        return simplifier(env, extent_facts([x, *inside]))

    # Most loops are told apart by their step alone; what is known of the others costs more, and
    # to look for what follows from it costs most.
    lengths = {v: found[0] for v, found in _extents(inside).items() if len(found) == 1}
    return _Place(x.var, env, lengths, plain, lambda e: known()(e), lambda e: proven()(e))


def _linear(indices: Access, shape: tuple[Expr, ...]) -> Expr:
    out = indices[0]
    for i, n in zip(indices[1:], shape[1:], strict=True):
        out = out * n + i
    return out


def _separates(indices: list[Expr], place: _Place) -> bool:
    """Whether this one dim tells the iterations apart: step * var + rest, 0 <= rest - c < step."""
    parts = [_known_step(i, place.var) for i in indices]
    found = [p for p in parts if p is not None]
    steps = {s for s, _ in found}
    if len(found) < len(parts) or len(steps) != 1:
        return False
    rests = [r for _, r in found]
    step = steps.pop()
    if isinstance(step, Const):
        if int(step.value) <= 0:
            return False
    elif not is_true(place.inside(Const(0) < step)):
        return False
    # Parts that do not vary inside the loop shift all iterations alike.
    fixed = substitute(rests[0], {v: Const(0) for v in place.env})
    offsets = list(dict.fromkeys(place.plain(r - fixed) for r in rests))
    if isinstance(step, Const):
        spans = [bounds(o, place.env) for o in offsets]
        if all(s.lo is not None and s.hi is not None for s in spans):
            lo, hi = min(s.lo or 0 for s in spans), max(s.hi or 0 for s in spans)
            return hi - lo < int(step.value)
    return all(
        is_true(place.inside(Const(0) <= o)) and is_true(place.inside(_last(o, place) < step))
        for o in offsets
    )


def _last(offset: Expr, place: _Place) -> Expr:
    """`offset` with the loops that go in steps of unknown length at their last iteration.

    Of tiles of equal but unknown length, the last one reaches furthest.
    """
    for var, length in place.lengths.items():
        found = _known_step(offset, var)
        if found is None or isinstance(found[0], Const):
            continue
        step, rest = found
        if is_true(place.inside(Const(0) <= step)):
            offset = place.plain(rest + step * (length - 1))
    return offset


def extent_facts(nest: list[For]) -> list[Expr]:
    """What the extents say of the loop variables, each side of a minimum by itself."""
    out: list[Expr] = []
    for var, lengths in _extents(nest).items():
        if len(lengths) > 1:
            continue  # loops side by side that share a name, not a length
        todo = list(lengths)
        while todo:
            e = todo.pop()
            if isinstance(e, Binary) and e.op == "min":
                todo += [e.a, e.b]
            else:
                out.append(var < e)
    return out


def _extents(nest: list[For]) -> dict[Var, list[Expr]]:
    """The different lengths of each loop variable."""
    out: dict[Var, dict[Expr, None]] = {}
    for x in nest:
        out.setdefault(x.var, {})[x.extent] = None
    return {v: list(found) for v, found in out.items()}


def affine_step(index: Expr, var: Var) -> tuple[Expr, Expr] | None:
    """(step, rest) with index = step * var + rest, both free of var, or None if there is none."""
    if var not in free_vars(index):
        return Const(0), index
    if index.dtype is not I64 or index.lanes != 1:
        return None
    rest, step = split_off(plain_poly(simplifier()(index)), var)
    if any(var in free_vars(atom) for part in (rest, step) for m in part for atom in m):
        return None
    return expr_of(step), expr_of(rest)


# Each step of a schedule asks it again of the indices that no step has changed. Only for proofs:
# what becomes part of a kernel is made for it alone.
_known_step = functools.lru_cache(maxsize=1 << 12)(affine_step)


def coefficient(index: Expr, var: Var) -> tuple[int, Expr] | None:
    """As `affine_step`, where the step is a constant."""
    found = affine_step(index, var)
    if found is None or not isinstance(found[0], Const):
        return None
    return int(found[0].value), found[1]
