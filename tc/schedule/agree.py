"""Iterations that read one place: a version of a loop for where data say that they all do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import and_

from tc.ir.expr import Binary, Const, Expr, Load, Var, equal
from tc.ir.interval import bounds
from tc.ir.loop import Alloc, Buffer, For, Func, If, Stmt
from tc.ir.passes.versions import MAX_VERSIONS
from tc.ir.simplify import is_true, simplifier, simplify
from tc.ir.visit import (
    bound_names,
    free_vars,
    loads_of,
    map_expr,
    map_stmt,
    move_buffers,
    sub_exprs,
    sub_stmts,
    substitute,
    substitute_stmt,
    uses,
)
from tc.schedule.dependence import extent_facts
from tc.schedule.rewrite import (
    env_of,
    find_param,
    fresh_names,
    header,
    loops,
    path_to,
    primitive,
    refuse,
    rewrite_loops,
    stored_buffers,
)

OTHER = "x"  # ends the names of loops and buffers where the iterations may differ


@primitive
def agree(func: Func, loop: str, buffer: str) -> Func:
    """Write `loop` once more for where all of its iterations read `buffer` at one place.

    rewrite: for i in range(min(4, n - s * 4)): b[s * 4 + i] = w[g[s * 4 + i]]
    into:    if min(4, n - s * 4) == 4 and g[s * 4 + 1] == g[s * 4] and ...:
                 for i in range(4): b[s * 4 + i] = w[g[s * 4]]
             else:
                 for ix in range(min(4, n - s * 4)): b[s * 4 + ix] = w[g[s * 4 + ix]]

    The first version is for as many iterations as there can be. The loops and local buffers of the
    other one have an x at the end of their names, so that it is scheduled by itself. Rows that are
    sorted by their places agree nearly everywhere; any other order is right as well.
    Raises ScheduleError: no such loop or parameter, a loop that may be longer than 32, or a
    buffer that it does not read at places that are data.
    """
    find_param(func, "agree", buffer)
    path = path_to(func.body, loop)

    def rewrite(x: For) -> Stmt:
        most = bounds(x.extent, env_of(path[:-1])).hi
        if most is None or most > MAX_VERSIONS:
            raise refuse(
                "agree", header(x), f"it may be longer than {MAX_VERSIONS}",
                "split it first with tail=ragged",
            )  # fmt: skip
        places = list(dict.fromkeys(_places(x, buffer)))
        if not places:
            raise refuse(
                "agree", header(x), f"{buffer} is not read at places that are data in it",
                "leave it as it is",
            )  # fmt: skip
        fresh_names(func, "agree", tuple(y.var.name + OTHER for y in loops(x)))
        whole = simplify(equal(x.extent, Const(most)))
        first = {p: substitute(p, {x.var: Const(0)}) for p in places}
        alike = map_stmt(x.body, lambda e: first.get(e))
        same = _all_same(x, places, most, _Guard(whole, path))
        return If(same, For(x.var, Const(most), x.kind, alike), _renamed(x))

    return rewrite_loops(func, "agree", loop, rewrite)


def _places(x: For, buffer: str) -> Iterator[Expr]:
    """The indices of `buffer` that follow from data, others in each iteration.

    Data that the loop itself writes, and what changes within an iteration, are not among them.
    """
    inner = bound_names(x.body)
    stored = stored_buffers(x.body)
    for load in loads_of(x.body):
        for i in load.indices if load.buffer.name == buffer else ():
            data = [n.buffer.name for n in sub_exprs(i) if isinstance(n, Load)]
            if (
                data
                and uses(i, x.var)
                and stored.isdisjoint(data)
                and inner.isdisjoint(free_vars(i))
            ):
                yield i


def _all_same(x: For, places: list[Expr], most: int, guard: _Guard) -> Expr:
    """Whether there are as many iterations as can be, and each place is that of the first one."""
    conds = [guard.whole]
    for place in places:
        first, *others = (guard(substitute(place, {x.var: Const(n)})) for n in range(max(most, 1)))
        conds += [Binary("eq", other, first) for other in others]
    return reduce(and_, [c for c in conds if not is_true(c)] or conds)


class _Guard:
    """Places that are worked out in front of the loop, beyond whose iterations there are no data.

    `whole` says that all iterations are there.
    """

    def __init__(self, whole: Expr, path: list[For]) -> None:
        self.whole = whole
        self.prove = simplifier(env_of(path), extent_facts(path))

    def __call__(self, place: Expr) -> Expr:
        return map_expr(place, self._masked)

    def _masked(self, x: Expr) -> Expr | None:
        if not isinstance(x, Load):
            return None
        conds = [] if x.mask is None else [x.mask]
        if not is_true(self.whole):
            conds.append(self.whole)
        else:  # iterations may be guarded one by one
            for i, n in zip(x.indices, x.buffer.shape, strict=True):
                conds += [c for c in (Const(0) <= i, i < n) if not is_true(self.prove(c))]
        return Load(x.buffer, x.indices, reduce(and_, conds)) if conds else None


def _renamed(x: For) -> Stmt:
    """The loop with names of its own for all that is in it."""
    own = {s.buffer.name: _own(s.buffer) for s in sub_stmts(x) if isinstance(s, Alloc)}

    def stmt(s: Stmt) -> Stmt | None:
        match s:
            case For(var, extent, kind, body):
                new = Var(var.name + OTHER)
                return For(new, extent, kind, substitute_stmt(body, {var: new}))
            case Alloc(buffer, body):
                return Alloc(own[buffer.name], body)
        return None

    return map_stmt(move_buffers(x, own, lambda at: at), None, stmt)


def _own(b: Buffer) -> Buffer:
    return replace(b, name=b.name + OTHER)
