"""Changing the order of loops, and taking a reduction out of the loops around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Load
from tc.ir.loop import Alloc, Buffer, For, Func, If, Scope, Seq, Stmt, Store, Update, seq
from tc.ir.visit import loads_of, move_buffers, sub_exprs, sub_stmts, uses
from tc.schedule.dependence import require_independent, shared_buffer
from tc.schedule.rewrite import (
    find_loops,
    header,
    loops,
    primitive,
    refuse,
    rewrite_loops,
    size_bound,
    stored_buffers,
)

MAX_REGISTER = 4096  # elements of an accumulator; a larger one lives in memory


@primitive
def reorder(func: Func, *names: str) -> Func:
    """Nest the named loops in the given order, the first outermost.

    rewrite: for i: for j: body          into:    for j: for i: body

    A reduction loop may move out of the loops around it; its accumulator then gets one element
    for each of their iterations, and what stands before and after the reduction runs in loops
    of its own that keep their names:

    rewrite: for i:                               with acc = alloc(f32[I], register):
                 with acc = alloc(f32[]):             for i: acc[i] = 0
                     acc[] = 0                        for k:
                     for k: acc[] += x       into:        for i: acc[i] += x
                     y[i] = acc[]                     for i: y[i] = acc[i]

    Raises ScheduleError: no such loop, loops not nested in each other, or a loop that would move
    past a dependence.
    """
    if not names:
        raise ScheduleError("reorder: names no loop; name those to nest, the outermost first")
    for n in names:
        find_loops(func, "reorder", n)
    top = _outermost(func, names)
    return rewrite_loops(func, "reorder", top, lambda x: _reorder_nest(x, names))


def _outermost(func: Func, names: Sequence[str]) -> str:
    """The loop of the names around all others; side by side, others may share some names."""
    found = [x for x in loops(func.body) if x.var.name in names]
    whole = (x for x in found if set(names) <= {y.var.name for y in loops(x)})
    return next(whole, found[0]).var.name


def _reorder_nest(top: For, names: Sequence[str]) -> Stmt:
    inside = {y.var.name for y in loops(top)}
    wanted = [n for n in names if n in inside]
    if len(wanted) < len(names):
        # A copy of the nest that lacks some of the loops (the tail of a cut) stays as it is.
        missing = next(n for n in names if n not in inside)
        raise refuse(
            "reorder", header(top), f"the loop {missing!r} is not inside it",
            "name loops of one nest",
        )  # fmt: skip
    return _place(top, wanted)


def _place(s: Stmt, order: Sequence[str], own: frozenset[str] = frozenset()) -> Stmt:
    """`s` with its loops in that order; `s` starts with a loop of the order.

    `own` names accumulators that get an element for each iteration of what moves inside.
    """
    if not order:
        return s
    first = order[0]
    chain: list[For] = []
    at: Stmt = s
    while isinstance(at, For) and at.var.name != first:
        chain.append(at)
        at = at.body
    if isinstance(at, For):
        return _hoist_perfect(chain, at, order, own)
    return _hoist_reduction(chain, at, order, own)


def _hoist_perfect(chain: list[For], x: For, order: Sequence[str], own: frozenset[str]) -> Stmt:
    for c in chain:
        if uses(x.extent, c.var):
            raise refuse(
                "reorder", header(x), f"its extent depends on {c.var.name}",
                "split the inner loop after reordering",
            )  # fmt: skip
        if c.var.name not in order:
            raise refuse(
                "reorder", header(c), "it stands between the loops to reorder",
                "name it in the order too",
            )  # fmt: skip
    if chain:
        _require_movable(x, chain, own)
    body = x.body
    for c in reversed(chain):
        body = For(c.var, c.extent, c.kind, body)
    rest = list(order[1:])
    return For(x.var, x.extent, x.kind, _place(body, rest, own) if rest else body)


def _require_movable(x: For, chain: list[For], own: frozenset[str]) -> None:
    """Interchange is safe where each loop's iterations are independent or all reductions.

    What `x` carries from one iteration to the next does not matter where the loops that it moves
    out of carry nothing: each of their iterations keeps its own order.
    """
    if all(shared_buffer(c, own) is None for c in chain):
        return
    for y in (x, *chain):
        if _only_reduces(y):
            continue
        require_independent("reorder", y)


def _only_reduces(x: For) -> bool:
    """Whether all that the loop changes are accumulators, by updates alone, not read elsewhere."""
    own = {s.buffer.name for s in sub_stmts(x.body) if isinstance(s, Alloc)}
    updated: set[str] = set()
    for s in sub_stmts(x.body):
        if isinstance(s, Store) and s.buffer.name not in own:
            return False
        if isinstance(s, Update):
            updated.update(b.name for b in s.buffers)
    return not any(n.buffer.name in updated - own for n in loads_of(x.body))


def _hoist_reduction(
    chain: list[For], body: Stmt, order: Sequence[str], own: frozenset[str]
) -> Stmt:
    """Distribute the loops of `chain` over what is around the loop order[0] inside `body`."""
    first = order[0]
    body = _guards_inside(body, first)
    allocs: list[Buffer] = []
    while isinstance(body, Alloc):
        allocs.append(body.buffer)
        body = body.body
    parts = body.body if isinstance(body, Seq) else (body,)
    at = [n for n, p in enumerate(parts) if any(y.var.name == first for y in loops(p))]
    if len(at) != 1:
        place = header(chain[0]) if chain else first
        raise refuse(
            "reorder", place, f"the loop {first!r} is not one of the statements of its body",
            "name loops of one nest",
        )  # fmt: skip
    own |= {b.name for b in allocs}
    for c in chain:
        _require_distributable(c, own)
    middle = _place_in(parts[at[0]], chain, order, own)
    before, after = seq(*parts[: at[0]]), seq(*parts[at[0] + 1 :])
    out = seq(*_wrap(before, chain), middle, *_wrap(after, chain))
    return _expand(allocs, chain, out) if chain else _allocated(allocs, out)


def _guards_inside(s: Stmt, first: str) -> Stmt:
    """`if c: (a; for k: b)` as `(if c: a); for k: (if c: b)`, down to the loop `first`."""
    match s:
        case If(cond, then, None) if not any(isinstance(n, Load) for n in sub_exprs(cond)):
            return _guard(cond, _guards_inside(then, first), first)
        case Alloc(b, body):
            return Alloc(b, _guards_inside(body, first))
    return s


def _guard(cond: Expr, s: Stmt, first: str) -> Stmt:
    match s:
        case Alloc(b, body):
            return Alloc(b, _guard(cond, body, first))
        case Seq(body):
            return seq(*[_guard(cond, b, first) for b in body])
        case For(var, extent, kind, body) if var.name == first or any(
            y.var.name == first for y in loops(body)
        ):
            return For(var, extent, kind, _guard(cond, body, first))
    return If(cond, s)


def _place_in(s: Stmt, chain: list[For], order: Sequence[str], own: frozenset[str]) -> Stmt:
    for c in reversed(chain):
        s = For(c.var, c.extent, c.kind, s)
    return _place(s, order, own)


def _wrap(s: Stmt, chain: list[For]) -> list[Stmt]:
    if isinstance(s, Seq) and not s.body:
        return []
    for c in reversed(chain):
        s = For(c.var, c.extent, c.kind, s)
    return [s]


def _require_distributable(c: For, own: frozenset[str]) -> None:
    """Statements may be taken apart where different iterations share nothing that is written."""
    if stored_buffers(c.body) <= own | _inner_allocs(c.body):
        return
    require_independent("reorder", c)


def _inner_allocs(s: Stmt) -> set[str]:
    return {x.buffer.name for x in sub_stmts(s) if isinstance(x, Alloc)}


def _allocated(buffers: Sequence[Buffer], s: Stmt) -> Stmt:
    for b in reversed(buffers):
        s = Alloc(b, s)
    return s


def _expand(buffers: Sequence[Buffer], chain: list[For], s: Stmt) -> Stmt:
    """`s` with one element of each buffer for each iteration of the distributed loops."""
    dims = tuple(size_bound(c.extent) for c in chain)
    for c, d in zip(chain, dims, strict=True):
        if any(uses(d, other.var) for other in chain):
            raise refuse(
                "reorder", header(c), "its extent depends on a loop that moves with it",
                "split it first, so that its length has a constant bound",
            )  # fmt: skip
    index: tuple[Expr, ...] = tuple(c.var for c in chain)
    wide = {b.name: _wider(b, dims) for b in buffers}
    return _allocated(list(wide.values()), move_buffers(s, wide, lambda i: (*index, *i)))


def _wider(b: Buffer, dims: tuple[Expr, ...]) -> Buffer:
    shape = (*dims, *b.shape)
    sizes = [int(d.value) for d in shape if isinstance(d, Const)]
    fits = len(sizes) == len(shape) and math.prod(sizes) <= MAX_REGISTER
    scope = b.scope if fits else Scope.SCRATCH
    return Buffer(b.name, shape, b.dtype, scope, b.align)
