"""The rules of index arithmetic: quotients, remainders, comparisons and extremes of polynomials.

Each function takes `Facts` and gives the simplest equal form that it can prove. Divisors are
taken as not zero (a zero divisor is undefined), index sums as not overflowing. In the comments
0 <= r < c is to be proved, everything else holds by itself.
"""

from __future__ import annotations

import math

from tc.ir.affine import (
    ONE,
    Monomial,
    Poly,
    add,
    common_atoms,
    constant,
    content,
    divide,
    expr_of,
    mul,
    number,
    over,
    plain_poly,
    scale_down,
    sub,
    without,
)
from tc.ir.expr import Binary, Const, Expr
from tc.ir.facts import Facts
from tc.ir.types import BOOL


def quotient(facts: Facts, x: Poly, c: Poly) -> Poly:
    """x // c."""
    n, v = number(c), number(x)
    if n == 1 or not x:
        return x if n == 1 else {}
    if n and v is not None:
        return constant(v // n)
    if not _divisible_by(facts, x, c, n):
        return _atom("floordiv", x, c)
    q, r = _split(x, c, n)
    if q:  # (q*c + r) // c = q + r // c
        return add(q, quotient(facts, r, c))
    only = (facts.interval(x) // facts.interval(c)).value
    if only is not None:
        return constant(only)
    if facts.within(x, c):  # r // c = 0
        return {}
    shared, g = _shared(facts, x, c)
    if shared or g > 1:  # (g*x) // (g*c) = x // c
        return quotient(facts, _reduced(x, shared, g), _reduced(c, shared, g))
    if n is not None:
        for g in _divisors(x, n):  # (g*t + r) // (g*c) = t // c where 0 <= r < g
            t, r = _split(x, constant(g), g)
            if facts.within(r, constant(g)):
                return quotient(facts, t, constant(n // g))
    match _only_atom(x):
        case Binary("floordiv", y, a) if facts.nonnegative(plain_poly(a)):
            return quotient(facts, plain_poly(y), mul(plain_poly(a), c))  # (y // a) // c
        case Binary("mod", y, d):  # (y % (c*b)) // c = (y // c) % b
            b, r = divide(plain_poly(d), c)
            if not r and facts.nonnegative(b):
                return remainder(facts, quotient(facts, plain_poly(y), c), b)
    return _atom("floordiv", x, c)


def remainder(facts: Facts, x: Poly, c: Poly) -> Poly:
    """x % c."""
    n, v = number(c), number(x)
    if n == 1 or not x:
        return {}
    if n and v is not None:
        return constant(v % n)
    if not _divisible_by(facts, x, c, n):
        return _atom("mod", x, c)
    _, x = _split(x, c, n)  # (q*c + r) % c = r % c
    only = (facts.interval(x) // facts.interval(c)).value
    if only is not None:
        return add(x, c, -only)
    if facts.within(x, c):  # r % c = r
        return x
    shared, g = _shared(facts, x, c)
    if shared or g > 1:  # (g*x) % (g*c) = g * (x % c)
        inner = remainder(facts, _reduced(x, shared, g), _reduced(c, shared, g))
        return mul({shared: g}, inner)
    if n is not None:
        for g in _divisors(x, n):  # (g*t + r) % (g*c) = g * (t % c) + r where 0 <= r < g
            t, r = _split(x, constant(g), g)
            if facts.within(r, constant(g)):
                return add(r, remainder(facts, t, constant(n // g)), g)
    for m, k in x.items():
        for atom in m:
            match atom:
                case Binary("mod", y, d) if not divide(plain_poly(d), c)[1]:
                    # (y % (c*b) + z) % c = (y + z) % c
                    whole = mul({without(m, atom): k}, plain_poly(y))
                    return remainder(facts, add(add(x, {m: -k}), whole), c)
    return _atom("mod", x, c)


def recombine(facts: Facts, p: Poly) -> Poly:
    """(x // c) * c + x % c = x, with any factor before both."""
    for m, k in p.items():
        for atom in m:
            match atom:
                case Binary("mod", x, c):
                    px, pc = plain_poly(x), plain_poly(c)
                    for found in (quotient(facts, px, pc), _at_once(facts, px, pc)):
                        wanted = mul(mul({without(m, atom): k}, pc), found)
                        if wanted and all(p.get(n) == d for n, d in wanted.items()):
                            rest = sub(add(p, {m: -k}), wanted)
                            return recombine(facts, add(rest, mul({without(m, atom): k}, px)))
    return p


def _at_once(facts: Facts, x: Poly, c: Poly) -> Poly:
    """(t + y // g) // c as it is written where nothing was divided before: (g*t + y) // (g*c)."""
    for m, k in x.items():
        match m, k:
            case (Binary("floordiv", y, g),), 1 if _is_positive(plain_poly(g)) and _is_positive(c):
                whole = add(mul(add(x, {m: -1}), plain_poly(g)), plain_poly(y))
                if not facts.may_wrap(whole):
                    return quotient(facts, whole, mul(plain_poly(g), c))
    return {}


def _is_positive(p: Poly) -> bool:
    return (number(p) or 0) > 0


def compare(facts: Facts, op: str, a: Expr, b: Expr) -> Expr | None:
    """`a op b` decided or in a shorter form; None where nothing is gained."""
    p, q = plain_poly(a), plain_poly(b)
    gap = sub(q, p)
    if not gap:
        return Const(op in ("le", "eq"), BOOL)
    if facts.may_wrap(p) or facts.may_wrap(q):
        return None
    verdict = _decide(facts, op, gap)
    if verdict is not None:
        return Const(verdict, BOOL)
    g = content({m: c for m, c in gap.items() if m})
    if g == 1 and not p.keys() & q.keys():
        return None
    return _restate(op, gap, max(g, 1))


def _decide(facts: Facts, op: str, gap: Poly) -> bool | None:
    back = add({}, gap, -1)
    if op == "lt":
        return True if facts.positive(gap) else False if facts.nonnegative(back) else None
    if op == "le":
        return True if facts.nonnegative(gap) else False if facts.positive(back) else None
    if facts.positive(gap) or facts.positive(back):
        return op == "ne"
    # x <= y and y <= x
    return op == "eq" if facts.nonnegative(gap) and facts.nonnegative(back) else None


def _restate(op: str, gap: Poly, g: int) -> Expr:
    """The comparison of gap with 0, common factor and common terms taken out."""
    k = gap.get(ONE, 0)
    terms = scale_down({m: c for m, c in gap.items() if m}, g)
    if op in ("eq", "ne") and k % g:
        return Const(op == "ne", BOOL)
    # g*t + k > 0 where t > -((k - 1) // g) - 1; g*t + k >= 0 where t >= -(k // g)
    level = (k - 1) // g + 1 if op == "lt" else k // g
    gap = add(terms, constant(level))
    right = {m: c for m, c in gap.items() if c > 0}
    left = {m: -c for m, c in gap.items() if c < 0}
    return Binary(op, expr_of(left), expr_of(right))


def extreme(facts: Facts, op: str, a: Expr, b: Expr) -> Expr | None:
    """min or max of a and b where it is known which it is; None where not."""
    p, q = plain_poly(a), plain_poly(b)
    if facts.may_wrap(p) or facts.may_wrap(q):
        return None
    sign = 1 if op == "min" else -1
    if facts.nonnegative(add({}, sub(q, p), sign)):
        return a
    if facts.nonnegative(add({}, sub(p, q), sign)):
        return b
    for one, two, other in ((a, b, q), (b, a, p)):
        match one:
            case Binary(inner, x, y) if inner == op:  # min(min(x, y), b) where b <= y
                if facts.nonnegative(add({}, sub(plain_poly(y), other), sign)):
                    return Binary(op, x, two)
                if facts.nonnegative(add({}, sub(plain_poly(x), other), sign)):
                    return Binary(op, y, two)
    return None


def _divisible_by(facts: Facts, x: Poly, c: Poly, n: int | None) -> bool:
    """Whether the rules may be used: a positive divisor, and sums that do not wrap."""
    positive = n > 0 if n is not None else facts.nonnegative(c)
    return positive and not facts.may_wrap(x)


def _split(x: Poly, c: Poly, n: int | None) -> tuple[Poly, Poly]:
    """(q, r) with x = q*c + r, r holding the terms that are no multiples."""
    q, r = divide(x, c)
    if n is not None and ONE in r:
        k = r[ONE]
        q, r = add(q, constant(k // n)), add(r, constant(k % n - k))
    return q, r


def _shared(facts: Facts, x: Poly, c: Poly) -> tuple[Monomial, int]:
    """The common factor of x and c: atoms that are not negative, and a number."""
    atoms = common_atoms(x, c)
    if atoms and not facts.nonnegative({atoms: 1}):
        atoms = ONE
    return atoms, math.gcd(content(x), content(c))


def _reduced(p: Poly, atoms: Monomial, g: int) -> Poly:
    out: Poly = {}
    for m, c in p.items():
        rest = over(m, atoms)
        assert rest is not None, "a common factor divides every term"
        out[rest] = c // g
    return out


def _divisors(x: Poly, n: int) -> list[int]:
    """Divisors of n that some coefficients of x have, the largest first."""
    found = {math.gcd(c, n) for m, c in x.items() if m}
    return sorted((g for g in found if 1 < g < n), reverse=True)


def _only_atom(x: Poly) -> Expr | None:
    if len(x) == 1:
        ((m, c),) = x.items()
        if len(m) == 1 and c == 1:
            return m[0]
    return None


def _atom(op: str, x: Poly, c: Poly) -> Poly:
    return {(Binary(op, expr_of(x), expr_of(c)),): 1}
