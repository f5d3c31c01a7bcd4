"""The pass that replaces every transcendental operator by arithmetic that any target has.

The formulas are in `tc.ir.math`; this pass only finds the operators and keeps names unique.
"""

from __future__ import annotations

from tc.ir.expr import Expr, Let, Var
from tc.ir.loop import For, Func
from tc.ir.math.expand import Names, expand_expr
from tc.ir.visit import distinct_exprs_of, rewrite_exprs, sub_stmts, with_body


def expand_math(func: Func, fused: bool = True) -> Func:
    """`func` without the operators of `tc.ir.math.expand.EXPANDED`; idempotent.

    Before: any loop IR, scalar or vectorised. After: the same statements, in whose expressions
    only native operators and `Let` stand. New names are numbered in the order of the text.

    Args:
        fused: see `tc.ir.math.build.Builder`.

    Raises:
        UnsupportedError: an operator on a type that has no such function.
    """
    names = Names(_names_in(func))

    def on(x: Expr) -> Expr:
        return expand_expr(x, names, fused)

    return with_body(func, rewrite_exprs(func.body, on))


def _names_in(func: Func) -> set[str]:
    """Every name of a variable, symbol or buffer that a new name must differ from."""
    taken = {p.name for p in func.params} | {s.name for s in func.symbols}
    taken |= {s.var.name for s in sub_stmts(func.body) if isinstance(s, For)}
    for x in distinct_exprs_of(func.body):
        match x:
            case Var(name) | Let(Var(name)):
                taken.add(name)
    return taken
