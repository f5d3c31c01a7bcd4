"""Evening out work that grows along a loop whose iterations are divided between threads."""

from __future__ import annotations

from tc.ir.expr import Const, Expr, equal, select
from tc.ir.loop import For, Func, Stmt
from tc.ir.simplify import simplify
from tc.ir.visit import substitute_stmt
from tc.schedule.dependence import require_independent
from tc.schedule.rewrite import primitive, rewrite_loops


@primitive
def zigzag(func: Func, loop: str) -> Func:
    """Take the iterations of `loop` in turn from its beginning and from its end.

    rewrite: for i in range(n): body(i)
    into:    for i in range(n): body(i // 2 if i % 2 == 0 else n - 1 - i // 2)

    Where the work grows along the loop, as under a causal mask, neighbouring iterations are then
    equally much together, and contiguous shares of the loop equally long.
    Raises ScheduleError: no such loop, or iterations that depend on each other.
    """
    return rewrite_loops(func, "zigzag", loop, _zigzag)


def _zigzag(x: For) -> Stmt:
    require_independent("zigzag", x)
    half = x.var // 2
    even = equal(x.var % 2, Const(0))
    at: Expr = select(even, half, simplify(x.extent - 1) - half)
    return For(x.var, x.extent, x.kind, substitute_stmt(x.body, {x.var: at}))
