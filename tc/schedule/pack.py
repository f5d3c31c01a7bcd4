"""Changing how data lies in memory: packed parameters, local copies, guards made needless."""

from __future__ import annotations

from collections.abc import Callable

from tc.errors import ScheduleError
from tc.frozen import frozen
from tc.ir.expr import Cast, Const, Expr, Load, Var, select
from tc.ir.loop import Alloc, Buffer, For, Func, If, LoopKind, Scope, Stmt, Store, seq
from tc.ir.simplify import simplify
from tc.ir.types import DType
from tc.ir.visit import loads_of, map_accesses, map_stmt, sub_stmts, uses, with_body
from tc.schedule.compute_at import compute_at
from tc.schedule.rewrite import (
    check_factor,
    find_loops,
    find_param,
    header,
    loops,
    primitive,
    refuse,
    rewrite_loops,
)
from tc.schedule.step import Schedule


@frozen
class Packing:
    """How parameter `buffer` must be given: blocks of `factor` along `dim`, innermost.

    A tensor [n, k] packed along dim 0 becomes [ceil(n / factor), k, factor], zeros at the end;
    in groups of `group` along dim 1: [ceil(n / factor), ceil(k / group), factor, group].
    """

    buffer: str
    dim: int
    factor: int
    along: int = -1
    group: int = 1

    def index(self, at: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Where the element that was at `at` lies."""
        i = at[self.dim]
        rest = [
            x // self.group if d == self.along and self.group > 1 else x
            for d, x in enumerate(at)
            if d != self.dim
        ]
        inner = (at[self.along] % self.group,) if self.group > 1 else ()
        return (i // self.factor, *rest, i % self.factor, *inner)


def packings(schedule: Schedule) -> tuple[Packing, ...]:
    """The packings that a schedule asks of the caller."""
    return tuple(
        Packing(str(s.args[0]), *map(int, s.args[1:]), **{k: int(v) for k, v in s.options})
        for s in schedule.steps
        if s.name == "pack"
    )


def packed_shape(shape: tuple[Expr, ...], p: Packing) -> tuple[Expr, ...]:
    """The shape of a tensor of `shape` once packed."""
    sizes = [p.factor if d == p.dim else p.group if d == p.along else 1 for d in range(len(shape))]
    blocks = [simplify((n + (f - 1)) // f) for n, f in zip(shape, sizes, strict=True)]
    rest = tuple(n for d, n in enumerate(blocks) if d != p.dim)
    inner = (Const(p.group),) if p.group > 1 else ()
    return (blocks[p.dim], *rest, Const(p.factor), *inner)


@primitive
def pack(func: Func, buffer: str, dim: int, factor: int, along: int = -1, group: int = 1) -> Func:
    """Take parameter `buffer` in blocks of `factor` along `dim`, which become innermost.

    rewrite: ... b[k, j] ...      with b: f32[K, N]
    into:    ... b[j // factor, k, j % factor] ...      with b: f32[ceil(N / factor), K, factor]

    With `group` above 1, that many neighbours along another dim, `along`, stay side by side:

    into:    ... b[j // factor, k // group, j % factor, k % group] ...

    The caller packs the data: once at load time for a constant.
    Raises ScheduleError: no such parameter, an output, no such dim, or factor or group < 1.
    """
    check_factor("pack", factor)
    old = find_param(func, "pack", buffer)
    if buffer in func.outputs:
        raise refuse("pack", buffer, "it is an output", "pack inputs only")
    if old.align > 1:
        raise refuse("pack", buffer, "it is packed already", "pack it once")
    rank = len(old.shape)
    if not 0 <= dim < rank:
        raise ScheduleError(f"pack: {buffer} has {rank} dims, there is no dim {dim}")
    if group < 1 or (group > 1 and (not 0 <= along < rank or along == dim)):
        raise ScheduleError(
            f"pack: groups of {group} along dim {along} of {buffer}, which has {rank} dims and is "
            f"packed along dim {dim}; give a positive number and another dim"
        )
    packing = Packing(buffer, dim, factor, along, group)
    new = Buffer(buffer, packed_shape(old.shape, packing), old.dtype, old.scope, 64)

    def move(index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        return new, packing.index(index)

    body = map_accesses(func.body, buffer, move)
    params = tuple(new if p.name == buffer else p for p in func.params)
    return Func(func.name, params, func.symbols, func.outputs, body)


@primitive
def cache(
    func: Func,
    buffer: str,
    loop: str,
    swap: int = 0,
    pad: int = 1,
    along: str = "",
    last: int = -1,
    dtype: str = "",
    over: str = "",
    least: int = 1,
) -> Func:
    """Copy the part of parameter `buffer` that an iteration of `loop` reads to local memory.

    rewrite: for i: ... b[i, j] ...
    into:    for i:
                 with b_local = alloc(f32[N]):
                     for j: b_local[j] = b[i, j]
                     ... b_local[j] ...

    `swap=1` exchanges the last two dims of the copy (a transpose), `last` names the dim that
    becomes its last; `pad` rounds that up to a multiple, filled with zeros. Where a buffer is read
    for several purposes, `along` picks the accesses that vary with the loop of that name. With
    `dtype` the copy has that element type, where every access converts to it: elements that are
    read again and again are then converted once. With `over` and `least` there is a copy only
    where the loop `over`, inside `loop`, has so many iterations; otherwise the body stays.
    Raises ScheduleError: no such parameter or loop, an output, too few dims, no such dim, an
    access that does not convert to `dtype`, a loop `over` whose length depends on loops inside.
    """
    check_factor("cache", pad)
    check_factor("cache", least)
    if along:
        find_loops(func, "cache", along)
    old = find_param(func, "cache", buffer)
    rank = len(old.shape)
    if buffer in func.outputs:
        raise refuse("cache", buffer, "it is an output", "cache inputs only")
    if swap not in (0, 1) or rank < 1 + swap:
        raise ScheduleError(
            f"cache: {buffer} has {rank} dims, swap={swap}; a copy needs one dim, swap=1 two"
        )
    if any(
        isinstance(s, Alloc) and s.buffer.name == f"{buffer}_local" for s in sub_stmts(func.body)
    ):
        raise refuse("cache", buffer, "it is cached already", "cache it once, at the outer loop")
    order = list(range(rank))
    if swap:
        last = rank - 2
    if not -1 <= last < rank:
        raise ScheduleError(f"cache: {buffer} has {rank} dims, there is no dim {last}")
    if last >= 0:
        order.append(order.pop(last))
    dims = [old.shape[d] for d in order]
    whole = dims[-1]
    dims[-1] = simplify((whole + (pad - 1)) // pad * pad)
    wide = _element_type(old, dtype)
    local = Buffer(f"{buffer}_local", tuple(dims), wide, Scope.SCRATCH)
    axes = tuple(Var(f"{buffer}_{d}") for d in order)
    source: list[Expr] = [axes[0]] * rank
    for a, d in zip(axes, order, strict=True):
        source[d] = a
    value: Expr = Load(old, tuple(source))
    if dims[-1] != whole:
        value = select(axes[-1] < whole, value, Const(0, old.dtype))
    copy: Stmt = Store(local, axes, Cast(value, wide) if wide is not old.dtype else value)
    for a, n in reversed(list(zip(axes, dims, strict=True))):
        copy = For(a, n, LoopKind.SERIAL, copy)

    def move(index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        if along and not any(uses(i, Var(along)) for i in index):
            return old, index
        return local, tuple(index[d] for d in order)

    if wide is old.dtype:
        body = map_accesses(func.body, buffer, move)
    else:
        body = _converted(func.body, old, wide, move)
    staged = with_body(func, Alloc(local, seq(copy, body)))
    made = compute_at(staged, local.name, loop)
    return made if not over else _where_long(func, made, loop, over, least)


def _where_long(old: Func, made: Func, loop: str, over: str, least: int) -> Func:
    """The new body of `loop` where `over` has at least so many iterations, else the old one."""
    (around,) = find_loops(old, "cache", loop)
    inside = {x.var for x in loops(around.body)}
    lengths = {x.extent for x in loops(around.body) if x.var.name == over}
    if len(lengths) != 1 or any(uses(n, v) for n in lengths for v in inside):
        raise refuse(
            "cache", header(around), f"{over} has no one length there", f"name a loop in {loop}"
        )
    enough = Const(least) <= lengths.pop()

    def fn(x: For) -> For:
        return For(x.var, x.extent, x.kind, If(enough, x.body, around.body))

    return rewrite_loops(made, "cache", loop, fn)


def _element_type(old: Buffer, name: str) -> DType:
    if not name:
        return old.dtype
    known = {t.value: t for t in DType}
    if name not in known:
        raise ScheduleError(f"cache: no element type {name!r}; known: {', '.join(known)}")
    return known[name]


def _converted(
    body: Stmt,
    old: Buffer,
    wide: DType,
    move: Callable[[tuple[Expr, ...]], tuple[Buffer, tuple[Expr, ...]]],
) -> Stmt:
    """Every load that converts to `wide` moved; hints stay with the buffer that they are for."""

    def fn(x: Expr) -> Expr | None:
        if isinstance(x, Cast) and x.type is wide and isinstance(x.x, Load) and x.x.buffer == old:
            place, index = move(x.x.indices)
            return Load(place, index) if place != old else None
        return None

    made = map_stmt(body, fn)
    left = next((x for x in loads_of(made) if x.buffer == old and move(x.indices)[0] != old), None)
    if left is not None:
        raise refuse("cache", old.name, f"{left} is not converted to {wide}", "leave out its dtype")
    return made
