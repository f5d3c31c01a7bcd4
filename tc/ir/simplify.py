"""Simplification of expressions, statements and kernels by algebra and by what is known.

Integers: sums of products in a canonical order; (x // c) * c + x % c -> x; (a*c + b) // c -> a and
(a*c + b) % c -> b where 0 <= b < c follows; comparisons, min and max decided where the facts
decide them. c may be symbolic. Floats: only what is exact for every operand, NaN and -0.0 too
(x * 1, x / 1, x + -0.0, x - 0.0, --x, and folding of literals rounded as the type rounds).

Index arithmetic is taken not to overflow 64 bits. Data of type i64 may: sums of loaded values are
brought into normal form (which wraps alike) but neither compared nor divided by these rules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tc.errors import InternalError
from tc.ir.expr import Const, Expr, Load, Read, Unary, Var
from tc.ir.facts import Facts
from tc.ir.fold import literal
from tc.ir.interval import Interval
from tc.ir.loop import Alloc, Assert, For, Func, If, Prefetch, Seq, Stmt, Store, Update, seq
from tc.ir.rewrite import Rewriter
from tc.ir.types import BOOL
from tc.ir.visit import sub_exprs, with_body

_NOTHING = Seq(())
_REMEMBERED: Final = 1 << 13  # expressions, which is a few kernels


def simplify(
    expr: Expr, env: Mapping[Var, Interval] | None = None, known: Sequence[Expr] = ()
) -> Expr:
    """The simplest equal expression; the very same object where there is nothing to do.

    Args:
        expr: a scalar or a vector of any type.
        env: intervals of variables; a variable that is not named can be anything.
        known: conditions that hold where the expression stands, for example `i < M`.
    """
    return simplifier(env, known)(expr)


def simplifier(
    env: Mapping[Var, Interval] | None = None, known: Sequence[Expr] = ()
) -> Callable[[Expr], Expr]:
    """`simplify` for many expressions that stand in one place; it remembers what it has seen."""
    return Rewriter(_facts(env, known)) if env or known else _anywhere()


def prove(
    cond: Expr, env: Mapping[Var, Interval] | None = None, known: Sequence[Expr] = ()
) -> bool:
    """True only if `cond` (in every lane) is always true; False says nothing."""
    return is_true(simplify(cond, env, known))


def is_true(cond: Expr) -> bool:
    """Whether a simplified condition is the constant true."""
    found = literal(cond)
    return found is not None and bool(found.value)


def _facts(env: Mapping[Var, Interval] | None, known: Sequence[Expr]) -> Facts:
    if not env and not known:
        return _anywhere().facts
    return _remembered(tuple(env.items()) if env else (), tuple(known))


def _anywhere() -> Rewriter:
    """Where nothing is known: one step after the other asks there about the same lengths."""
    found = _shared()
    if found.remembered > _REMEMBERED:
        _shared.cache_clear()  # or a process that compiles much would keep all of it
        found = _shared()
    return found


@functools.lru_cache(maxsize=1)
def _shared() -> Rewriter:
    return Rewriter(Facts({}))


@functools.lru_cache(maxsize=32)
def _remembered(env: tuple[tuple[Var, Interval], ...], known: tuple[Expr, ...]) -> Facts:
    facts = Facts(dict(env))
    for cond in known:
        facts = facts.given(Rewriter(facts)(cond))
    return facts


def simplify_stmt(stmt: Stmt, env: Mapping[Var, Interval] | None = None) -> Stmt:
    """The statement with its expressions simplified and what never runs removed.

    Loops of extent 0 and branches never taken go; a loop of extent 1 becomes its body at 0.
    """
    return _stmt(stmt, Rewriter(_facts(env, ())))


def simplify_func(func: Func) -> Func:
    """The kernel with its body simplified; parameters and symbols stay as they are."""
    return with_body(func, simplify_stmt(func.body))


def _stmt(s: Stmt, at: Rewriter) -> Stmt:
    match s:
        case For():
            return _for(s, at)
        case Seq(body):
            new = [_stmt(b, at) for b in body]
            return s if all(a is b for a, b in zip(body, new, strict=True)) else seq(*new)
        case If():
            return _if(s, at)
        case Alloc(buffer, body):
            inner = _stmt(body, at)
            if inner == _NOTHING:
                return _NOTHING
            return s if inner is body else Alloc(buffer, inner)
        case Store():
            return _store(s, at)
        case Update(monoid, buffers, indices, values):
            i, v = _all(indices, at), _all(values, at)
            return s if i is indices and v is values else Update(monoid, buffers, i, v)
        case Assert(cond, message):
            new_cond = at(cond)
            if literal(new_cond) == Const(True, BOOL):
                return _NOTHING
            return s if new_cond is cond else Assert(new_cond, message)
        case Prefetch(buffer, indices, near):
            i = _all(indices, at)
            return s if i is indices else Prefetch(buffer, i, near)
    raise InternalError(f"simplify: {type(s).__name__} is not a node of tc.ir.loop")


def _all(xs: tuple[Expr, ...], at: Rewriter) -> tuple[Expr, ...]:
    new = tuple([at(x) for x in xs])
    return xs if all(a is b for a, b in zip(xs, new, strict=True)) else new


def _for(s: For, at: Rewriter) -> Stmt:
    extent = at(s.extent)
    hi = at.facts.bounds(extent).hi
    if hi is not None and hi <= 0:
        return _NOTHING
    if extent == Const(1):
        return _stmt(s.body, at.under(at.facts, {s.var: Const(0)}))
    body = _stmt(s.body, at.under(at.facts.in_loop(s.var, extent), {s.var: s.var}))
    if body == _NOTHING:
        return _NOTHING
    if extent is s.extent and body is s.body:
        return s
    return For(s.var, extent, s.kind, body)


def _if(s: If, at: Rewriter) -> Stmt:
    cond = at(s.cond)
    known = literal(cond)
    if known is not None:
        taken = s.then if known.value else s.other
        return _NOTHING if taken is None else _stmt(taken, at)
    yes, no = at, at
    # A branch may store to what the condition loads, so such a condition is no fact inside.
    if not any(isinstance(x, Load | Read) for x in sub_exprs(cond)):
        yes, no = at.under(at.facts.given(cond)), at.under(at.facts.given(cond, False))
    then = _stmt(s.then, yes)
    other = None if s.other is None else _stmt(s.other, no)
    if other == _NOTHING:
        other = None
    if then == _NOTHING:
        if other is None:
            return _NOTHING
        return If(at(Unary("not", cond)), other)
    if cond is s.cond and then is s.then and other is s.other:
        return s
    return If(cond, then, other)


def _store(s: Store, at: Rewriter) -> Stmt:
    mask = None if s.mask is None else at(s.mask)
    if mask is not None:
        known = literal(mask)
        if known is not None and not known.value:
            return _NOTHING
        mask = mask if known is None else None
    indices, value = _all(s.indices, at), at(s.value)
    if indices is s.indices and value is s.value and mask is s.mask:
        return s
    return Store(s.buffer, indices, value, mask)
