"""What both code generators ask of a kernel: what may overlap, what it reports, where it divides.

This module must not know any language.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc.ir.affine import plain_poly
from tc.ir.expr import Const, Expr
from tc.ir.loop import Assert, Buffer, For, Func, LoopKind, Stmt
from tc.ir.visit import sub_stmts


def has_parallel(s: Stmt) -> bool:
    """Whether a loop in `s` is divided between threads."""
    return any(isinstance(x, For) and x.kind is LoopKind.PARALLEL for x in sub_stmts(s))


def independent_inputs(func: Func) -> frozenset[str]:
    """Inputs that overlap no output: an output may be the very memory of an input of its size."""
    outputs = [p for p in func.params if p.name in func.outputs]
    sizes = [extent(p) for p in outputs]
    inputs = [p for p in func.params if p.name not in func.outputs]
    return frozenset(p.name for p in inputs if extent(p) not in sizes)


def extent(p: Buffer) -> tuple[object, ...]:
    """The size of a parameter in bytes, comparable."""
    size: Expr = Const(p.dtype.bytes)
    for n in p.shape:
        size = size * n
    terms = sorted(plain_poly(size).items(), key=lambda t: str([str(a) for a in t[0]]))
    return tuple(terms)


def messages_of(kernels: Sequence[Func]) -> tuple[str, ...]:
    """Every message that an Assert of `kernels` can report, each once, in the order of the text."""
    found: dict[str, None] = {}
    for k in kernels:
        found.update((s.message, None) for s in sub_stmts(k.body) if isinstance(s, Assert))
    return tuple(found)
