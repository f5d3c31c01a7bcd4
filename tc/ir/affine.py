"""Integer polynomials: the normal form of index arithmetic.

A polynomial maps monomials to coefficients. A monomial is a sorted tuple of atoms, where an atom
is anything that is not a sum, difference, product or literal: a variable, a symbol, x // c, a load.
Equal polynomials are equal dictionaries, and print as the same expression.

Sums and products wrap around as the ring of 64-bit integers does, so the normal form is exact.
Nothing here knows what lies between which bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from tc.ir.expr import Binary, Broadcast, Const, Expr, Select, Sym, Unary, Var
from tc.ir.types import HELD, I64, wrapped
from tc.ir.visit import children

Monomial: TypeAlias = tuple[Expr, ...]
Poly: TypeAlias = dict[Monomial, int]

# Products of long sums are left as they are: their expansion would be larger than they.
MAX_TERMS: Final = 48

ONE: Final[Monomial] = ()


def atom_order(atom: Expr) -> tuple[int, str]:
    """The place of an atom in a product: variables, then anything else, then symbols."""
    if isinstance(atom, Var):
        return (0, atom.name)
    if isinstance(atom, Sym):
        return (2, atom.name)
    return (1, _text(atom))


def _text(expr: Expr) -> str:
    """What expressions are ordered by; a node works it out once."""
    if isinstance(expr, Var | Sym):
        return expr.name
    try:
        return expr._order
    except AttributeError:
        found = _text_of(expr)
        object.__setattr__(expr, "_order", found)
        return found


def _text_of(expr: Expr) -> str:
    match expr:
        case Const(value, dtype):
            return f"{value}:{dtype.value}"
        case Binary(op, a, b):
            return f"{op}({_text(a)},{_text(b)})"
    return str(expr)


def is_plain(atom: Expr) -> bool:
    """Whether an atom is arithmetic on sizes and indices alone; a node works it out once."""
    kind = type(atom)
    if kind is Const or kind is Sym:
        return True
    if isinstance(atom, Var):
        return atom.type is I64
    try:
        return atom._plain
    except AttributeError:
        kinds = Binary | Unary | Select | Broadcast
        found = isinstance(atom, kinds) and all(map(is_plain, children(atom)))
        object.__setattr__(atom, "_plain", found)
        return found


def constant(value: int) -> Poly:
    """The polynomial of one number."""
    return {ONE: value} if value else {}


def add(p: Poly, q: Poly, factor: int = 1) -> Poly:
    """p + factor * q."""
    out = dict(p)
    for m, c in q.items():
        total = out.get(m, 0) + c * factor
        if total:
            out[m] = total
        else:
            out.pop(m, None)
    return out


def sub(p: Poly, q: Poly) -> Poly:
    """p - q."""
    return add(p, q, -1)


def times(m: Monomial, n: Monomial) -> Monomial:
    """The product of two monomials."""
    if not m:
        return n
    if not n:
        return m
    return tuple(sorted(m + n, key=atom_order))


def mul(p: Poly, q: Poly) -> Poly:
    """p * q, multiplied out."""
    out: Poly = {}
    for m, c in p.items():
        for n, d in q.items():
            key = times(m, n)
            total = out.get(key, 0) + c * d
            if total:
                out[key] = total
            else:
                out.pop(key, None)
    return out


def number(p: Poly) -> int | None:
    """The value of a polynomial that is a number."""
    if not p:
        return 0
    return p.get(ONE) if len(p) == 1 else None


def without(m: Monomial, atom: Expr) -> Monomial:
    """The monomial divided by one of its atoms."""
    at = m.index(atom)
    return m[:at] + m[at + 1 :]


def repeated_atoms(p: Poly) -> list[Expr]:
    """Those that are factors of several terms, of which some are subtracted and some are not."""
    signs: dict[Expr, set[bool]] = {}
    for m, c in p.items():
        for atom in m:
            signs.setdefault(atom, set()).add(c > 0)
    return [atom for atom, found in signs.items() if len(found) > 1]


def separated(p: Poly, atom: Expr) -> tuple[Poly, Poly]:
    """Polynomials (q, r) with p = q + r * atom, q having no term with the atom as a factor."""
    r = {without(m, atom): c for m, c in p.items() if atom in m}
    return {m: c for m, c in p.items() if atom not in m}, r


def over(m: Monomial, n: Monomial) -> Monomial | None:
    """m / n, or None where it does not divide."""
    if len(n) > len(m):
        return None
    rest = list(m)
    for atom in n:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def divide(p: Poly, d: Poly) -> tuple[Poly, Poly]:
    """Polynomials (q, r) with p = q * d + r, where q takes the terms that are multiples of d."""
    lead = max(d, key=lambda m: (len(m), [atom_order(a) for a in m]))
    quotient: Poly = {}
    rest = p
    for m, c in p.items():
        share = over(m, lead)
        if share is None or rest.get(m) != c or c % d[lead]:
            continue
        factor = {share: c // d[lead]}
        part = mul(factor, d)
        if any(n not in rest for n in part):
            continue
        quotient = add(quotient, factor)
        rest = sub(rest, part)
    return quotient, rest


def content(p: Poly) -> int:
    """The greatest common divisor of all coefficients."""
    return math.gcd(*p.values()) if p else 0


def scale_down(p: Poly, divisor: int) -> Poly:
    """p / divisor, which must divide every coefficient."""
    return {m: c // divisor for m, c in p.items()}


def common_atoms(p: Poly, q: Poly) -> Monomial:
    """The largest monomial that divides every term of both."""
    terms = list(p) + list(q)
    if not terms:
        return ONE
    shared = list(terms[0])
    for term in terms:
        left = list(term)
        kept = []
        for atom in shared:
            if atom in left:
                left.remove(atom)
                kept.append(atom)
        shared = kept
        if not shared:
            return ONE
    return tuple(shared)


def poly_of(expr: Expr, leaf: Callable[[Expr], Expr]) -> Poly:
    """The polynomial of a scalar i64 expression; `leaf` simplifies what is to be an atom."""
    if isinstance(expr, Binary):
        op = expr.op
        if op == "add":
            return add(poly_of(expr.a, leaf), poly_of(expr.b, leaf))
        if op == "sub":
            return sub(poly_of(expr.a, leaf), poly_of(expr.b, leaf))
        if op == "mul":
            p, q = poly_of(expr.a, leaf), poly_of(expr.b, leaf)
            if len(p) * len(q) <= MAX_TERMS:
                return mul(p, q)
            return {(Binary("mul", expr_of(p), expr_of(q)),): 1}
    elif isinstance(expr, Const):
        return constant(int(expr.value))
    elif isinstance(expr, Unary) and expr.op == "neg":
        return add({}, poly_of(expr.x, leaf), -1)
    done = leaf(expr)
    if done is expr or not (_is_sum(done) or isinstance(expr, Var | Sym)):
        return {(done,): 1}
    return poly_of(done, leaf)


def plain_poly(expr: Expr) -> Poly:
    """The polynomial of an expression that is simplified already; not to be changed.

    A node works it out once.
    """
    if not isinstance(expr, Binary):
        return poly_of(expr, _itself)
    try:
        return expr._poly
    except AttributeError:
        found = poly_of(expr, _itself)
        object.__setattr__(expr, "_poly", found)
        return found


def _itself(atom: Expr) -> Expr:
    return atom


def _is_sum(expr: Expr) -> bool:
    match expr:
        case Const() | Binary("add" | "sub" | "mul", _, _) | Unary("neg", _):
            return True
    return False


def _term_order(term: tuple[Monomial, int]) -> tuple[bool, bool, int, int, list[tuple[int, str]]]:
    m, c = term
    return (not m, c < 0, -len(m), -abs(c), [atom_order(a) for a in m])


def expr_of(p: Poly) -> Expr:
    """The canonical expression of a polynomial: long and large terms first, the number last."""
    if any(c not in HELD[I64] for c in p.values()):
        p = {m: k for m, c in p.items() if (k := wrapped(c, I64))}
    if not p:
        return Const(0)
    terms = sorted(p.items(), key=_term_order)
    if terms[0][1] < 0 and p.get(ONE, 0) > 0:
        terms.insert(0, terms.pop())
    out: Expr | None = None
    for m, c in terms:
        if out is None:
            out = _term(m, c)
        elif c < 0:
            out = Binary("sub", out, _term(m, -c))
        else:
            out = Binary("add", out, _term(m, c))
    assert out is not None
    return out


def _term(m: Monomial, c: int) -> Expr:
    if not m:
        return Const(c)
    out = m[0]
    for atom in m[1:]:
        out = Binary("mul", out, atom)
    return out if c == 1 else Binary("mul", out, Const(c))
