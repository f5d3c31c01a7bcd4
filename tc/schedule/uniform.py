"""Whole vectors without the condition that only the last one needs."""

from __future__ import annotations

from collections.abc import Iterator

from tc.ir.expr import Binary, Const, Expr, Select
from tc.ir.loop import For, Func, If, LoopKind, Stmt
from tc.ir.simplify import simplify
from tc.ir.visit import (
    bound_names,
    free_vars,
    map_stmt,
    own_exprs,
    sub_exprs,
    sub_stmts,
    substitute,
    uses,
)
from tc.schedule.dependence import coefficient
from tc.schedule.rewrite import find_loops, header, primitive, refuse, rewrite_loops


@primitive
def uniform(func: Func, loop: str) -> Func:
    """Write `loop`, in lanes, once more for where a limit holds in all of its lanes.

    rewrite: for i in vector(16): b[i] = select(s + i < n, x, 0)
    into:    if s + 15 < n:
                 for i in vector(16): b[i] = x
             else:
                 for i in vector(16): b[i] = select(s + i < n, x, 0)

    Loads under a condition of each lane are gathered lane by lane; whole vectors need not be.
    Of several loops of the name, those without such a limit stay as they are.
    Raises ScheduleError: no such loop, one that is not in lanes, or no such limit in any.
    """
    found = find_loops(func, "uniform", loop)
    if all(next(_limits(x), None) is None for x in found):
        raise refuse(
            "uniform", header(found[0]), "no limit grows with its lanes", "leave it as it is"
        )
    return rewrite_loops(func, "uniform", loop, _uniform)


def _uniform(x: For) -> Stmt:
    if x.kind is not LoopKind.VECTOR or not isinstance(x.extent, Const):
        raise refuse("uniform", header(x), "it is not in lanes", "vectorize it first")
    limit = next(_limits(x), None)
    if limit is None:
        return x

    def expr(e: Expr) -> Expr | None:
        return e.then if isinstance(e, Select) and e.cond == limit else None

    def stmt(s: Stmt) -> Stmt | None:
        return s.then if isinstance(s, If) and s.cond == limit and s.other is None else None

    last = simplify(substitute(limit, {x.var: Const(int(x.extent.value) - 1)}))
    return If(last, map_stmt(x, expr, stmt), x)


def _limits(x: For) -> Iterator[Expr]:
    """Conditions i < n of a choice or a guard, with i growing by the lane and n fixed."""
    inner = bound_names(x.body)
    for s in sub_stmts(x.body):
        conds = [s.cond] if isinstance(s, If) and s.other is None else []
        conds += [e.cond for o in own_exprs(s) for e in sub_exprs(o) if isinstance(e, Select)]
        for c in conds:
            if not isinstance(c, Binary) or c.op != "lt" or not inner.isdisjoint(free_vars(c)):
                continue
            part = coefficient(c.a, x.var)
            if part is not None and part[0] > 0 and not uses(c.b, x.var):
                yield c
