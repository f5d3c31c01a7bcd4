"""Choices of values that satisfy what is known: what is wrong for one of them has no proof.

Most that is asked of facts does not follow from them, and a search that finds nothing is as long as
its budget; adding up a few numbers tells. What cannot be worked out (a load, a conversion) is any
number that its interval holds, as it is for a proof. This module must not prove anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from tc.ir.affine import Poly
from tc.ir.expr import Binary, Const, Expr, Select, Sym, Unary, Var
from tc.ir.interval import Bounds, Interval
from tc.ir.types import I64
from tc.ir.visit import free_vars

_FAR: Final = 997  # how far from its other end a value is chosen that has no end
_EXACT: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "min": min,
    "max": max,
}

_Pick: TypeAlias = Callable[[int, int], int]
# A polynomial that is not negative, with the number of its atoms that each variable is in.
_Limit: TypeAlias = tuple[Poly, Mapping[Var, int]]


def _least(lo: int, _hi: int) -> int:
    return lo


def _most(_lo: int, hi: int) -> int:
    return hi


def _middle(lo: int, hi: int) -> int:
    return (lo + hi) // 2


# How symbols are chosen, and how variables.
_WAYS: Final[tuple[tuple[_Pick, _Pick], ...]] = (
    (_most, _most),
    (_most, _least),
    (_least, _most),
    (_middle, _middle),
)


class _UndefinedError(ArithmeticError):
    """A divisor that is not positive: of such nothing is said."""


class Witnesses:
    """The choices for one place of a program, made when they are first asked for."""

    __slots__ = ("_around", "_bounds", "_known", "_var", "_worlds")

    def __init__(
        self,
        known: tuple[Poly, ...],
        bounds: Bounds,
        around: Witnesses | None = None,
        var: Var | None = None,
    ) -> None:
        """`known` polynomials are not negative, `bounds` has the intervals of the variables.

        Where the place is in a loop over `var`, `around` has the choices around the loop.
        """
        self._known = known
        self._bounds = bounds
        self._around = around
        self._var = var
        self._worlds: list[_World] | None = None

    def refute(self, p: Poly) -> bool:
        """Whether p is negative for one of the choices."""
        return any(world.is_negative(p) for world in self._chosen())

    def _chosen(self) -> list[_World]:
        if self._worlds is None:
            self._worlds = self._choose()
            self._around = None
        return self._worlds

    def _choose(self) -> list[_World]:
        around, var = self._around, self._var
        if around is not None and var is not None and not around.speaks_of(var):
            found = [world.without(var, self._bounds) for world in around._chosen()]
            variables, known = [var], self._known[len(around._known) :]
        else:
            found = [_World(self._bounds, *ways, {}) for ways in _WAYS]
            variables, known = list(self._bounds.env), self._known
        limits = [(fact, _variables(fact)) for fact in known]
        variables += [v for _, inside in limits for v in inside]
        return [world for world in found if world.settle(dict.fromkeys(variables), limits)]

    def speaks_of(self, var: Var) -> bool:
        """Whether anything is known of a variable."""
        return var in self._bounds.env or any(
            var in free_vars(atom) for fact in self._known for m in fact for atom in m
        )


class _World:
    """One choice: `chosen` are its values of variables, symbols and what cannot be worked out."""

    __slots__ = ("_bounds", "_of_symbols", "_of_variables", "_values", "chosen")

    def __init__(
        self, bounds: Bounds, of_symbols: _Pick, of_variables: _Pick, chosen: dict[Expr, int]
    ) -> None:
        self._bounds = bounds
        self._of_symbols = of_symbols
        self._of_variables = of_variables
        self._values = dict(chosen)
        self.chosen = chosen

    def without(self, var: Var, bounds: Bounds) -> _World:
        """The same choice but for `var` and what it is in."""
        kept = {x: value for x, value in self.chosen.items() if var not in free_vars(x)}
        return _World(bounds, self._of_symbols, self._of_variables, kept)

    def settle(self, variables: Iterable[Var], limits: Sequence[_Limit]) -> bool:
        """Choose the variables that are open, as `limits` allow; whether these are satisfied."""
        try:
            for var in variables:
                if var not in self.chosen:
                    lo, hi = self._ends(var, limits)
                    if lo > hi:
                        return False
                    self.chosen[var] = self._values[var] = self._of_variables(lo, hi)
            return all(self._of(fact) >= 0 for fact, _ in limits)
        except _UndefinedError:
            return False

    def _ends(self, var: Var, limits: Sequence[_Limit]) -> tuple[int, int]:
        lo, hi = _ends(self._bounds(var))
        for fact, inside in limits:
            c = fact.get((var,))
            if c is None or inside[var] > 1 or len(inside.keys() - self.chosen.keys()) > 1:
                continue  # it does not bound the variable, or others are open
            rest = self._of({m: k for m, k in fact.items() if m != (var,)})
            if c < 0:
                hi = min(hi, rest // -c)
            else:
                lo = max(lo, -(rest // c))
        return lo, hi

    def is_negative(self, p: Poly) -> bool:
        """Whether p is negative here."""
        try:
            return self._of(p) < 0
        except _UndefinedError:
            return False

    def _of(self, p: Poly) -> int:
        values, total = self._values, 0
        for m, c in p.items():
            for atom in m:
                found = values.get(atom)
                c *= self._value(atom) if found is None else found
            total += c
        return total

    def _value(self, x: Expr) -> int:
        if isinstance(x, Const):
            return int(x.value)
        found = self._values.get(x)
        if found is None:
            found = self._values[x] = self._find(x)
        return found

    def _find(self, x: Expr) -> int:
        match x:
            case Binary(op, a, b) if op in _EXACT and a.dtype is I64:
                p, q = self._value(a), self._value(b)
                if q <= 0 and op in ("floordiv", "mod"):
                    raise _UndefinedError
                return _EXACT[op](p, q)
            case Unary("neg", a) if a.dtype is I64:
                return -self._value(a)
            case Select(_, then, _):  # what is proved holds for either side
                return self._value(then)
        lo, hi = _ends(self._bounds(x))
        if isinstance(x, Sym):
            hi = min(hi, max(lo, 0) + _FAR)
            found = self._of_symbols(max(lo, min(hi, 1)), hi)
        else:
            found = self._of_variables(lo, hi)
        self.chosen[x] = found
        return found


def _ends(x: Interval) -> tuple[int, int]:
    """The ends of an interval, or numbers in the place of those that it lacks."""
    lo, hi = x.lo, x.hi
    if lo is None:
        lo = (0 if hi is None else hi) - _FAR
    return lo, max(lo, 0) + _FAR if hi is None else hi


def _variables(p: Poly) -> dict[Var, int]:
    """The variables of a polynomial, with the number of its atoms that each is in."""
    found: dict[Var, int] = {}
    for m in p:
        for atom in m:
            for var in free_vars(atom):
                found[var] = found.get(var, 0) + 1
    return found
