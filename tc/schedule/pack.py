"""Changing how data lies in memory: packed parameters, local copies, guards made needless."""

from __future__ import annotations

from dataclasses import dataclass

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Load, Var, select
from tc.ir.loop import Alloc, Buffer, For, Func, LoopKind, Scope, Stmt, Store, seq
from tc.ir.simplify import simplify
from tc.ir.visit import map_accesses, sub_stmts, uses, with_body
from tc.schedule.compute_at import compute_at
from tc.schedule.rewrite import (
    check_factor,
    find_loops,
    find_param,
    primitive,
    refuse,
)
from tc.schedule.step import Schedule


@dataclass(frozen=True, slots=True)
class Packing:
    """How parameter `buffer` must be given: blocks of `factor` along `dim`, innermost.

    A tensor [n, k] packed along dim 0 becomes [ceil(n / factor), k, factor], zeros at the end.
    """

    buffer: str
    dim: int
    factor: int


def packings(schedule: Schedule) -> tuple[Packing, ...]:
    """The packings that a schedule asks of the caller."""
    return tuple(
        Packing(str(s.args[0]), int(s.args[1]), int(s.args[2]))
        for s in schedule.steps
        if s.name == "pack"
    )


def packed_shape(shape: tuple[Expr, ...], p: Packing) -> tuple[Expr, ...]:
    """The shape of a tensor of `shape` once packed."""
    blocks = simplify((shape[p.dim] + (p.factor - 1)) // p.factor)
    rest = tuple(n for d, n in enumerate(shape) if d != p.dim)
    return (blocks, *rest, Const(p.factor))


@primitive
def pack(func: Func, buffer: str, dim: int, factor: int) -> Func:
    """Take parameter `buffer` in blocks of `factor` along `dim`, which become innermost.

    rewrite: ... b[k, j] ...      with b: f32[K, N]
    into:    ... b[j // factor, k, j % factor] ...      with b: f32[ceil(N / factor), K, factor]

    The caller packs the data: once at load time for a constant.
    Raises ScheduleError: no such parameter, an output, no such dim, or factor < 1.
    """
    check_factor("pack", factor)
    old = find_param(func, "pack", buffer)
    if buffer in func.outputs:
        raise refuse("pack", buffer, "it is an output", "pack inputs only")
    if not 0 <= dim < len(old.shape):
        raise ScheduleError(f"pack: {buffer} has {len(old.shape)} dims, there is no dim {dim}")
    shape = packed_shape(old.shape, Packing(buffer, dim, factor))
    new = Buffer(buffer, shape, old.dtype, old.scope, 64)

    def move(index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        i = index[dim]
        rest = tuple(x for d, x in enumerate(index) if d != dim)
        return new, (i // factor, *rest, i % factor)

    body = map_accesses(func.body, buffer, move)
    params = tuple(new if p.name == buffer else p for p in func.params)
    return Func(func.name, params, func.symbols, func.outputs, body)


@primitive
def cache(func: Func, buffer: str, loop: str, swap: int = 0, pad: int = 1, along: str = "") -> Func:
    """Copy the part of parameter `buffer` that an iteration of `loop` reads to local memory.

    rewrite: for i: ... b[i, j] ...
    into:    for i:
                 with b_local = alloc(f32[N]):
                     for j: b_local[j] = b[i, j]
                     ... b_local[j] ...

    `swap=1` exchanges the last two dims of the copy (a transpose); `pad` rounds its last dim up
    to a multiple, filled with zeros. Where a buffer is read for several purposes, `along` picks
    the accesses that vary with the loop of that name.
    Raises ScheduleError: no such parameter or loop, an output, too few dims.
    """
    check_factor("cache", pad)
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
        order[-2:] = order[:-3:-1]
    dims = [old.shape[d] for d in order]
    whole = dims[-1]
    dims[-1] = simplify((whole + (pad - 1)) // pad * pad)
    local = Buffer(f"{buffer}_local", tuple(dims), old.dtype, Scope.SCRATCH)
    axes = tuple(Var(f"{buffer}_{d}") for d in order)
    source: list[Expr] = [axes[0]] * rank
    for a, d in zip(axes, order, strict=True):
        source[d] = a
    value: Expr = Load(old, tuple(source))
    if dims[-1] != whole:
        value = select(axes[-1] < whole, value, Const(0, old.dtype))
    copy: Stmt = Store(local, axes, value)
    for a, n in reversed(list(zip(axes, dims, strict=True))):
        copy = For(a, n, LoopKind.SERIAL, copy)

    def move(index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        if along and not any(uses(i, Var(along)) for i in index):
            return old, index
        return local, tuple(index[d] for d in order)

    body = map_accesses(func.body, buffer, move)
    staged = with_body(func, Alloc(local, seq(copy, body)))
    return compute_at(staged, local.name, loop)
