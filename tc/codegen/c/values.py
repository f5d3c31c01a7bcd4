"""Expressions to C: scalars, and vectors lane by lane.

A vector is computed in a loop over its lanes, in which each node stands for its value in one lane,
`Lane`. Nodes that are used once become part of the expression around them; others get a variable,
at the place that `tc.codegen.placement` says. This module must not write statements but those
that a value needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tc.codegen.c import memory, scalar
from tc.codegen.c.text import LOOSE, SUM, VALUE, Term, identifier, literal
from tc.codegen.c.writer import LONGEST_INLINE, Writer
from tc.codegen.placement import Info, Placement
from tc.errors import InternalError
from tc.frozen import frozen
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Dot,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.types import BF16, F32, I32, I64
from tc.ir.visit import children


@frozen
class Lane:
    """The lane that vectors are computed for: scale * name + offset."""

    name: str
    scale: int = 1
    offset: int = 0

    @property
    def term(self) -> Term:
        """Its number."""
        if self.scale == 0:
            return Term(str(self.offset))
        text = self.name if self.scale == 1 else f"{self.scale} * {self.name}"
        if self.offset:
            return Term(f"{text} + {self.offset}", SUM)
        return Term(text, 0 if self.scale == 1 else 2)

    def within(self, count: int) -> tuple[Lane, Term]:
        """The lane of vectors of elements `count` times as long, and which part of it this is."""
        if self.scale % count == 0:
            part = Term(str(self.offset % count))
            return Lane(self.name, self.scale // count, self.offset // count), part
        term = self.term
        return Lane(f"({term.atom} / {count})"), Term(f"{term.atom} % {count}", LOOSE)

    def part(self, count: int, number: int) -> Lane:
        """Lane `number` of the `count` that lie in this one."""
        return Lane(self.name, self.scale * count, self.offset * count + number)


class Values(Placement[Any]):
    """Writes expressions into `w`; `uses` counts how often each node is used, and `fuses` says
    whether the target multiplies and adds at once."""

    def __init__(self, w: Writer, uses: Mapping[int, int], fuses: bool) -> None:
        super().__init__(w)
        self.w = w
        self.uses = uses
        self.fuses = fuses
        self.symbols: dict[str, str] = {}
        self.buffers: dict[str, str] = {}
        self.lane: Lane | None = None
        self.holds: Expr | None = None  # a mask that is true here
        self._lets: dict[Var, Expr] = {}
        self._own_uses: Mapping[int, int] = {}

    def __call__(self, x: Expr) -> Term:
        """The value of `x` as an operand of the code here; of a vector, in the present lane."""
        match x:
            case Const():
                return literal(x)
            case Sym(name, _, _):
                return Term(self.symbols[name])
            case Broadcast(y, _):
                return self(y)
            case Var() if x in self._lets:
                return self(self._lets[x])
            case Var():
                named: Term = self.names[x]
                return named
        if x.lanes > 1:
            return self._in_lane(x)
        info = self.info(x)
        if self.uses.get(id(x), 2) > 1 or self._leaves(info):
            placed: Term = self.placed(x, id(x), self._settled)
            return placed
        out = self._write(x)
        return out if len(out.text) <= LONGEST_INLINE else self._named(x, out)

    def _leaves(self, info: Info) -> bool:
        """Whether a value that depends on memory is computed outside of this loop."""
        if not info.buffers or self._frame(info) is not None:
            return False
        depth = self._variable_depth(info)
        return depth is not None and self.w.outermost(depth, info.buffers) < len(self.w.scopes)

    def _settled(self, x: Expr) -> Term:
        return self._named(x, self._write(x))

    def _named(self, x: Expr, value: Term) -> Term:
        """A variable for `value`, unless it is a name already."""
        if value.text.isidentifier():
            return value
        stem = identifier(x.buffer.name) if isinstance(x, Load) else "t"
        return self.w.settle(VALUE[x.dtype], value, stem)

    # --- lanes

    def _in_lane(self, x: Expr) -> Term:
        """A vector in the present lane, which nothing outside the loop over lanes knows."""
        if self.lane is None:
            raise InternalError(
                f"emit: {type(x).__name__} of {x.lanes} lanes where a scalar belongs"
            )
        if self._own_uses.get(id(x), 2) <= 1:
            out = self._write(x)
            return out if len(out.text) <= LONGEST_INLINE else self._named(x, out)
        held = self._held_here(self._frame(self.info(x)))
        key = (id(x), self.lane)
        known: Term | None = held.get(key)
        if known is None:
            known = held[key] = self._settled(x)
        return known

    def _held_here(self, frame: dict[object, Any] | None) -> dict[object, Term]:
        """The values of the block here, and within a binding those of this one alone: it may hold
        for several loops over lanes."""
        scope = self.w.scopes[-1]
        if frame is None:
            return scope.fixed
        kept: tuple[object, dict[object, Term]] = frame.setdefault(id(scope), (scope, {}))
        return kept[1]  # with the scope, so that its identity is not given anew

    @contextmanager
    def at(self, lane: Lane | None) -> Iterator[None]:
        """Vectors are computed in `lane`."""
        before, self.lane = self.lane, lane
        yield
        self.lane = before

    @contextmanager
    def lanes(self, width: int, roots: Iterable[Expr], stores: frozenset[str]) -> Iterator[Lane]:
        """A loop over lanes; `roots` are the expressions computed in it."""
        w, uses = self.w, self._own_uses
        self._own_uses = count_uses(roots)
        name = w.names.take("l")
        head = f"for (int {name} = 0; {name} < {width}; {name}++) {{"
        lane = Lane(name)
        with w.detached(head, stores), self.at(lane):
            yield lane
        w.names.release(name)
        self._own_uses = uses

    # --- nodes

    def _write(self, x: Expr) -> Term:
        w = self.w
        match x:
            case Load():
                return memory.load(self, x)
            case Fma(p, q, r):
                return scalar.fma(w, self(p), self(q), self(r), x.dtype, self.fuses)
            case Binary(op, p, q):
                return scalar.binary(w, op, self(p), self(q), p.dtype, self.range(p), self.range(q))
            case Unary(op, y):
                return scalar.unary(w, op, self(y), y.dtype)
            case Select(cond, then, other):
                c, yes, no = self(cond), self(then), self(other)
                return Term(f"{c.atom} ? {yes.atom} : {no.atom}", LOOSE)
            case Cast(y, dtype):
                return scalar.cast(w, self(y), y.dtype, dtype)
            case Bitcast():
                return self._bitcast(x)
            case Dot():
                return self._dot(x)
            case Let(var, value, body) if var.width > 1:
                self._lets[var] = value
                return self(body)
            case Let(var, value, body):
                bound = self._named(value, self(value))
                out: Term = self.bound(var, bound, lambda: self(body))
                return out
            case Ramp(base, stride, _):
                return self._ramp(x, base, stride)
            case LaneReduce(op, y):
                return self._reduce(op, y)
        raise InternalError(f"emit: {type(x).__name__} is not part of flat vector IR")

    def is_size(self, x: Expr) -> bool:
        """Whether an integer is made of sizes and loop variables alone, which overflow nothing."""
        info = self.info(x)
        known = not info.buffers and self._variable_depth(info) is not None
        return known and x.dtype is I64

    def _ramp(self, x: Ramp, base: Expr, stride: Expr) -> Term:
        assert self.lane is not None
        number = scalar.converted(VALUE[x.dtype], self.lane.term)
        if x.dtype.bits > 32 or x.dtype is I32:
            number = self.lane.term
        every = self.range(x)
        if self.is_size(x):
            step = number
            if stride != Const(1):
                step = scalar.infix("*", self(stride), number)
            return step if base == Const(0) else scalar.infix("+", self(base), step)
        step = number
        if stride != Const(1, x.dtype):
            step = scalar.binary(self.w, "mul", self(stride), number, x.dtype, every, every)
        return scalar.binary(self.w, "add", self(base), step, x.dtype, every, every)

    def _lane_of(self, x: Expr) -> Lane:
        """The present lane, for a vector; what makes up a scalar are lanes of its own."""
        return self.lane if x.lanes > 1 and self.lane is not None else Lane("", 0)

    def _bitcast(self, x: Bitcast) -> Term:
        y, w = x.x, self.w
        if y.dtype.bits == x.dtype.bits:
            return scalar.bitcast(w, self(y), y.dtype, x.dtype)
        lane = self._lane_of(x)
        if y.dtype.bits > x.dtype.bits:
            wider, number = lane.within(y.dtype.bits // x.dtype.bits)
            with self.at(wider):
                return scalar.piece(w, self(y), y.dtype, number, x.dtype)
        parts = []
        for n in range(x.dtype.bits // y.dtype.bits):
            with self.at(lane.part(x.dtype.bits // y.dtype.bits, n)):
                parts.append(self(y))
        return scalar.joined(w, parts, y.dtype, x.dtype)

    def _dot(self, x: Dot) -> Term:
        """The products of the small elements one by one, in order."""
        lane = self._lane_of(x)
        out, w = self(x.c), self.w
        count = 32 // x.a.dtype.bits
        for n in range(count):
            with self.at(lane.part(count, n)):
                p, q = self(x.a), self(x.b)
            if x.a.dtype is BF16:
                p, q = scalar.widened(w, p, BF16), scalar.widened(w, q, BF16)
                out = scalar.fma(w, p, q, out, F32, self.fuses)
            else:
                product = scalar.infix("*", p, q)
                out = w.call("tc_add_i32", out, product)
            if n < count - 1:
                out = w.settle(VALUE[x.dtype], out)
        return out

    def _reduce(self, op: str, y: Expr) -> Term:
        """All lanes folded as a balanced tree of halves; an odd lane is folded in at the end."""
        w, width, dtype = self.w, y.lanes, y.dtype
        name = w.names.numbered("lanes")
        w.do(f"{VALUE[dtype]} {name}[{width}];")
        with self.lanes(width, (y,), frozenset()) as lane:
            w.do(f"{name}[{lane.name}] = {self(y).text};")
        every = self.range(y)

        def fold(a: str, b: str) -> str:
            return scalar.binary(w, op, Term(a), Term(b), dtype, every, every).text

        left_over = []
        while width > 1:
            half = width // 2
            if width % 2:
                left_over.append(f"{name}[{width - 1}]")
            if half == 1:
                w.do(f"{name}[0] = {fold(f'{name}[0]', f'{name}[1]')};")
            else:
                each = fold(f"{name}[l]", f"{name}[l + {half}]")
                w.do(f"for (int l = 0; l < {half}; l++) {name}[l] = {each};")
            width = half
        for other in left_over:
            w.do(f"{name}[0] = {fold(f'{name}[0]', other)};")
        return Term(f"{name}[0]")


def count_uses(roots: Iterable[Expr]) -> dict[int, int]:
    """How often each node is used by others or as one of `roots`, by identity."""
    uses: dict[int, int] = {}
    todo = list(roots)
    while todo:
        x = todo.pop()
        uses[id(x)] = seen = uses.get(id(x), 0) + 1
        if seen == 1:
            todo.extend(children(x))
            if isinstance(x, Let):
                uses[id(x.value)] = 1  # with the one that its body makes: a variable
    return uses
