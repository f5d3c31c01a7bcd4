"""The rewriter behind tc.ir.simplify: one expression, bottom-up, under the facts of its place.

Index arithmetic (i64) goes through the polynomials of tc.ir.affine and the rules of
tc.ir.index_rules; everything else through the exact identities of tc.ir.fold. A vector of index
type is looked at as base + stride * lane where it can be.
"""

from __future__ import annotations

import math

from tc.ir.affine import ONE, Poly, add, constant, expr_of, mul, number, plain_poly, poly_of, sub
from tc.ir.expr import (
    COMPARISONS,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Reduce,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.facts import Facts
from tc.ir.fold import absorbing, fold_binary, fold_cast, literal, lossless, neutral
from tc.ir.index_rules import compare, extreme, quotient, recombine, remainder
from tc.ir.types import BOOL, I64
from tc.ir.visit import LEAVES, children, with_children

_RING = frozenset(("add", "sub", "mul"))
_NEGATED = {"lt": "le", "le": "lt", "eq": "ne", "ne": "eq"}


class Rewriter:
    """Simplifies expressions in one place; results are kept, so the facts must not change."""

    def __init__(self, facts: Facts, values: dict[Var, Expr] | None = None) -> None:
        self.facts = facts
        self.values = values or {}  # what stands for a variable
        # Keyed by identity; both sides are kept so that no identity is given anew.
        self._memo: dict[int, tuple[Expr, Expr]] = {}

    def under(self, facts: Facts, values: dict[Var, Expr] | None = None) -> Rewriter:
        """A rewriter for a place inside this one."""
        return Rewriter(facts, self.values if values is None else {**self.values, **values})

    @property
    def remembered(self) -> int:
        """How many expressions it keeps."""
        return len(self._memo)

    def __call__(self, x: Expr) -> Expr:
        kind = type(x)
        if kind is Const or kind is Sym:
            return x
        if isinstance(x, Var):
            if self.facts.truths and x in self.facts.truths:
                return Const(self.facts.truths[x], BOOL)
            return self.values.get(x, x)
        known = self._memo.get(id(x))
        if known is not None:
            return known[1]
        out = self._rewrite(x)
        if self.facts.truths and out.dtype is BOOL and out in self.facts.truths:
            out = _like(Const(self.facts.truths[out], BOOL), out)
        if out is not x and out == x:
            out = x
        self._memo[id(x)] = (x, out)
        self._memo[id(out)] = (out, out)
        return out

    def _rewrite(self, x: Expr) -> Expr:
        match x:
            case Binary(op, a, b):
                if op in _RING and x.dtype is I64 and x.lanes == 1:
                    return self._ring(x)
                return self.binary(op, self(a), self(b))
            case Unary("neg", _) if x.dtype is I64 and x.lanes == 1:
                return self._ring(x)
            case Unary(op, a):
                return self._unary(op, self(a), x)
            case Select(cond, then, other):
                return self._select(self(cond), then, other, x)
            case Cast(a, dtype):
                return self._cast(Cast(self(a), dtype))
            case Let(var, value, body):
                return self._let(var, self(value), body, x)
            case Ramp(base, stride, width):
                return _ramp(self(base), self(stride), width)
            case Load(_, _, mask) if mask is not None:
                return self._masked(x)
            case Reduce():
                return self._reduce(x)
        return self._generic(x)

    def _generic(self, x: Expr) -> Expr:
        kids = children(x)
        new = tuple([self(k) for k in kids])
        if any(a is not b for a, b in zip(kids, new, strict=True)):
            x = with_children(x, new)
        match x:
            case Fma(Broadcast(a, width), Broadcast(b, _), Broadcast(c, _)):
                return Broadcast(Fma(a, b, c), width)
            case Bitcast(Broadcast(a, width), dtype) if a.dtype.bits == dtype.bits:
                return Broadcast(self(Bitcast(a, dtype)), width)
            case Bitcast(a, dtype) if a.dtype is dtype:
                return a
            case LaneReduce("min" | "max" | "and" | "or", Broadcast(a, _)):
                return a
        return x

    # --- integers as polynomials

    def _ring(self, x: Expr) -> Expr:
        p = recombine(self.facts, poly_of(x, self._leaf))
        return expr_of(p)

    def _leaf(self, atom: Expr) -> Expr:
        # A product too long to multiply out is its own atom.
        if isinstance(atom, Binary) and atom.op in _RING:
            return atom
        return self(atom)

    def binary(self, op: str, a: Expr, b: Expr) -> Expr:
        """`a op b` of simplified operands."""
        uniform = _uniform(a, b)
        if uniform is not None:
            width, one, two = uniform
            return Broadcast(self.binary(op, one, two), width)
        x, y = literal(a), literal(b)
        dtype = a.dtype
        if x is not None and y is not None:
            folded = fold_binary(op, x, y)
            if folded is not None:
                return _like(folded, a, b)
        if x is not None or y is not None:
            kept = neutral(op, a, b, dtype)
            if kept is not None:
                return kept
            always = absorbing(op, a, b, dtype)
            if always is not None:
                return _like(always, a, b)
        if dtype is I64:
            return self._index(op, a, b)
        if not dtype.is_float:
            return self._small(op, a, b)
        return Binary(op, a, b)

    def _index(self, op: str, a: Expr, b: Expr) -> Expr:
        lanes = max(a.lanes, b.lanes)
        if lanes > 1:
            return self._vector(op, a, b, lanes)
        match op:
            case "add" | "sub" | "mul":
                return self._ring(Binary(op, a, b))
            case "floordiv":
                return expr_of(
                    recombine(self.facts, quotient(self.facts, plain_poly(a), plain_poly(b)))
                )
            case "mod":
                return expr_of(
                    recombine(self.facts, remainder(self.facts, plain_poly(a), plain_poly(b)))
                )
            case "min" | "max":
                known = extreme(self.facts, op, a, b)
            case "eq" | "ne" | "lt" | "le":
                known = compare(self.facts, op, a, b)
            case _:
                known = None
        return Binary(op, a, b) if known is None else known

    def _small(self, op: str, a: Expr, b: Expr) -> Expr:
        """Bools and integers that are no indices: they may wrap, so intervals decide alone."""
        if op in ("and", "or", "min", "max") and a == b:
            return a
        if op in COMPARISONS:
            if a == b:
                return _like(Const(op in ("eq", "le"), BOOL), a, b)
            p, q = self.facts.bounds(a), self.facts.bounds(b)
            gap = q - p
            if op == "lt" and gap.lo is not None and gap.lo > 0:
                return _like(Const(True, BOOL), a, b)
            if op == "le" and gap.hi is not None and gap.hi < 0:
                return _like(Const(False, BOOL), a, b)
        return Binary(op, a, b)

    # --- vectors of indices

    def _vector(self, op: str, a: Expr, b: Expr, lanes: int) -> Expr:
        x, y = _affine(a), _affine(b)
        if x is None or y is None:
            return Binary(op, a, b)
        match op:
            case "add" | "sub":
                base, stride = self.binary(op, x[0], y[0]), self.binary(op, x[1], y[1])
                return _ramp(base, stride, lanes)
            case "mul" if Const(0) in (x[1], y[1]):
                by, of = (x[0], y) if x[1] == Const(0) else (y[0], x)
                return _ramp(self.binary(op, of[0], by), self.binary(op, of[1], by), lanes)
            case "floordiv" | "mod" if y[1] == Const(0):
                divided = self._divided(op, x, y[0], lanes)
                return Binary(op, a, b) if divided is None else divided
            case "min" | "max":
                if self._lanes_agree("le", x, y, lanes) is True:
                    return a if op == "min" else b
                if self._lanes_agree("le", y, x, lanes) is True:
                    return b if op == "min" else a
            case "eq" | "ne" | "lt" | "le":
                verdict = self._lanes_agree(op, x, y, lanes)
                if verdict is not None:
                    return Broadcast(Const(verdict, BOOL), lanes)
        return Binary(op, a, b)

    def _lanes_agree(
        self, op: str, x: tuple[Expr, Expr], y: tuple[Expr, Expr], lanes: int
    ) -> bool | None:
        """The comparison, where the first and the last lane prove it for all between."""
        first = compare(self.facts, op, x[0], y[0])
        if not isinstance(first, Const):
            return None
        if op in ("eq", "ne") and first.value == (op == "ne"):
            # Unequal ends say nothing of the middle: all lanes must be on one side.
            return op == "ne" if self._one_side(x, y, lanes) else None
        last = compare(self.facts, op, self._lane(x, lanes - 1), self._lane(y, lanes - 1))
        return bool(first.value) if last == first else None

    def _one_side(self, x: tuple[Expr, Expr], y: tuple[Expr, Expr], lanes: int) -> bool:
        return (
            self._lanes_agree("lt", x, y, lanes) is True
            or self._lanes_agree("lt", y, x, lanes) is True
        )

    def _lane(self, x: tuple[Expr, Expr], n: int) -> Expr:
        return self.binary("add", x[0], self.binary("mul", x[1], Const(n)))

    def _divided(self, op: str, x: tuple[Expr, Expr], by: Expr, lanes: int) -> Expr | None:
        """A ramp // or % a scalar, where it is a ramp again."""
        base, stride = plain_poly(x[0]), plain_poly(x[1])
        divisor = plain_poly(by)
        if self.facts.may_wrap(base) or not self.facts.nonnegative(divisor):
            return None
        q = quotient(self.facts, stride, divisor)
        if sub(stride, mul(q, divisor)) == {}:  # the stride is a multiple of the divisor
            if op == "floordiv":
                return _ramp(self.binary(op, x[0], by), expr_of(q), lanes)
            return Broadcast(self.binary(op, x[0], by), lanes)
        start = remainder(self.facts, base, divisor)
        if not self._same_quotient(start, stride, divisor, lanes):
            return None
        if op == "floordiv":
            return Broadcast(self.binary(op, x[0], by), lanes)
        return _ramp(expr_of(start), x[1], lanes)

    def _same_quotient(self, start: Poly, stride: Poly, divisor: Poly, lanes: int) -> bool:
        """Whether all lanes lie between the same two multiples of the divisor."""
        reach = mul(stride, constant(lanes - 1))
        last = add(start, reach)
        if self.facts.within(start, divisor) and self.facts.within(last, divisor):
            return True
        # By divisibility: start = g*t + r with g a divisor of the divisor, r + reach < g.
        n, span = number(divisor), number(reach)
        if n is None or span is None or span < 0:
            return False
        g = math.gcd(n, *(c for m, c in start.items() if m))
        return start.get(ONE, 0) % g + span < g

    # --- everything else

    def _unary(self, op: str, a: Expr, x: Expr) -> Expr:
        match op, a:
            case _, Broadcast(inner, width):
                return Broadcast(self._unary(op, inner, Unary(op, inner)), width)
            case "not", Const(value, dtype) if dtype is BOOL:
                return Const(not value, BOOL)
            case ("not", Unary("not", inner)) | ("neg", Unary("neg", inner)):
                return inner
            case "not", Binary("eq" | "ne" as cmp, p, q):
                return Binary(_NEGATED[cmp], p, q)
            case "not", Binary("lt" | "le" as cmp, p, q) if not p.dtype.is_float:
                return Binary(_NEGATED[cmp], q, p)  # not (p < q) is q <= p, but for NaN
            case "neg", Const(value, dtype) if dtype.is_float:
                return Const(-value, dtype)
            case "neg", Ramp(base, stride, width) if a.dtype is I64:
                zero = Const(0)
                return _ramp(
                    self.binary("sub", zero, base), self.binary("sub", zero, stride), width
                )
        return x if isinstance(x, Unary) and x.x is a else Unary(op, a)

    def _select(self, cond: Expr, then: Expr, other: Expr, x: Expr) -> Expr:
        known = literal(cond)
        if known is not None:
            return _widen(self(then if known.value else other), x.lanes)
        if isinstance(cond, Unary) and cond.op == "not":
            cond, then, other = cond.x, other, then
        if _compares_indices(cond):
            a = self.under(self.facts.given(cond, True))(then)
            b = self.under(self.facts.given(cond, False))(other)
        else:
            a, b = self(then), self(other)
        if a == b and a.lanes == max(a.lanes, cond.lanes):
            return a
        return Select(cond, a, b)

    def _cast(self, x: Cast) -> Expr:
        match x.x:
            case inner if inner.dtype is x.type:
                return inner
            case Const() as c:
                folded = fold_cast(c, x.type)
                return x if folded is None else folded
            case Broadcast(a, width):
                return Broadcast(self._cast(Cast(a, x.type)), width)
            case Cast(a, between) if lossless(a.dtype, between):
                return self._cast(Cast(a, x.type))
        return x

    def _let(self, var: Var, value: Expr, body: Expr, x: Expr) -> Expr:
        if type(value) in LEAVES or literal(value) is not None:
            return self.under(self.facts, {var: value})(body)
        facts = self.facts
        if var.type is I64 and var.width == 1:
            facts = facts.with_value(var, value)
        inner = self
        if facts is not self.facts or var in self.values:
            inner = self.under(facts, {var: var})
        new = inner(body)
        if isinstance(x, Let) and new is x.body and value is x.value:
            return x
        return Let(var, value, new)

    def _masked(self, x: Load) -> Expr:
        assert x.mask is not None
        mask = self(x.mask)
        known = literal(mask)
        if known is not None and not known.value:
            return _widen(Const(0, x.dtype), max(x.lanes, mask.lanes))
        indices = tuple([self(i) for i in x.indices])
        return Load(x.buffer, indices, None if known is not None else mask)

    def _reduce(self, x: Reduce) -> Expr:
        extents = tuple([self(e) for e in x.extents])
        facts = self.facts
        for var, extent in zip(x.axes, extents, strict=True):
            facts = facts.in_loop(var, extent)
        inner = self.under(facts)
        values = tuple([inner(v) for v in x.values])
        return Reduce(x.monoid, x.axes, extents, values, self(x.result))


def _affine(x: Expr) -> tuple[Expr, Expr] | None:
    """(base, stride) of a vector of indices, or of a scalar as one."""
    match x:
        case Ramp(base, stride, _):
            return base, stride
        case Broadcast(inner, _):
            return inner, Const(0)
    return (x, Const(0)) if x.lanes == 1 else None


def _ramp(base: Expr, stride: Expr, width: int) -> Expr:
    return Broadcast(base, width) if stride == Const(0, stride.dtype) else Ramp(base, stride, width)


def _uniform(a: Expr, b: Expr) -> tuple[int, Expr, Expr] | None:
    """(lanes, a, b) as scalars, where both are the same in every lane and one is a vector."""
    match a, b:
        case Broadcast(x, width), Broadcast(y, _):
            return width, x, y
        case Broadcast(x, width), _ if b.lanes == 1:
            return width, x, b
        case _, Broadcast(y, width) if a.lanes == 1:
            return width, a, y
    return None


def _widen(x: Expr, lanes: int) -> Expr:
    return Broadcast(x, lanes) if lanes > 1 and x.lanes == 1 else x


def _like(c: Const, *others: Expr) -> Expr:
    return _widen(c, max(x.lanes for x in others))


def _compares_indices(cond: Expr) -> bool:
    match cond:
        case Binary("and" | "or", a, b):
            return _compares_indices(a) or _compares_indices(b)
        case Binary("lt" | "le" | "eq" | "ne", a, _):
            return a.dtype is I64 and cond.lanes == 1
    return False
