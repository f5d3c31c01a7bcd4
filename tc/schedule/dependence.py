"""Dependence analysis: may the iterations of a loop run in any order, or at the same time?

Two accesses of one buffer conflict unless they are the same element in the same iteration only.
The test is on affine indices: if some index contains the loop variable with a constant factor,
takes the same form in every access, and the rest of it varies by less than that factor, then two
different iterations touch different elements.
"""

from __future__ import annotations

from tc.ir.expr import Const, Expr, Load, Var
from tc.ir.interval import Interval, bounds
from tc.ir.loop import Alloc, For, Stmt, Store, Update
from tc.ir.simplify import simplify
from tc.ir.visit import own_exprs, sub_exprs, sub_stmts, substitute, uses
from tc.schedule.rewrite import env_of, header, loops, refuse

Access = tuple[Expr, ...]


def require_independent(step: str, x: For) -> None:
    """Refuse unless different iterations of `x` touch different elements of what is written."""
    own = {s.buffer.name for s in sub_stmts(x.body) if isinstance(s, Alloc)}
    writes = _writes(x.body)
    for name, places in writes.items():
        if name in own:
            continue
        shape, stored = places
        if not separated(stored + _reads(x.body, name), shape, x):
            raise refuse(
                step, header(x), f"its iterations may touch the same element of {name}",
                "choose a loop over an axis of the output, or rfactor the reduction",
            )  # fmt: skip


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


def _reads(s: Stmt, name: str) -> list[Access]:
    return [
        n.indices
        for inner in sub_stmts(s)
        for e in own_exprs(inner)
        for n in sub_exprs(e)
        if isinstance(n, Load) and n.buffer.name == name
    ]


def separated(accesses: list[Access], shape: tuple[Expr, ...], x: For) -> bool:
    """Whether two different iterations of `x` can never touch one element.

    Neighbouring dims are also looked at as the one dim that they form in memory, since a fused
    loop m appears as m // n and m % n.
    """
    if not accesses:
        return True
    extent = bounds(x.extent)
    if extent.hi is not None and extent.hi <= 1:
        return True
    inner = env_of(list(loops(x.body)))
    inner[x.var] = Interval(0, None if extent.hi is None else extent.hi - 1)
    rank = len(shape)
    for width in range(1, rank + 1):
        for first in range(rank - width + 1):
            dims = slice(first, first + width)
            joined = [_linear(a[dims], shape[dims]) for a in accesses]
            if _separates(joined, x.var, inner):
                return True
    return False


def _linear(indices: Access, shape: tuple[Expr, ...]) -> Expr:
    out = indices[0]
    for i, n in zip(indices[1:], shape[1:], strict=True):
        out = out * n + i
    return out if len(indices) == 1 else simplify(out)


def _separates(indices: list[Expr], var: Var, env: dict[Var, Interval]) -> bool:
    """Whether this one dim tells the iterations apart: factor * var + rest, rest in [c, c+factor)."""
    parts = [coefficient(i, var) for i in indices]
    if any(p is None for p in parts):
        return False
    known = [p for p in parts if p is not None]
    factors = {f for f, _ in known}
    if len(factors) != 1:
        return False
    factor = abs(factors.pop())
    if factor == 0:
        return False
    # Parts that do not vary inside the loop shift all iterations alike.
    fixed = _outer_part(known[0][1], env)
    lo: list[int] = []
    hi: list[int] = []
    for _, rest in known:
        span = bounds(simplify(rest - fixed), env)
        if span.lo is None or span.hi is None:
            return False
        lo.append(span.lo)
        hi.append(span.hi)
    return max(hi) - min(lo) < factor


def _outer_part(rest: Expr, env: dict[Var, Interval]) -> Expr:
    return substitute(rest, {v: Const(0) for v in env})


def coefficient(index: Expr, var: Var) -> tuple[int, Expr] | None:
    """(c, rest) with index = c * var + rest and rest free of var, or None if there is none."""
    if not uses(index, var):
        return 0, index
    rest = simplify(substitute(index, {var: Const(0)}))
    step = simplify(substitute(index, {var: Const(1)}) - rest)
    if not isinstance(step, Const):
        return None
    again = simplify(index - (rest + var * step))
    return (int(step.value), rest) if again == Const(0) else None
