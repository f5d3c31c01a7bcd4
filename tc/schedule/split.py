"""Breaking loops in two, joining two loops, and naming the policy for what is left over."""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Var, minimum, select
from tc.ir.loop import For, Func, If, LoopKind, Stmt, seq
from tc.ir.simplify import simplify
from tc.ir.visit import substitute_stmt
from tc.schedule.rewrite import (
    check_factor,
    constant,
    find_loops,
    header,
    primitive,
    refuse,
    rewrite_loops,
)

TAILS = ("cut", "ragged", "balanced", "guard", "perfect")


@primitive
def split(func: Func, loop: str, factor: int, tail: str = "cut") -> Func:
    """Break `loop` into an outer loop `<loop>0` and an inner loop `<loop>1`.

    rewrite: for i in range(n): body(i)
    cut:     for i0 in range(n // factor):
                 for i1 in range(factor): body(i0 * factor + i1)
             for it in range(n % factor): body(n // factor * factor + it)
    ragged:  the last inner loop is shorter: for i1 in range(min(factor, n - i0 * factor))
    balanced: ceil(n / factor) inner loops whose lengths differ by at most one
    guard:   if i0 * factor + i1 < n: body, in whole inner loops
    perfect: nothing is left over; refused unless that is certain

    A loop that divides evenly takes the plain form under every policy.
    Raises ScheduleError: no such loop, factor < 1, unknown tail, or `perfect` that is not.
    """
    check_factor("split", factor)
    if tail not in TAILS:
        raise ScheduleError(f"split: tail is {tail!r}; it can be {', '.join(TAILS)}")
    return rewrite_loops(func, "split", loop, lambda x: split_loop(x, factor, tail))


def split_loop(x: For, factor: int, tail: str) -> Stmt:
    """One loop, split; names are the loop's with 0 and 1 appended."""
    name, n = x.var.name, simplify(x.extent)
    f = Const(factor)
    outer, inner = Var(name + "0"), Var(name + "1")
    if simplify(n % f) == Const(0):
        count, body = simplify(n // f), _at(x, outer * f + inner)
        return For(outer, count, x.kind, For(inner, f, LoopKind.SERIAL, body))
    match tail:
        case "perfect":
            raise refuse(
                "split", header(x), f"the extent may not be a multiple of {factor}",
                f"use another tail: {', '.join(TAILS[:4])}",
            )  # fmt: skip
        case "cut":
            rest, whole = Var(name + "t"), simplify(n // f)
            main = For(outer, whole, x.kind, For(inner, f, LoopKind.SERIAL, _at(x, outer * f + inner)))
            left = For(rest, simplify(n % f), x.kind, _at(x, whole * f + rest))
            return left if whole == Const(0) else seq(main, left)
        case "ragged":
            extent: Expr = minimum(f, n - outer * f)
            return For(
                outer, _ceil(n, f), x.kind,
                For(inner, simplify(extent), LoopKind.SERIAL, _at(x, outer * f + inner)),
            )  # fmt: skip
        case "balanced":
            return _balanced(x, n, f, outer, inner)
    body: Stmt = If(outer * f + inner < n, _at(x, outer * f + inner))
    return For(outer, _ceil(n, f), x.kind, For(inner, f, LoopKind.SERIAL, body))


def _balanced(x: For, n: Expr, f: Const, outer: Var, inner: Var) -> Stmt:
    tiles = _ceil(n, f)
    least, longer = simplify(n // tiles), simplify(n % tiles)
    start = outer * least + minimum(outer, longer)
    # The min tells the analysis what the arithmetic implies: no tile is longer than the factor.
    extent = minimum(f, least + select(outer < longer, Const(1), Const(0)))
    return For(
        outer, tiles, x.kind,
        For(inner, simplify(extent), LoopKind.SERIAL, _at(x, simplify(start) + inner)),
    )  # fmt: skip


def _ceil(n: Expr, f: Const) -> Expr:
    return simplify((n + (int(f.value) - 1)) // f)


def _at(x: For, value: Expr) -> Stmt:
    return substitute_stmt(x.body, {x.var: value})


@primitive
def tile(
    func: Func, rows: str, columns: str, mr: int, nr: int, tail: str = "ragged"
) -> Func:
    """Split two nested loops and bring the outer halves outside.

    rewrite: for i: for j: body
    into:    for i0: for j0: for i1: for j1: body(i0 * mr + i1, j0 * nr + j1)

    Raises ScheduleError as `split` and `reorder` do.
    """
    from tc.schedule.reorder import reorder

    func = split(split(func, rows, mr, tail), columns, nr, tail)
    return reorder(func, rows + "0", columns + "0", rows + "1", columns + "1")


@primitive
def fuse(func: Func, outer: str, inner: str, name: str) -> Func:
    """Join two perfectly nested loops into one called `name`.

    rewrite: for i in range(n): for j in range(m): body(i, j)
    into:    for ij in range(n * m): body(ij // m, ij % m)

    Raises ScheduleError: no such loops, not perfectly nested, or m depends on i.
    """
    find_loops(func, "fuse", inner)

    def join(x: For) -> Stmt:
        y = x.body
        if not isinstance(y, For) or y.var.name != inner:
            raise refuse(
                "fuse", header(x), f"its body is not just the loop {inner!r}",
                "reorder the loops so that one is directly inside the other",
            )  # fmt: skip
        from tc.ir.visit import uses

        if uses(y.extent, x.var):
            raise refuse(
                "fuse", header(y), f"its extent depends on {outer!r}", "fuse before splitting"
            )
        both = Var(name)
        if constant(y.extent) == 1:
            at = {x.var: both, y.var: Const(0)}
        else:
            at = {x.var: both // y.extent, y.var: both % y.extent}
        return For(both, simplify(x.extent * y.extent), x.kind, substitute_stmt(y.body, at))

    return rewrite_loops(func, "fuse", outer, join)
