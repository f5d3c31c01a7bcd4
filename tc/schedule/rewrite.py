"""What the primitives share: their registry, finding loops and buffers, refusing with a reason.

A loop name may occur several times, side by side (a primitive that copies a nest keeps its loop
names); a primitive applies to all loops of the name that it is given. Along one path from the
root, names are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tc.errors import ScheduleError
from tc.ir.expr import Binary, Const, Expr, Load, Select, Var
from tc.ir.interval import Interval, bounds
from tc.ir.loop import Alloc, Buffer, For, Func, If, Seq, Stmt, Store, Update
from tc.ir.printer import LOOP_WORD, expr_text
from tc.ir.simplify import simplify
from tc.ir.visit import map_stmt, own_exprs, sub_exprs, sub_stmts, with_body

Primitive = Callable[..., Func]
PRIMITIVES: Final[dict[str, Primitive]] = {}


def primitive(fn: Primitive) -> Primitive:
    """Enter a primitive under its own name."""
    PRIMITIVES[fn.__name__] = fn
    return fn


def header(loop: For) -> str:
    """The first line of a loop as printed."""
    return f"for {loop.var.name} in {LOOP_WORD[loop.kind]}({expr_text(loop.extent)})"


def loops(s: Stmt) -> Iterator[For]:
    """All loops, outermost first."""
    todo = [s]
    while todo:
        x = todo.pop()
        if isinstance(x, For):
            yield x
            todo.append(x.body)
        else:
            todo += _bodies(x)[::-1]


def find_loops(func: Func, step: str, name: str) -> list[For]:
    """All loops of that name, or an error that lists the loops that there are."""
    found = [x for x in loops(func.body) if x.var.name == name]
    if not found:
        known = ", ".join(dict.fromkeys(x.var.name for x in loops(func.body))) or "none"
        raise ScheduleError(f"{step}: {func.name} has no loop {name!r}; its loops are {known}")
    return found


def rewrite_loops(func: Func, step: str, name: str, fn: Callable[[For], Stmt]) -> Func:
    """Replace every loop of that name by `fn(loop)`."""
    find_loops(func, step, name)

    def stmt(s: Stmt) -> Stmt | None:
        return fn(s) if isinstance(s, For) and s.var.name == name else None

    return with_body(func, map_stmt(func.body, None, stmt))


def find_alloc(func: Func, step: str, name: str) -> Alloc:
    """The allocation of a buffer, or an error that lists the local buffers."""
    for s in sub_stmts(func.body):
        if isinstance(s, Alloc) and s.buffer.name == name:
            return s
    known = ", ".join(s.buffer.name for s in sub_stmts(func.body) if isinstance(s, Alloc))
    raise ScheduleError(
        f"{step}: {func.name} has no local buffer {name!r}; it has {known or 'none'}"
    )


def find_param(func: Func, step: str, name: str) -> Buffer:
    """A parameter by name."""
    for p in func.params:
        if p.name == name:
            return p
    known = ", ".join(p.name for p in func.params)
    raise ScheduleError(f"{step}: {func.name} has no parameter {name!r}; it has {known}")


def refuse(step: str, place: str, why: str, way_out: str) -> ScheduleError:
    """The error of a primitive that does not apply."""
    return ScheduleError(f"{step}: {place}: {why}; {way_out}")


def check_factor(step: str, factor: int) -> None:
    if factor < 1:
        raise ScheduleError(
            f"{step}: factor is {factor}, must be at least 1; give a positive number"
        )


def fresh_names(func: Func, step: str, names: tuple[str, ...]) -> None:
    """Refuse a name that would occur twice along one path."""
    used = {x.var.name for x in loops(func.body)} | {s.name for s in func.symbols}
    for n in names:
        if n in used:
            raise ScheduleError(f"{step}: the name {n!r} is taken; split another loop first")


def constant(x: Expr) -> int | None:
    """The value of a constant integer expression."""
    x = simplify(x)
    return int(x.value) if isinstance(x, Const) else None


def env_of(loop_nest: list[For]) -> dict[Var, Interval]:
    """Bounds of loop variables from their extents, outermost first."""
    env: dict[Var, Interval] = {}
    for x in loop_nest:
        hi = bounds(x.extent, env).hi
        top = None if hi is None else max(hi - 1, 0)
        if x.var in env and top is not None:
            # Loops side by side may share a name, not a length.
            before = env[x.var].hi
            top = None if before is None else max(before, top)
        env[x.var] = Interval(0, top)
    return env


def path_to(s: Stmt, name: str) -> list[For]:
    """The loops around (and with) the first loop called `name`, outermost first."""
    if isinstance(s, For):
        if s.var.name == name:
            return [s]
        inner = path_to(s.body, name)
        return [s, *inner] if inner else []
    for b in _bodies(s):
        found = path_to(b, name)
        if found:
            return found
    return []


def _bodies(s: Stmt) -> tuple[Stmt, ...]:
    match s:
        case Seq(body):
            return body
        case If(_, then, other):
            return (then,) if other is None else (then, other)
        case Alloc(_, body):
            return (body,)
    return ()


def size_bound(x: Expr) -> Expr:
    """An upper bound of an extent that depends on no loop: min(8, n - i*8) is at most 8."""
    if isinstance(x, Const) or not any(isinstance(n, Var) for n in sub_exprs(x)):
        return x
    match x:
        case Binary("min", a, b):
            sides = [size_bound(s) for s in (a, b)]
            fixed = [s for s in sides if isinstance(s, Const)]
            free = [s for s in sides if not any(isinstance(n, Var) for n in sub_exprs(s))]
            return fixed[0] if fixed else free[0] if free else x
        case Binary("add", a, b):
            return size_bound(a) + size_bound(b)
        case Binary("mul", a, Const() as c) if int(c.value) >= 0:
            return size_bound(a) * c
        case Select(_, a, b):
            hi = bounds(x).hi
            return x if hi is None else Const(hi)
    hi = bounds(x).hi
    return x if hi is None else Const(hi)


def stored_buffers(s: Stmt) -> set[str]:
    """Names of all buffers that a statement writes."""
    out: set[str] = set()
    for x in sub_stmts(s):
        match x:
            case Store(buffer=b):
                out.add(b.name)
            case Update(buffers=bs):
                out.update(b.name for b in bs)
    return out


def loaded_buffers(s: Stmt) -> set[str]:
    """Names of all buffers that a statement reads (an update reads what it updates)."""
    out: set[str] = set()
    for x in sub_stmts(s):
        if isinstance(x, Update):
            out.update(b.name for b in x.buffers)
        for e in own_exprs(x):
            out.update(n.buffer.name for n in sub_exprs(e) if isinstance(n, Load))
    return out


def touches(s: Stmt, buffer: str) -> bool:
    """Whether a statement reads or writes a buffer."""
    return buffer in stored_buffers(s) or buffer in loaded_buffers(s)
