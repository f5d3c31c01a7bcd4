"""How a loop runs: unrolled, in vector lanes, divided between threads."""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Var
from tc.ir.interval import bounds
from tc.ir.loop import For, Func, If, LoopKind, Stmt, seq
from tc.ir.passes.versions import MAX_VERSIONS
from tc.ir.simplify import simplify
from tc.ir.visit import substitute_stmt
from tc.schedule.dependence import require_independent
from tc.schedule.rewrite import constant, header, primitive, refuse, rewrite_loops, touches

MAX_UNROLL = 256


@primitive
def unroll(func: Func, loop: str, touching: str = "") -> Func:
    """Write the iterations of `loop` out one after the other.

    rewrite: for i in range(4): body(i)
    into:    for i in unroll(4): body(i)

    Where the length varies, the code around the loop gets a version for each length. Of several
    loops of the name, `touching` picks those in which that buffer is used.
    Raises ScheduleError: no such loop, or an extent that is not known to be at most 256 (at most
    32 where it varies).
    """

    def fn(x: For) -> Stmt:
        if touching and not touches(x.body, touching):
            return x
        hi = bounds(x.extent).hi
        most = MAX_UNROLL if isinstance(x.extent, Const) else MAX_VERSIONS
        if hi is None or hi > most:
            raise refuse(
                "unroll", header(x), f"the extent is not known to be at most {most}",
                "split the loop first",
            )  # fmt: skip
        return For(x.var, x.extent, LoopKind.UNROLLED, x.body)

    return rewrite_loops(func, "unroll", loop, fn)


@primitive
def vectorize(func: Func, loop: str, lanes: int) -> Func:
    """Run `lanes` iterations of `loop` side by side.

    rewrite: for j in range(n): body(j)
    into:    for j in range(n // lanes):
                 for jv in vector(lanes): body(j * lanes + jv)
             if n % lanes:                                          # unless n divides evenly
                 for jv in vector(lanes):
                     if n // lanes * lanes + jv < n: body(n // lanes * lanes + jv)

    The lanes that are switched off touch no memory.
    Raises ScheduleError: no such loop, lanes < 1, or iterations that depend on each other.
    """
    if lanes < 1:
        raise ScheduleError(
            f"vectorize: lanes is {lanes}, must be at least 1; give a positive number"
        )
    return rewrite_loops(func, "vectorize", loop, lambda x: _vectorize(x, lanes))


def _vectorize(x: For, lanes: int) -> Stmt:
    require_independent("vectorize", x)
    n, width = simplify(x.extent), Const(lanes)
    if constant(n) == lanes:
        return For(x.var, width, LoopKind.VECTOR, x.body)
    lane = Var(x.var.name + "v")

    def vector(start: Expr, guard: bool) -> Stmt:
        body = substitute_stmt(x.body, {x.var: start + lane})
        if guard:
            body = If(start + lane < n, body)
        return For(lane, width, LoopKind.VECTOR, body)

    main = For(x.var, simplify(n // width), x.kind, vector(x.var * width, False))
    left = simplify(n % width)
    if left == Const(0):
        return main
    tail = vector(simplify(n // width) * width, True)
    if isinstance(left, Const):
        return tail if simplify(n // width) == Const(0) else seq(main, tail)
    return seq(main, If(Const(0) < left, tail))


@primitive
def parallel(func: Func, loop: str) -> Func:
    """Divide the iterations of an outermost `loop` between threads, in contiguous ranges.

    rewrite: for i in range(n): body(i)
    into:    for i in parallel(n): body(i)

    Parallel loops that are perfectly nested are divided as the one loop that they form.
    Raises ScheduleError: no such loop, neither outermost nor directly inside a parallel loop, or
    iterations that depend on each other.
    """

    def fn(x: For) -> Stmt:
        require_independent("parallel", x)
        return For(x.var, x.extent, LoopKind.PARALLEL, x.body)

    return rewrite_loops(func, "parallel", loop, fn)
