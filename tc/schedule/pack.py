"""Changing how data lies in memory: packed parameters, local copies, guards made needless."""

from __future__ import annotations

from dataclasses import dataclass

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Load, Var, select
from tc.ir.interval import Interval
from tc.ir.loop import Alloc, Buffer, For, Func, If, LoopKind, Scope, Seq, Stmt, Store, Update, seq
from tc.ir.simplify import prove, simplify
from tc.ir.visit import map_accesses, own_exprs, sub_exprs, sub_stmts, with_body
from tc.schedule.compute_at import compute_at
from tc.schedule.dependence import extent_facts
from tc.schedule.rewrite import (
    check_factor,
    env_of,
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
def cache(func: Func, buffer: str, loop: str, swap: int = 0, pad: int = 1) -> Func:
    """Copy the part of parameter `buffer` that an iteration of `loop` reads to local memory.

    rewrite: for i: ... b[i, j] ...
    into:    for i:
                 with b_local = alloc(f32[N]):
                     for j: b_local[j] = b[i, j]
                     ... b_local[j] ...

    `swap=1` exchanges the last two dims of the copy (a transpose); `pad` rounds its last dim up
    to a multiple, filled with zeros.
    Raises ScheduleError: no such parameter or loop.
    """
    check_factor("cache", pad)
    old = find_param(func, "cache", buffer)
    rank = len(old.shape)
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
    body = map_accesses(func.body, buffer, lambda i: (local, tuple(i[d] for d in order)))
    staged = with_body(func, Alloc(local, seq(copy, body)))
    return compute_at(staged, local.name, loop)


@primitive
def relax(func: Func) -> Func:
    """Drop guards that only keep unused elements of local buffers from being computed.

    rewrite: if j0 * 32 + j1 < n: acc[j1] <sum>= a[k] * b[j0, k, j1]
    into:    acc[j1] <sum>= a[k] * b[j0, k, j1]

    A guard is dropped where every access under it stays in bounds without it, and everything
    written under it is local and written under guards alone, so that what would have stayed
    undefined is never looked at.
    """
    private = _guarded_only(func.body)
    return with_body(func, _relax(func.body, [], private))


def _relax(s: Stmt, nest: list[For], private: set[str]) -> Stmt:
    match s:
        case For(var, extent, kind, body):
            return For(var, extent, kind, _relax(body, [*nest, s], private))
        case Alloc(b, body):
            return Alloc(b, _relax(body, nest, private))
        case Seq(body):
            return seq(*[_relax(b, nest, private) for b in body])
        case If(cond, then, other):
            if other is None and _writes(then) <= private and _in_bounds(then, nest):
                return _relax(then, nest, private)
            no = None if other is None else _relax(other, nest, private)
            return If(cond, _relax(then, nest, private), no)
    return s


def _writes(s: Stmt) -> set[str]:
    from tc.schedule.rewrite import stored_buffers

    return stored_buffers(s)


def _guarded_only(s: Stmt) -> set[str]:
    """Local buffers of which every write stands under an If."""
    local = {x.buffer.name for x in sub_stmts(s) if isinstance(x, Alloc)}
    return local - _unguarded(s)


def _unguarded(s: Stmt) -> set[str]:
    match s:
        case If():
            return set()
        case For(body=body) | Alloc(body=body):
            return _unguarded(body)
        case Seq(body):
            return set().union(*map(_unguarded, body)) if body else set()
        case Store(buffer=b):
            return {b.name}
        case Update(buffers=bs):
            return {b.name for b in bs}
    return set()


def _in_bounds(s: Stmt, nest: list[For]) -> bool:
    inner = [x for x in sub_stmts(s) if isinstance(x, For)]
    env = env_of([*nest, *inner])
    known = extent_facts([*nest, *inner])
    for x in sub_stmts(s):
        if isinstance(x, Store | Update):
            buffers = (x.buffer,) if isinstance(x, Store) else x.buffers
            if not all(_inside(b, x.indices, env, known) for b in buffers):
                return False
        for e in own_exprs(x):
            for n in sub_exprs(e):
                if not isinstance(n, Load) or n.mask is not None:
                    continue
                if not _inside(n.buffer, n.indices, env, known):
                    return False
    return True


def _inside(
    b: Buffer, indices: tuple[Expr, ...], env: dict[Var, Interval], known: list[Expr]
) -> bool:
    return all(
        prove(Const(0) <= i, env, known) and prove(i < n, env, known)
        for i, n in zip((simplify(i, env) for i in indices), b.shape, strict=True)
    )
