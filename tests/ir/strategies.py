"""Random index expressions, and their value by Python's own integers."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from tc.ir.expr import Binary, Const, Expr, Select, Sym, Unary, Var
from tc.ir.interval import Interval

VARS = {Var("i"): Interval(0, 7), Var("j"): Interval(0, 31), Var("k"): Interval(-5, 9)}
SYMS = (Sym("M", 0, 40), Sym("S", 1, 12))

_ARITHMETIC = ("add", "sub", "mul", "floordiv", "mod", "min", "max")
_COMPARE = ("lt", "le", "eq", "ne")


def index_exprs(depth: int = 4) -> st.SearchStrategy[Expr]:
    """Expressions of i64 over VARS and SYMS; divisors may be anything, zero too."""
    leaves = st.one_of(st.sampled_from([*VARS, *SYMS]), st.integers(-4, 40).map(Const))
    return st.recursive(leaves, _grown, max_leaves=2**depth)


def _grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    divisors = st.one_of(
        st.integers(1, 16).map(Const), st.just(SYMS[1]),
        st.just(Binary("mul", SYMS[0], SYMS[1])), inner,
    )  # fmt: skip
    return st.one_of(
        st.builds(Binary, st.sampled_from(("add", "sub", "mul", "min", "max")), inner, inner),
        st.builds(Binary, st.sampled_from(("floordiv", "mod")), inner, divisors),
        st.builds(Unary, st.just("neg"), inner),
        st.builds(Select, conditions(inner), inner, inner),
        st.builds(_rebuilt, inner, divisors),
    )


def _rebuilt(x: Expr, c: Expr) -> Expr:
    """An expression that ought to fold to x."""
    return Binary("add", Binary("mul", Binary("floordiv", x, c), c), Binary("mod", x, c))


def conditions(inner: st.SearchStrategy[Expr] | None = None) -> st.SearchStrategy[Expr]:
    inner = index_exprs(2) if inner is None else inner
    plain = st.builds(Binary, st.sampled_from(_COMPARE), inner, inner)
    return st.one_of(
        plain,
        st.builds(Binary, st.sampled_from(("and", "or")), plain, plain),
        st.builds(Unary, st.just("not"), plain),
    )


def points() -> st.SearchStrategy[dict[Expr, int]]:
    """A value for every variable and symbol, within its bounds."""
    return st.fixed_dictionaries(
        {v: st.integers(r.lo or 0, r.hi) for v, r in VARS.items()}  # type: ignore[arg-type]
        | {s: st.integers(s.lo, s.hi) for s in SYMS}  # type: ignore[dict-item]
    )


def value_of(x: Expr, point: Mapping[Expr, int]) -> int:
    """The value of a scalar index expression or condition; ZeroDivisionError where undefined."""
    match x:
        case Const(value, _):
            return int(value)
        case Var() | Sym():
            return point[x]
        case Unary("neg", a):
            return -value_of(a, point)
        case Unary("not", a):
            return 1 - value_of(a, point)
        case Select(cond, then, other):
            return value_of(then if value_of(cond, point) else other, point)
        case Binary(op, a, b):
            p, q = value_of(a, point), value_of(b, point)
            return _apply(op, p, q)
    raise AssertionError(f"no value: {x!r}")


def _apply(op: str, p: int, q: int) -> int:
    table = {
        "add": p + q, "sub": p - q, "mul": p * q, "min": min(p, q), "max": max(p, q),
        "eq": p == q, "ne": p != q, "lt": p < q, "le": p <= q, "and": p & q, "or": p | q,
    }  # fmt: skip
    if op in table:
        return int(table[op])
    return p // q if op == "floordiv" else p % q
