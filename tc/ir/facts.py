"""What is known where an expression stands, and what follows from it.

`Facts` holds intervals of variables, polynomials known not to be negative (from loop extents and
conditions around) and conditions known to hold. It proves that a polynomial is not negative: by
intervals, or by putting a known larger or smaller value in the place of an atom and trying again.
It never rewrites anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tc.ir.affine import (
    ONE,
    Monomial,
    Poly,
    add,
    constant,
    divide,
    is_plain,
    mul,
    number,
    over,
    plain_poly,
    repeated_atoms,
    separated,
    sub,
    without,
)
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Expr,
    Let,
    Load,
    Read,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.interval import EVERYTHING, Bounds, End, Interval, ends, interval_of, times
from tc.ir.types import BOOL, HELD, I64
from tc.ir.visit import children
from tc.ir.witness import Witnesses

# How many polynomials one proof may look at, and how many substitutions deep.
_BUDGET: Final = 48
_DEPTH: Final = 6

Proofs: TypeAlias = dict[frozenset[tuple[Monomial, int]], bool]


@dataclass(slots=True)
class Facts:
    """Facts in one place of a program; `inner` gives those of a place within it."""

    env: Mapping[Var, Interval] = field(default_factory=dict)
    known: tuple[Poly, ...] = ()  # each is >= 0
    truths: Mapping[Expr, bool] = field(default_factory=dict)
    data: frozenset[Var] = frozenset()  # variables that stand for what is read
    bounds: Bounds = field(init=False)
    _ends: dict[Monomial, tuple[End, End]] = field(init=False)
    _leasts: dict[frozenset[tuple[Monomial, int]], End] = field(init=False)
    _proofs: Proofs = field(init=False)
    _witnesses: Witnesses = field(init=False)
    _inner: dict[tuple[Expr, Expr | bool], Facts] = field(init=False)

    def __post_init__(self) -> None:
        self.bounds = Bounds(self.env)
        self._ends = {ONE: (1, 1)}
        self._leasts = {}
        self._proofs = {}
        self._witnesses = Witnesses(self.known, self.bounds)
        self._inner = {}

    # --- more facts

    def in_loop(self, var: Var, extent: Expr) -> Facts:
        """The facts inside a loop over `var` in [0, extent), which runs at least once.

        Asked for again, they are the same object, with what was found out there.
        """
        found = self._inner.get((var, extent))
        if found is None:
            found = self._inner[var, extent] = self._in_loop(var, extent)
        return found

    def _in_loop(self, var: Var, extent: Expr) -> Facts:
        room = sub(plain_poly(extent), constant(1))
        hi = self.bounds(extent).hi
        env = {**self.env, var: Interval(0, None if hi is None else hi - 1)}
        known = self.known
        if number(room) is None:
            known = (*known, sub(room, {(var,): 1}), room)
        inside = Facts(env, known, self.truths, self.data)
        inside._witnesses = Witnesses(known, inside.bounds, self._witnesses, var)
        return inside

    def with_value(self, var: Var, value: Expr) -> Facts:
        """The facts where `var` stands for `value`."""
        env = {**self.env, var: self.bounds(value)}
        data = self.data | {var} if self._is_data(value) else self.data
        return Facts(env, self.known, self.truths, data)

    def given(self, cond: Expr, holds: bool = True) -> Facts:
        """The facts where `cond`, which is simplified, holds (or does not); as `in_loop`."""
        found = self._inner.get((cond, holds))
        if found is None:
            found = self._inner[cond, holds] = self._given(cond, holds)
        return found

    def _given(self, cond: Expr, holds: bool) -> Facts:
        env, known = dict(self.env), list(self.known)
        truths = dict(self.truths)
        for part, truth in _parts(cond, holds):
            truths[part] = truth
            for fact in self._consequences(part, truth):
                if not self._tighten(env, fact):
                    known.append(fact)
        return Facts(env, tuple(known), truths, self.data)

    def _tighten(self, env: dict[Var, Interval], fact: Poly) -> bool:
        """Narrow an interval by `fact` >= 0 where it bounds one variable by a number."""
        terms = [(m, c) for m, c in fact.items() if m]
        if len(terms) != 1 or len(terms[0][0]) != 1 or not isinstance(terms[0][0][0], Var):
            return False
        (var,), c = terms[0]
        assert isinstance(var, Var)
        limit = -fact.get(ONE, 0)  # c * var >= limit
        side = Interval(-(-limit // c), None) if c > 0 else Interval(None, limit // c)
        env[var] = env.get(var, EVERYTHING) & side
        return True

    def _consequences(self, cond: Expr, holds: bool) -> Iterator[Poly]:
        """Polynomials that are not negative where an index comparison holds (or does not)."""
        match cond:
            case Binary("lt" | "le" | "eq" | "ne" as op, a, b) if a.dtype is I64:
                p, q = plain_poly(a), plain_poly(b)
            case _:
                return
        if cond.lanes > 1 or self.may_wrap(p) or self.may_wrap(q):
            return
        gap = sub(q, p)
        match op, holds:
            case "lt", True:
                yield add(gap, constant(-1))
            case "le", True:
                yield gap
            case "lt", False:
                yield add({}, gap, -1)
            case "le", False:
                yield add(constant(-1), gap, -1)
            case ("eq", True) | ("ne", False):
                yield gap
                yield add({}, gap, -1)

    # --- what follows

    def interval(self, p: Poly) -> Interval:
        """The interval of a polynomial, term by term."""
        return interval_of(self._least(p), -self._least({m: -c for m, c in p.items()}))

    def _least(self, p: Poly) -> End:
        """The lower end of a polynomial's interval."""
        least = self._least_of_terms(p)
        if least >= 0 or len(p) < 2 or all(len(m) < 2 for m in p):
            return least
        key = frozenset(p.items())  # a proof comes to the same polynomials by many ways
        known = self._leasts.get(key)
        if known is None:
            known = self._leasts[key] = self._least_of_factors(p, least)
        return known

    def _least_of_factors(self, p: Poly, least: End) -> End:
        """`least`, or more where what terms have in common is taken out: b s - b = b (s - 1)."""
        for atom in repeated_atoms(p):
            rest, factor = separated(p, atom)
            lo, hi = ends(self.bounds(atom))
            if lo >= 0:
                end = self._least(factor)
                least = max(least, times(lo if end >= 0 else hi, end) + self._least(rest))
        return least

    def _least_of_terms(self, p: Poly) -> End:
        least: End = 0
        for m, c in p.items():
            lo, hi = self._ends.get(m) or self._ends_of(m)
            end = lo if c > 0 else hi
            if end:  # nothing times infinity
                least += c * end
        return least

    def _ends_of(self, m: Monomial) -> tuple[End, End]:
        lo, hi = ends(self.bounds(m[0]))
        for atom in m[1:]:
            a, b = ends(self.bounds(atom))
            if lo >= 0 and a >= 0:
                lo, hi = times(lo, a), times(hi, b)
            else:
                found = (times(lo, a), times(lo, b), times(hi, a), times(hi, b))
                lo, hi = min(found), max(found)
        self._ends[m] = lo, hi
        return lo, hi

    def nonnegative(self, p: Poly) -> bool:
        """Whether p >= 0 follows; depends on nothing but the facts, whatever was asked before."""
        key = frozenset(p.items())
        known = self._proofs.get(key)
        if known is None:
            known = self._least(p) >= 0
            if not known and any(p) and not self._witnesses.refute(p):
                known = self._prove(p, _DEPTH, [_BUDGET], {})
            self._proofs[key] = known
        return known

    def positive(self, p: Poly) -> bool:
        """Whether p >= 1 follows."""
        return self.nonnegative(add(p, constant(-1)))

    def within(self, p: Poly, size: Poly) -> bool:
        """Whether 0 <= p < size follows."""
        return self.nonnegative(p) and self.positive(sub(size, p))

    def may_wrap(self, p: Poly) -> bool:
        """Whether computing p may wrap around: arithmetic on data of unknown or of great size.

        What is made of sizes and loop variables alone does not.
        """
        if not self.data and all(is_plain(atom) for m in p for atom in m):
            return False
        if len(p) == 1 and all(len(m) == 1 and c == 1 for m, c in p.items()):
            return False
        if any(self._is_wild(atom) for m in p for atom in m):
            return True
        most: End = 0
        for m, c in p.items():
            if any(map(self._is_data, m)):
                most += abs(c) * max(map(abs, self._ends.get(m) or self._ends_of(m)))
        return most > HELD[I64][-1]

    def _is_wild(self, atom: Expr) -> bool:
        """Whether there is data of unknown size in it."""
        match atom:
            case Sym():
                return False
            case Var() if not self._is_data(atom):
                return False
            case Var() | Load() | Read() | Cast() | Bitcast() | Let():
                found = self.bounds(atom)
                return found.lo is None or found.hi is None
            case Binary(_, a, b) | Select(_, a, b):
                return self._is_wild(a) or self._is_wild(b)
            case Unary(_, a) | Broadcast(a, _):
                return self._is_wild(a)
        return False

    def _is_data(self, x: Expr) -> bool:
        """Whether `x` follows from what is read."""
        if isinstance(x, Var):
            return x in self.data or x.type is not I64
        return isinstance(x, Load | Read) or any(map(self._is_data, children(x)))

    def _prove(self, p: Poly, depth: int, budget: list[int], proofs: Proofs) -> bool:
        """As `nonnegative`; `proofs` are those of one question."""
        if self._least(p) >= 0:
            return True
        if depth == 0 or budget[0] <= 0 or not any(p):
            return False
        key = frozenset(p.items())
        known = proofs.get(key)
        if known is not None:
            return known
        budget[0] -= 1
        proofs[key] = False  # meanwhile, so that a circle of facts ends
        proved = False
        for cases in self._smaller(p, proofs):
            for q in cases:
                if not self._prove(q, depth - 1, budget, proofs):
                    break
            else:
                proved = True
                break
        if proved or budget[0] > 0:
            proofs[key] = proved
        else:
            proofs.pop(key, None)
        return proved

    def _smaller(self, p: Poly, proofs: Proofs) -> Iterator[tuple[Poly, ...]]:
        """Polynomials with one atom less to know about, p being at least one of each group."""
        for m, c in p.items():
            for atom in m:
                if type(atom) is Var or type(atom) is Sym:
                    continue
                match atom:
                    case Binary("floordiv", x, d) if _has(m, c, atom, d):
                        # d * (x // d) = x - x % d exactly
                        yield (_replace_quotient(p, m, c, atom, x, d),)
                    case Binary("min" | "max" | "mod", _, _) | Select():
                        yield from self._bounded(p, m, c, atom, proofs)
        for fact in self.known:
            for m, c in fact.items():
                have = p.get(m)
                if m and have is not None and have % c == 0 and have // c > 0:
                    yield (add(p, fact, -(have // c)),)
                elif m and have is None:
                    yield from self._scaled(p, fact, m, c)

    def _scaled(self, p: Poly, fact: Poly, m: Monomial, c: int) -> Iterator[tuple[Poly, ...]]:
        """p - k * rest * fact, where p has the term k * c * rest * m and rest >= 0."""
        for n, d in p.items():
            if d % c or d // c <= 0:
                continue
            rest = over(n, m)
            if rest and self._term_nonnegative(rest):
                yield (sub(p, mul({rest: d // c}, fact)),)

    def _term_nonnegative(self, m: Monomial) -> bool:
        for atom in m:
            lo = self.bounds(atom).lo
            if lo is None or lo < 0:
                return False
        return True

    def _bounded(
        self, p: Poly, m: Monomial, c: int, atom: Expr, proofs: Proofs
    ) -> Iterator[tuple[Poly, ...]]:
        """p with `atom`, in one term, replaced by what it is at most (or at least)."""
        rest = without(m, atom)
        if not self._term_nonnegative(rest):
            return
        others = {n: d for n, d in p.items() if n != m}

        def put(value: Poly) -> Poly:
            return add(others, mul({rest: c}, value))

        def nonnegative(x: Expr) -> bool:
            return self._prove(plain_poly(x), _DEPTH, [_BUDGET], proofs)

        match atom:
            case Binary("min", a, b) if c < 0:
                yield (put(plain_poly(a)),)
                yield (put(plain_poly(b)),)
            case Binary("max", a, b) if c > 0:
                yield (put(plain_poly(a)),)
                yield (put(plain_poly(b)),)
            case Binary("min" | "max", a, b) | Select(_, a, b):
                yield put(plain_poly(a)), put(plain_poly(b))
            case Binary("mod", x, d) if c < 0 and nonnegative(d):
                yield (put(sub(plain_poly(d), constant(1))),)
                if nonnegative(x):
                    yield (put(plain_poly(x)),)


def _has(m: Monomial, c: int, atom: Expr, divisor: Expr) -> bool:
    """Whether the term c * m, which holds x // divisor, holds the divisor as a factor too."""
    d = plain_poly(divisor)
    if len(d) != 1:
        return False
    ((dm, dc),) = d.items()
    return c % dc == 0 and over(without(m, atom), dm) is not None


def _replace_quotient(p: Poly, m: Monomial, c: int, atom: Expr, x: Expr, d: Expr) -> Poly:
    factor, _ = divide({without(m, atom): c}, plain_poly(d))
    exact = sub(plain_poly(x), {(Binary("mod", x, d),): 1})
    return add({n: k for n, k in p.items() if n != m}, mul(factor, exact))


def _parts(cond: Expr, holds: bool) -> Iterator[tuple[Expr, bool]]:
    """The conditions that must all hold (or not) for `cond` to hold (or not)."""
    match cond:
        case Binary("and", a, b) if holds and cond.dtype is BOOL:
            yield from _parts(a, True)
            yield from _parts(b, True)
        case Binary("or", a, b) if not holds and cond.dtype is BOOL:
            yield from _parts(a, False)
            yield from _parts(b, False)
        case Unary("not", x):
            yield from _parts(x, not holds)
        case Broadcast(x, _):
            yield from _parts(x, holds)
        case _:
            yield cond, holds
