"""Offsets of SCRATCH buffers in a thread's scratch memory, and how much of it a kernel needs.

Buffers live while the body of their Alloc runs, so they are placed as on a stack: one begins where
those around it end, and neighbours share memory. Every buffer begins at a multiple of 64 bytes.
The code generator and the caller both ask here, so they cannot disagree.
"""

from __future__ import annotations

from tc.ir.expr import Const, Expr, binary, maximum
from tc.ir.loop import Alloc, Buffer, For, Func, If, Scope, Seq, Stmt

ALIGN = 64


def place_scratch(func: Func) -> tuple[Func, Expr]:
    """`func` as it is, and the bytes of scratch memory that each thread needs to run it."""
    return func, _need(func.body)


def buffer_bytes(buffer: Buffer) -> Expr:
    """The bytes that a scratch buffer takes, rounded up to the alignment."""
    size: Expr = Const(buffer.dtype.bytes)
    for extent in buffer.shape:
        size = binary("mul", extent, size)
    if isinstance(size, Const):
        return Const(-(-int(size.value) // ALIGN) * ALIGN)
    return (size + (ALIGN - 1)) // ALIGN * ALIGN


def _need(s: Stmt) -> Expr:
    match s:
        case Alloc(buffer, body) if buffer.scope is Scope.SCRATCH:
            return buffer_bytes(buffer) + _need(body)
        case Alloc(_, body) | For(_, _, _, body):
            return _need(body)
        case If(_, then, other):
            return _larger(_need(then), Const(0) if other is None else _need(other))
        case Seq(body):
            need: Expr = Const(0)
            for b in body:
                need = _larger(need, _need(b))
            return need
    return Const(0)


def neighbours(func: Func) -> frozenset[str]:
    """The scratch buffers that lie where others do in the same run of the kernel."""
    return frozenset(_neighbours(func.body, False)[1])


def _neighbours(s: Stmt, repeated: bool) -> tuple[set[str], set[str]]:
    """The scratch buffers in `s`, and those that share memory; `repeated`: `s` is in a loop."""
    parts: tuple[Stmt, ...]
    match s:
        case Alloc(buffer, body):
            own = {buffer.name} if buffer.scope is Scope.SCRATCH else set()
            inner, shared = _neighbours(body, repeated)
            return inner | own, shared | (own & inner)
        case For(_, _, _, body):
            return _neighbours(body, True)
        case If(_, then, other):
            parts = (then,) if other is None else (then, other)
        case Seq(body):
            parts = body
        case _:
            return set(), set()
    found = [_neighbours(p, repeated) for p in parts]
    every = set().union(*(own for own, _ in found))
    shared = set().union(*(both for _, both in found))
    # Of two branches outside of all loops, one runs.
    if sum(bool(own) for own, _ in found) > 1 and (repeated or isinstance(s, Seq)):
        shared |= every
    return every, shared


def _larger(a: Expr, b: Expr) -> Expr:
    if a == b or b == Const(0):
        return a
    return b if a == Const(0) else maximum(a, b)
