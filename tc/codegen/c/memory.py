"""Elements of buffers as C writes them: `A[i * K + k]`.

The terms of an index that loops around do not change are summed in front of these, in a variable.
This module must not write statements.
"""

from __future__ import annotations

from typing import Final, Protocol

from tc.codegen.c import scalar
from tc.codegen.c.text import SUM, Term, int_literal, literal
from tc.codegen.c.writer import Writer
from tc.errors import InternalError
from tc.ir.affine import ONE, Monomial, Poly, atom_order, sub
from tc.ir.expr import Const, Expr, Load, Ramp
from tc.ir.interval import Interval, ends
from tc.ir.loop import Buffer
from tc.ir.types import BOOL, I64


class Lane(Protocol):
    """The lane that a vector is computed for."""

    @property
    def term(self) -> Term:
        """Its number."""


class Values(Protocol):
    """What is needed of the writer of expressions."""

    w: Writer
    buffers: dict[str, str]
    holds: Expr | None

    @property
    def lane(self) -> Lane | None:
        """The present lane."""

    def __call__(self, x: Expr) -> Term:
        """The value of `x`."""

    def poly(self, x: Expr) -> Poly:
        """The polynomial of a scalar index."""

    def range(self, x: Expr) -> Interval:
        """What `x` is known to lie in here."""

    def is_size(self, x: Expr) -> bool:
        """Whether an integer is made of sizes and loop variables alone."""

    def depth_of(self, x: Expr) -> int | None:
        """The scope that `x` changes with; None where it must be written in place."""


_SAFE: Final = float(1 << 62)


def load(v: Values, x: Load) -> Term:
    """The value of a load; of a vector, in the present lane."""
    if len(x.indices) != 1:
        raise InternalError(f"emit: {x.buffer.name} has {len(x.indices)} indices, not flat")
    mask = None if x.mask is None or x.mask == v.holds else v(x.mask)
    out = element(v, x.buffer, x.indices[0])
    if x.dtype is BOOL:
        out = scalar.infix("!=", out, Term("0"))
    if mask is None:
        return out
    zero = literal(Const(0, x.dtype))
    return Term(f"{mask.atom} ? {out.atom} : {zero.text}", 4)


def element(v: Values, buffer: Buffer, index: Expr) -> Term:
    """The element itself, which can be read and assigned to."""
    return Term(f"{v.buffers[buffer.name]}[{place(v, index).text}]")


def place(v: Values, index: Expr) -> Term:
    """An index, in the present lane."""
    if index.lanes == 1:
        return offset(v, index)
    if not isinstance(index, Ramp) or not fits(v, index.base):
        return v(index)
    assert v.lane is not None
    step = v.lane.term
    if index.stride != Const(1):
        step = scalar.infix("*", v(index.stride), step)
    base = offset(v, index.base)
    return step if base.text == "0" else scalar.infix("+", base, step)


def fits(v: Values, index: Expr) -> bool:
    """Whether no part of the sum that an index is can leave 64 bits."""
    if v.is_size(index):
        return True
    total = 0.0
    for m, c in v.poly(index).items():
        size = float(abs(c))
        for atom in m:
            lo, hi = ends(v.range(atom))
            size *= max(abs(lo), abs(hi), 1)
        total += size
    return total < _SAFE


def offset(v: Values, index: Expr, more: int = 0) -> Term:
    """A scalar index, and `more` beyond it."""
    if not fits(v, index):
        return _plus(v(index), more)
    p = v.poly(index)
    groups: dict[int, list[tuple[Monomial, int]]] = {}
    here = len(v.w.scopes)
    for m, c in p.items():
        if m:
            depths = [v.depth_of(a) for a in m]
            deepest = here if None in depths else max(d for d in depths if d is not None)
            groups.setdefault(deepest, []).append((m, c))
    known = Term("0")
    for depth in sorted(groups):
        known = _advance(v, known, groups[depth], depth, here)
    return _plus(known, p.get(ONE, 0) + more)


def difference(v: Values, a: Expr, b: Expr, more: int) -> Term:
    """a - b + more of two scalar indices."""
    p = sub(v.poly(a), v.poly(b))
    terms = sorted(
        ((m, c) for m, c in p.items() if m), key=lambda t: (t[1] < 0, [atom_order(x) for x in t[0]])
    )
    return _plus(_sum(v, Term("0"), terms), p.get(ONE, 0) + more)


def _plus(x: Term, number: int) -> Term:
    if number == 0:
        return x
    if x.text == "0":
        return int_literal(number, I64)
    sign = "+" if number > 0 else "-"
    return Term(f"{x.within(SUM)} {sign} {abs(number)}", SUM)


def _advance(
    v: Values, known: Term, terms: list[tuple[Monomial, int]], depth: int, here: int
) -> Term:
    """`known` and a sum that changes with scope `depth`; `here`: with what stands here."""
    terms = sorted(terms, key=lambda t: [atom_order(a) for a in t[0]])
    if depth >= here - 1:
        return _sum(v, known, terms)
    fixed = v.w.scopes[depth].fixed
    key = (known, tuple(terms))
    found: Term | None = fixed.get(key)
    if found is None:
        before, v.w.out = v.w.out, v.w.place(depth)
        found = _sum(v, known, terms)
        if not found.text.isidentifier():
            found = v.w.settle("int64_t", found, "at")
        v.w.out = before
        fixed[key] = found
    return found


def _sum(v: Values, total: Term, terms: list[tuple[Monomial, int]]) -> Term:
    for m, c in terms:
        term = v(m[0])
        for atom in m[1:]:
            term = scalar.infix("*", term, v(atom))
        if term.text == "0":
            continue  # a loop that runs once
        if abs(c) != 1:
            term = scalar.infix("*", term, Term(str(abs(c))))
        if total.text == "0":
            total = term if c > 0 else Term(f"-{term.atom}", 1)
        else:
            total = scalar.infix("+" if c > 0 else "-", total, term)
    return total
