"""Reads of tensors as loads of buffers, and the checks of places that are data.

A place that follows from data is checked before it is read, and the load is masked, so that
nothing outside of a buffer is touched. This module must not make loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tc.ir.affine import plain_poly
from tc.ir.expr import Binary, Const, Expr, Let, Load, Read, Reduce, Select, Var, binary
from tc.ir.facts import Facts
from tc.ir.interval import Interval, bounds
from tc.ir.loop import Assert, Buffer, Stmt
from tc.ir.types import BOOL
from tc.ir.visit import children, sub_exprs, with_children


@dataclass
class Reads:
    """What reads become: the buffer of each tensor by its name, and the ranges of the axes."""

    buffers: Mapping[str, Buffer]
    ranges: Mapping[Var, Interval]
    data: set[Var] = field(default_factory=set)  # what a `Let` binds to a value that was read

    def loads(self, x: Expr, asserts: list[Stmt], path: Expr | None = None) -> Expr:
        """Reads become loads; an index that is itself data is checked and masked.

        The checks are added to `asserts`; they hold where `path` does.
        """
        match x:
            case Read():
                return self._read(x, asserts, path)
            case Select(cond, then, other):
                c = self.loads(cond, asserts, path)
                a = self.loads(then, asserts, both(path, c))
                return Select(c, a, self.loads(other, asserts, both(path, ~c)))
            case Let(var, value, body):
                return self._let(x, var, self.loads(value, asserts, path), body, asserts, path)
        kids = children(x)
        new = tuple(self.loads(k, asserts, path) for k in kids)
        if isinstance(x, Binary) and x.op in ("floordiv", "mod") and x.dtype.is_int:
            divisor = new[1]
            if self._is_data(divisor):
                ok = Binary("ne", divisor, Const(0, divisor.dtype))
                asserts.append(Assert(_where(path, ok), "an integer is divided by zero"))
        changed = any(a is not b for a, b in zip(kids, new, strict=True))
        return with_children(x, new) if changed else x

    def _read(self, x: Read, asserts: list[Stmt], path: Expr | None) -> Expr:
        index = tuple(self.loads(i, asserts, path) for i in x.indices)
        buffer = self.buffers[x.tensor.name]
        mask: Expr | None = None
        for dim, (i, extent) in enumerate(zip(index, buffer.shape, strict=True)):
            if not self._may_leave(i, extent, path):
                continue
            ok: Expr = Binary("and", Const(0) <= i, i < extent)
            mask = ok if mask is None else binary("and", mask, ok)
            asserts.append(Assert(_where(path, ok), message(buffer, dim)))
        return Load(buffer, index, mask)

    def _let(
        self,
        x: Let,
        var: Var,
        value: Expr,
        body: Expr,
        asserts: list[Stmt],
        path: Expr | None,
    ) -> Expr:
        """Checks in the body are told of the variable, since they stand before the value."""
        if self._is_data(value):
            self.data.add(var)
        inner: list[Stmt] = []
        body = self.loads(body, inner, path)
        for check in inner:
            assert isinstance(check, Assert)
            if any(n == var for n in sub_exprs(check.cond)):
                check = Assert(Let(var, value, check.cond), check.message)
            asserts.append(check)
        return x if value is x.value and body is x.body else Let(var, value, body)

    def _may_leave(self, index: Expr, extent: Expr, path: Expr | None) -> bool:
        """Whether an index is to be checked while running.

        That is data, and a count of positions that may run beyond a table of fixed size.
        """
        if self._is_data(index):
            return not _lies_within(index, extent)
        if path is not None or not isinstance(extent, Const) or isinstance(index, Const):
            return False
        return not bounds(index, self.ranges).within(Interval(0, int(extent.value) - 1))

    def _is_data(self, x: Expr) -> bool:
        return any(isinstance(n, Load) or n in self.data for n in sub_exprs(x))


def _lies_within(index: Expr, extent: Expr) -> bool:
    """Whether an index is in range whatever data it follows from, as one that is clamped."""
    if isinstance(extent, Const):
        return bounds(index).within(Interval(0, int(extent.value) - 1))
    facts, place = Facts(), plain_poly(index)
    return not facts.may_wrap(place) and facts.within(place, plain_poly(extent))


def both(path: Expr | None, cond: Expr) -> Expr:
    """Whether `path` and then `cond` hold; what `cond` reads is read only where `path` holds."""
    if path is None:
        return cond
    return Select(path, cond, Const(False, BOOL)) if _reads(cond) else binary("and", path, cond)


def _where(path: Expr | None, cond: Expr) -> Expr:
    """Whether `cond` holds, if `path` does; what it reads is read only there."""
    if path is None:
        return cond
    return Select(path, cond, Const(True, BOOL)) if _reads(cond) else binary("or", ~path, cond)


def _reads(x: Expr) -> bool:
    return any(isinstance(n, Load | Read) for n in sub_exprs(x))


def always_defined(x: Expr, facts: Facts) -> bool:
    """Whether `x` can be evaluated at every point: it stays within tensors and divides by no data.

    `facts` are those of the points; what is not plain to see from them counts as no.
    """
    match x:
        case Read(tensor, indices):
            for i, n in zip(indices, tensor.shape, strict=True):
                if not facts.within(plain_poly(i), plain_poly(n)):
                    return False
        case Binary("floordiv" | "mod", _, divisor) if x.dtype.is_int and _reads(divisor):
            return False
        case Select(cond, then, other):
            return (
                always_defined(cond, facts)
                and always_defined(then, facts.given(cond))
                and always_defined(other, facts.given(cond, False))
            )
        case Reduce(_, axes, extents, values, _):
            for var, extent in zip(axes, extents, strict=True):
                facts = facts.in_loop(var, extent)
            return all(always_defined(v, facts) for v in (*extents, *values))
    return all(always_defined(k, facts) for k in children(x))


def message(buffer: Buffer, dim: int) -> str:
    """What is told of an index that leaves a buffer."""
    return f"index out of range in dim {dim} of a {buffer.dtype} tensor of rank {len(buffer.shape)}"
