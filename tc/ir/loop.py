"""Loop IR: statements over buffers. Everything that a kernel does is said here.

Loops run from 0. A buffer's scope says where it lives; what a kernel is given has scope PARAM.
"""

from __future__ import annotations

from enum import Enum

from tc.frozen import frozen
from tc.ir.buffer import Buffer, Scope
from tc.ir.expr import Expr, Sym, Var
from tc.ir.monoid import Monoid
from tc.ir.text import Printed

__all__ = [
    "Alloc", "Assert", "Buffer", "For", "Func", "If", "LoopKind", "Prefetch", "Scope", "Seq",
    "Stmt", "Store", "Update", "seq",
]  # fmt: skip


class LoopKind(Enum):
    """How the iterations of a loop run."""

    SERIAL = "serial"
    PARALLEL = "parallel"  # divided between threads in contiguous ranges
    UNROLLED = "unrolled"  # the extent is constant once specialised
    VECTOR = "vector"  # the iterations are lanes side by side
    DOT = "dot"  # products of small elements summed by one instruction, in any order


class Stmt(Printed):
    """Base of statements."""

    __slots__ = ()


@frozen
class For(Stmt):
    """Run `body` for each value of `var` in [0, extent)."""

    var: Var
    extent: Expr
    kind: LoopKind
    body: Stmt


@frozen
class Seq(Stmt):
    """The statements one after the other; empty does nothing."""

    body: tuple[Stmt, ...]


@frozen
class If(Stmt):
    """`then` where `cond`, else `other`."""

    cond: Expr
    then: Stmt
    other: Stmt | None = None


@frozen
class Alloc(Stmt):
    """A buffer that lives while `body` runs; its content is undefined at first."""

    buffer: Buffer
    body: Stmt


@frozen
class Store(Stmt):
    """buffer[indices] = value, where `mask`. Vector indices store a vector."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    mask: Expr | None = None


@frozen
class Update(Stmt):
    """All states at once: buffers[indices] = monoid.combine(buffers[indices], values)."""

    monoid: Monoid
    buffers: tuple[Buffer, ...]
    indices: tuple[Expr, ...]
    values: tuple[Expr, ...]


@frozen
class Assert(Stmt):
    """Report `message` to the caller where `cond` is false; the kernel runs on.

    Whatever depends on the condition must be masked, so that nothing out of bounds is touched.
    """

    cond: Expr
    message: str


@frozen
class Prefetch(Stmt):
    """A hint that buffer[indices] is read soon; it computes nothing, and may point anywhere.

    `near`: within so few iterations that it belongs in the first level of caches. Versions of a
    loop for one iteration keep these hints alone, those for more of them the others alone.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    near: bool = False


@frozen
class Func(Printed):
    """A kernel. Parameters in calling order: buffers (pointers), then symbols (i64).

    `outputs` names the parameters that are written; no two parameters overlap, unless an output
    and an input are the very same memory and each point is read before it is written.
    """

    name: str
    params: tuple[Buffer, ...]
    symbols: tuple[Sym, ...]
    outputs: tuple[str, ...]
    body: Stmt


def seq(*stmts: Stmt) -> Stmt:
    """The statements in order, nested sequences flattened; one statement stays itself."""
    flat: list[Stmt] = []
    for s in stmts:
        flat.extend(s.body if isinstance(s, Seq) else (s,))
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))
