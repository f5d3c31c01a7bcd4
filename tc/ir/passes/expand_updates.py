"""Update statements become stores.

    acc[i] <sum[f32]>= a * b      =>  acc[i] = fma(a, b, acc[i])
                                      acc[i] = acc[i] + a * b      where nothing is fused
    m[], l[] <online_softmax>= …  =>  new0 = …; new1 = …; m[] = new0; l[] = new1

A state that is a tuple goes through registers, so that every state is computed from the old ones.
This pass must not change which point is visited when.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tc.ir.expr import Binary, Expr, Fma, Load, Var
from tc.ir.loop import Alloc, Buffer, Func, Scope, Stmt, Store, Update, seq
from tc.ir.types import F32, F64
from tc.ir.visit import children, map_stmt, with_body, with_children


def expand_updates(func: Func, fused: bool = True) -> Func:
    """Replace every `Update` of `func`.

    Args:
        fused: sums of products are rounded once for each term.
    """
    numbers = count()

    def stmt(s: Stmt) -> Stmt | None:
        return _expand(s, numbers, fused) if isinstance(s, Update) else None

    return with_body(func, map_stmt(func.body, None, stmt))


def _expand(s: Update, numbers: Iterator[int], fused: bool) -> Stmt:
    old = [Load(b, s.indices) for b in s.buffers]
    env: dict[Var, Expr] = dict(zip(s.monoid.left, old, strict=True))
    env.update(zip(s.monoid.right, s.values, strict=True))
    memo: dict[int, Expr] = {}
    form = _contract if fused else _part
    new = [form(_replace(x, env, memo)) for x in s.monoid.combine]
    if len(new) == 1:
        return Store(s.buffers[0], s.indices, new[0])
    number = next(numbers)
    temps = [
        Buffer(f"new{number}_{n}", (), b.dtype, Scope.REGISTER) for n, b in enumerate(s.buffers)
    ]
    compute = [Store(t, (), x) for t, x in zip(temps, new, strict=True)]
    commit = [Store(b, s.indices, Load(t, ())) for t, b in zip(temps, s.buffers, strict=True)]
    body = seq(*compute, *commit)
    for t in reversed(temps):
        body = Alloc(t, body)
    return body


def _replace(x: Expr, env: dict[Var, Expr], memo: dict[int, Expr]) -> Expr:
    """Substitution that keeps what several states share one object: it is then computed once."""
    if isinstance(x, Var):
        return env.get(x, x)
    kids = children(x)
    if not kids:
        return x
    done = memo.get(id(x))
    if done is None:
        done = memo[id(x)] = with_children(x, tuple([_replace(k, env, memo) for k in kids]))
    return done


def _contract(x: Expr) -> Expr:
    """old + a * b as one Fma: what a sum of products is defined to be in loop IR."""
    match x:
        case Binary("add", Load() as old, Binary("mul", a, b)) if x.dtype in (F32, F64):
            return Fma(a, b, old)
    return x


def _part(x: Expr) -> Expr:
    """The same the other way round, as sums of several states are written."""
    match x:
        case Fma(a, b, c) if x.dtype in (F32, F64):
            return c + a * b
    return x
