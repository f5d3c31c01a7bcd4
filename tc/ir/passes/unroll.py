"""UNROLLED loops become copies of their body with the loop variable replaced by numbers.

Copies share every expression that does not depend on the variable, and those that depend on it in
the same way: an operand that many statements use stays one object, and is loaded once.

This pass must not reorder statements.
"""

from __future__ import annotations

from tc.errors import InternalError
from tc.ir.expr import (
    Binary,
    Broadcast,
    Const,
    Expr,
    Fma,
    Load,
    Ramp,
    Select,
    Unary,
    Var,
    binary,
    select,
)
from tc.ir.loop import Alloc, Assert, For, Func, If, LoopKind, Prefetch, Seq, Stmt, Store, seq
from tc.ir.types import BOOL, I64
from tc.ir.visit import CLOSED, children, sub_stmts, with_body, with_children

_Values = tuple[int | None, ...]


def unroll(func: Func) -> Func:
    """Replace every UNROLLED loop of `func`."""
    loops = [s for s in sub_stmts(func.body) if isinstance(s, For)]
    unrolled = frozenset(s.var for s in loops if s.kind is LoopKind.UNROLLED)
    if not unrolled:
        return func
    return with_body(func, _Unroller(unrolled).stmt(func.body))


class _Unroller:
    """Rewrites under an environment: the numbers of the unrolled variables around."""

    def __init__(self, unrolled: frozenset[Var]) -> None:
        self.unrolled = unrolled
        self.env: dict[Var, int] = {}
        # Which unrolled variables occur below a node; node and result by identity and values.
        self.deps: dict[int, tuple[Expr, tuple[Var, ...]]] = {}
        self.memo: dict[tuple[int, _Values], Expr] = {}

    def stmt(self, s: Stmt) -> Stmt:
        match s:
            case Store(buffer, indices, value, mask):
                at = tuple([self.expr(i) for i in indices])
                on = None if mask is None else self.expr(mask)
                if isinstance(on, Const):
                    if not on.value:
                        return Seq(())
                    on = None
                return Store(buffer, at, self.expr(value), on)
            case Seq(body):
                return seq(*[self.stmt(b) for b in body])
            case For(var, extent, LoopKind.UNROLLED, body):
                return self._copies(var, self.expr(extent), body)
            case For(var, extent, kind, body):
                return For(var, self.expr(extent), kind, self.stmt(body))
            case If(cond, then, other):
                c = self.expr(cond)
                if isinstance(c, Const):
                    return self.stmt(then) if c.value else self.stmt(other or Seq(()))
                return If(c, self.stmt(then), None if other is None else self.stmt(other))
            case Alloc(buffer, body):
                return Alloc(buffer, self.stmt(body))
            case Assert(cond, message):
                return Assert(self.expr(cond), message)
            case Prefetch(buffer, indices, near):
                return Prefetch(buffer, tuple([self.expr(i) for i in indices]), near)
        raise InternalError(f"unroll: {type(s).__name__} should be gone before")

    def _copies(self, var: Var, extent: Expr, body: Stmt) -> Stmt:
        if not isinstance(extent, Const):
            raise InternalError(f"unroll: loop {var.name}: the extent {extent} is not a constant")
        copies = []
        for n in range(int(extent.value)):
            self.env[var] = n
            copies.append(self.stmt(body))
        self.env.pop(var, None)
        return seq(*copies)

    def expr(self, x: Expr) -> Expr:
        if isinstance(x, Var):
            n = self.env.get(x)
            return x if n is None else Const(n)
        deps = self._deps(x)
        if not deps:
            return x
        env = self.env
        key = (id(x), tuple([env.get(v) for v in deps]))
        known = self.memo.get(key)
        if known is None:
            known = self.memo[key] = _fold(x, tuple([self.expr(k) for k in children(x)]))
        return known

    def _deps(self, x: Expr) -> tuple[Var, ...]:
        known = self.deps.get(id(x))
        if known is not None:
            return known[1]
        if isinstance(x, Var):
            found: tuple[Var, ...] = (x,) if x in self.unrolled else ()
        elif type(x) in CLOSED:
            return ()
        else:
            parts = [self._deps(k) for k in children(x)]
            parts = [p for p in parts if p]
            found = parts[0] if parts else ()
            for p in parts[1:]:
                if p is not found:
                    found = tuple(dict.fromkeys((*found, *p)))
        self.deps[id(x)] = (x, found)
        return found


def _fold(x: Expr, kids: tuple[Expr, ...]) -> Expr:
    """The node with new operands; index arithmetic on numbers is done."""
    match x:
        case Load(buffer, _, None):
            return Load(buffer, kids)
        case Binary(op) if kids[0].dtype is I64 and kids[0].lanes == kids[1].lanes == 1:
            return binary(op, *kids)
        case Binary("and" | "or" as op) if x.dtype is BOOL:
            return _logical(op, *kids)
        case Select():
            return select(*kids)
        case Fma():
            return Fma(*kids)
        case Broadcast(_, width):
            return Broadcast(kids[0], width)
        case Ramp(_, _, width):
            return Ramp(kids[0], kids[1], width)
        case Unary("not") if isinstance(kids[0], Const) and x.dtype is BOOL:
            return Const(not kids[0].value, BOOL)
        case Load(buffer) if isinstance(kids[-1], Const) and kids[-1].value:
            return Load(buffer, kids[:-1])
    return with_children(x, kids)


def _logical(op: str, a: Expr, b: Expr) -> Expr:
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Const):
            return y if bool(x.value) == (op == "and") else x
    return Binary(op, a, b)
