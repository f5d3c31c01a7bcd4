"""Iterations that read one place: a version of a loop for where data say that they all do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tc.ir.expr import Binary, Const, Expr, Load, Var, binary, equal
from tc.ir.interval import bounds
from tc.ir.loop import Alloc, Buffer, For, Func, If, Stmt
from tc.ir.passes.versions import MAX_VERSIONS
from tc.ir.simplify import simplify
from tc.ir.visit import (
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
        same = _all_same(x, places, most, whole)
        return If(same, For(x.var, Const(most), x.kind, alike), _renamed(x))

    return rewrite_loops(func, "agree", loop, rewrite)


def _places(x: For, buffer: str) -> Iterator[Expr]:
    """The indices of `buffer` that follow from data, others in each iteration.

    Data that the loop itself writes, and what changes within an iteration, are not among them.
    """
    inner = {y.var for y in loops(x.body)}
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


def _all_same(x: For, places: list[Expr], most: int, whole: Expr) -> Expr:
    """Whether there are as many iterations as can be, and each place is that of the first one."""
    found = whole
    for place in places:
        first, *others = (
            _where(substitute(place, {x.var: Const(n)}), whole) for n in range(max(most, 1))
        )
        for other in others:
            found = binary("and", found, Binary("eq", other, first))
    return found


def _where(place: Expr, whole: Expr) -> Expr:
    """A place that is only worked out where all iterations are there: behind them are no data."""
    if whole == Const(True):
        return place

    def masked(e: Expr) -> Expr | None:
        if not isinstance(e, Load):
            return None
        return Load(e.buffer, e.indices, whole if e.mask is None else binary("and", whole, e.mask))

    return map_expr(place, masked)


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
