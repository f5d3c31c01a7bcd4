"""The condition of a `Select` becomes the mask of the loads in its arms.

    select(i < n, A[i], 0)  =>  select(i < n, A[i, mask=i < n], 0)

After this pass a load touches memory where its own mask says so, whatever stands around it, and
both arms of a `Select` may be evaluated. A load that is provably inside its buffer, or from a
register, gets no mask. This pass must not drop a mask that is there.
"""

from __future__ import annotations

from tc.ir.affine import plain_poly
from tc.ir.expr import Expr, Load, Select, Unary, binary
from tc.ir.facts import Facts
from tc.ir.loop import Alloc, Assert, For, Func, If, Scope, Seq, Stmt, Store, Update
from tc.ir.visit import children, own_exprs, rewrite_exprs, with_body, with_children


def guard_loads(func: Func) -> Func:
    """Mask the loads that stand in an arm of a `Select`."""
    return with_body(func, _stmt(func.body, Facts()))


def _stmt(s: Stmt, facts: Facts) -> Stmt:
    match s:
        case For(var, extent, kind, body):
            inner = _stmt(body, facts.in_loop(var, extent))
            return s if inner is body else For(var, extent, kind, inner)
        case Seq(body):
            news = tuple([_stmt(b, facts) for b in body])
            return s if all(a is b for a, b in zip(body, news, strict=True)) else Seq(news)
        case If(cond, then, other):
            yes = _stmt(then, facts.given(cond))
            no = None if other is None else _stmt(other, facts.given(cond, False))
            return s if yes is then and no is other else If(cond, yes, no)
        case Alloc(buffer, body):
            inner = _stmt(body, facts)
            return s if inner is body else Alloc(buffer, inner)
        case Store() | Update() | Assert() if any(_has_select(x) for x in own_exprs(s)):
            return rewrite_exprs(s, _Guard(facts))
    return s


def _has_select(x: Expr) -> bool:
    return isinstance(x, Select) or any(_has_select(k) for k in children(x))


class _Guard:
    """Rewrites the expressions of one statement."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.memo: dict[tuple[int, Expr | None], Expr] = {}

    def __call__(self, x: Expr) -> Expr:
        return self.under(x, None)

    def under(self, x: Expr, guard: Expr | None) -> Expr:
        kids = children(x)
        if not kids and not isinstance(x, Load):
            return x
        key = (id(x), guard)
        if key not in self.memo:
            self.memo[key] = self._rebuild(x, kids, guard)
        return self.memo[key]

    def _rebuild(self, x: Expr, kids: tuple[Expr, ...], guard: Expr | None) -> Expr:
        match x:
            case Select(cond, then, other):
                c = self.under(cond, guard)
                yes = _both(guard, c)
                no = _both(guard, Unary("not", c))
                new: tuple[Expr, ...] = (c, self.under(then, yes), self.under(other, no))
            case Load(buffer, indices, mask) if guard is not None and not self._inside(x):
                at = tuple([self.under(i, guard) for i in indices])
                own = None if mask is None else self.under(mask, guard)
                return Load(buffer, at, _both(guard, own))
            case _:
                new = tuple([self.under(k, guard) for k in kids])
        if all(a is b for a, b in zip(kids, new, strict=True)):
            return x
        return with_children(x, new)

    def _inside(self, x: Load) -> bool:
        if x.buffer.scope is Scope.REGISTER:
            return True
        pairs = zip(x.indices, x.buffer.shape, strict=True)
        return all(self.facts.within(plain_poly(i), plain_poly(n)) for i, n in pairs)


def _both(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None or a == b:
        return b if a is None else a
    return binary("and", a, b)
