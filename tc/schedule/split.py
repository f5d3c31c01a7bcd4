"""Breaking loops in two, joining two loops, and naming the policy for what is left over."""

from __future__ import annotations

import itertools

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Var, maximum, minimum
from tc.ir.loop import For, Func, If, LoopKind, Seq, Stmt, seq
from tc.ir.simplify import simplify
from tc.ir.visit import map_stmt, substitute_stmt, uses, with_body
from tc.schedule.dependence import require_independent
from tc.schedule.rewrite import (
    check_factor,
    constant,
    find_loops,
    header,
    primitive,
    refuse,
    rewrite_loops,
)

TAILS = ("cut", "ragged", "balanced", "guard", "equal", "perfect")


@primitive
def split(func: Func, loop: str, factor: int, tail: str = "cut") -> Func:
    """Break `loop` into an outer loop `<loop>0` and an inner loop `<loop>1`.

    rewrite: for i in range(n): body(i)
    cut:     for i0 in range(n // factor):
                 for i1 in range(factor): body(i0 * factor + i1)
             for it in range(n % factor): body(n // factor * factor + it)
    ragged:  the last inner loop is shorter: for i1 in range(min(factor, n - i0 * factor))
    balanced: as ragged, with the least factor that gives as few inner loops
    guard:   if i0 * factor + i1 < n: body, in whole inner loops
    equal:   as guard, with the least factor that gives as few inner loops
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
                f"use another tail: {', '.join(TAILS[:5])}",
            )  # fmt: skip
        case "cut":
            rest, whole = Var(name + "t"), simplify(n // f)
            main = For(
                outer, whole, x.kind, For(inner, f, LoopKind.SERIAL, _at(x, outer * f + inner))
            )
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
    length: Expr = f
    if tail == "equal":
        # Computed in front of the loops where they are divided, so even if there are none.
        length = simplify(minimum(f, _even(n, maximum(_ceil(n, f), Const(1)))))
    guarded: Stmt = If(outer * length + inner < n, _at(x, outer * length + inner))
    return For(outer, _ceil(n, f), x.kind, For(inner, length, LoopKind.SERIAL, guarded))


def _even(n: Expr, parts: Expr) -> Expr:
    """The length of parts that make `n`, all as long as the longest has to be."""
    return simplify((n + (parts - 1)) // parts)


def _balanced(x: For, n: Expr, f: Const, outer: Var, inner: Var) -> Stmt:
    tiles = _ceil(n, f)
    even = _even(n, tiles)
    # Even is at most the factor; saying so gives the analysis a constant bound.
    extent = simplify(minimum(f, minimum(even, n - outer * even)))
    return For(
        outer, tiles, x.kind,
        For(inner, extent, LoopKind.SERIAL, _at(x, outer * even + inner)),
    )  # fmt: skip


def _ceil(n: Expr, f: Const) -> Expr:
    return simplify((n + (int(f.value) - 1)) // f)


def _at(x: For, value: Expr) -> Stmt:
    return substitute_stmt(x.body, {x.var: value})


@primitive
def tile(func: Func, rows: str, columns: str, mr: int, nr: int, tail: str = "ragged") -> Func:
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
        if uses(y.extent, x.var):
            raise refuse(
                "fuse", header(y), f"its extent depends on {outer!r}", "fuse before splitting"
            )
        both = Var(name)
        if constant(y.extent) == 1:
            at = {x.var: both, y.var: Const(0)}
        else:
            at = {x.var: both // y.extent, y.var: both % y.extent}
        return For(
            both, simplify(x.extent * y.extent), LoopKind.SERIAL, substitute_stmt(y.body, at)
        )

    return rewrite_loops(func, "fuse", outer, join)


@primitive
def merge(func: Func, first: str, second: str) -> Func:
    """Run two neighbouring loops of the same length as one.

    rewrite: for i: a(i)          into:    for i: a(i); b(i)
             for j: b(j)

    Raises ScheduleError: no such loops, not neighbours, other lengths, or b(j) uses what another
    iteration of the first loop writes.
    """
    find_loops(func, "merge", first)
    find_loops(func, "merge", second)

    def join(s: Stmt) -> Stmt | None:
        if not isinstance(s, Seq):
            return None
        for n, (x, y) in enumerate(itertools.pairwise(s.body)):
            if not isinstance(x, For) or not isinstance(y, For):
                continue
            if (x.var.name, y.var.name) == (first, second):
                return seq(*s.body[:n], _merged(x, y), *s.body[n + 2 :])
        return None

    body = map_stmt(func.body, None, join)
    if body is func.body:
        raise refuse(
            "merge", f"{first}, {second}", "the second does not directly follow the first",
            "merge loops that stand next to each other",
        )  # fmt: skip
    return with_body(func, body)


def _merged(x: For, y: For) -> Stmt:
    if simplify(x.extent - y.extent) != Const(0):
        raise refuse(
            "merge", header(y), f"it is not as long as {header(x)}", "merge loops of one length"
        )
    both = For(x.var, x.extent, x.kind, seq(x.body, substitute_stmt(y.body, {y.var: x.var})))
    require_independent("merge", both)
    return both
