"""Tiles of a kernel as functions: all that is done with a register buffer, from its first value on.

What differs between two places that use a tile is where its operands begin: that much of an index
becomes an argument. Tiles that do the same are then one function, for all versions of a loop, all
kernels and all layers. This module must not write C but what joins functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tc.codegen.c.text import INDENT, wrap
from tc.codegen.func import extent
from tc.codegen.runs import shared_factors
from tc.frozen import frozen
from tc.ir.affine import ONE, Monomial, Poly, add, constant, expr_of, plain_poly
from tc.ir.expr import Const, Expr, Let, Load, Ramp, Sym, Var
from tc.ir.interval import bounds
from tc.ir.loop import Alloc, Buffer, For, Func, If, Prefetch, Scope, Seq, Stmt, Store
from tc.ir.types import I64
from tc.ir.visit import (
    LEAVES,
    children,
    map_stmt,
    own_exprs,
    sub_stmts,
    with_children,
)

LEAST: Final = 10  # stores of a tile that is worth a function
LONGEST_NAME: Final = "tile_100x100_100"
_FAR: Final = 1 << 31
_BYTES: Final = 64  # a multiple of those of every element
_KINDS: Final = (Alloc, For, If, Prefetch, Seq, Store)


@frozen
class Tile:
    """A tile as a kernel of its own.

    Attributes:
        func: its parameters and symbols are called by their order, so that equal tiles are equal.
        places: for each parameter the buffer, and the index in it that is index 0 of the tile.
        sizes: the values of the symbols.
        name: says how many rows and columns of sums it is, where that can be seen.
    """

    func: Func
    places: tuple[tuple[Buffer, Expr], ...]
    sizes: tuple[Expr, ...]
    name: str


def tile_of(s: Alloc, hints: bool) -> Tile | None:
    """A register buffer and all that is done with it, or None where that cannot stand alone.

    `hints` tells whether the target has hints of what is read soon.
    """
    if not hints:
        s = Alloc(s.buffer, map_stmt(s.body, None, _without_hints))
    parts = list(sub_stmts(s))
    stores = [x for x in parts if isinstance(x, Store)]
    if len(stores) < LEAST or not any(isinstance(x, For) for x in parts):
        return None
    if not all(isinstance(x, _KINDS) for x in parts):
        return None
    if any(x.buffer.scope is not Scope.REGISTER for x in parts if isinstance(x, Alloc)):
        return None
    outlined = _Outlined(s)
    body = outlined.stmt(s)
    if not outlined.fits:
        return None
    params, symbols = tuple(outlined.params.values()), tuple(outlined.symbols.values())
    func = Func("tile", params, symbols, tuple(outlined.stored), body)
    places = tuple((b, expr_of(start)) for b, start in outlined.starts)
    return Tile(func, places, tuple(outlined.symbols), _name(stores))


def _without_hints(s: Stmt) -> Stmt | None:
    return Seq(()) if isinstance(s, Prefetch) else None


def _name(stores: Iterable[Store]) -> str:
    """Rows and columns: what multiplies the vectors of a step is another factor in each row."""
    by_buffer: dict[str, list[tuple[Store, list[Load]]]] = {}
    for x in stores:
        if x.buffer.scope is Scope.REGISTER and (found := list(shared_factors(x.value))):
            by_buffer.setdefault(x.buffer.name, []).append((x, found))
    own = max(by_buffer.values(), key=len, default=[])
    sums = {x.indices for x, _ in own}
    factors = {load for _, found in own for load in found}
    size = sum(i[0].lanes for i in sums)
    rows, left = divmod(len(factors) * len(sums), max(1, len(own)))
    return "tile" if left or not rows or size % rows else f"tile_{rows}x{size // rows}"


class _Outlined:
    """Rewrites a tile; `fits` tells whether all that it uses could be made a parameter."""

    def __init__(self, s: Alloc) -> None:
        self.fits = True
        self.params: dict[str, Buffer] = {}
        self.starts: list[tuple[Buffer, Poly]] = []
        self.symbols: dict[Expr, Sym] = {}
        self.stored: dict[str, None] = {}
        self._written = {x.buffer.name for x in sub_stmts(s) if isinstance(x, Store)}
        self._inner: dict[str, Buffer] = {}
        self._known: dict[int, tuple[Expr, Expr]] = {}
        self._same: dict[int, tuple[Expr, bool]] = {}
        self._vars: dict[Var, Var] = {}
        self._sizes: dict[object, int] = {}
        self._found: dict[tuple[str, frozenset[tuple[Monomial, int]]], Buffer] = {}
        for x in sub_stmts(s):
            if isinstance(x, Alloc) and x.buffer.name not in self._inner:
                name = "acc" if not self._inner else f"acc{len(self._inner) + 1}"
                b = x.buffer
                self._inner[b.name] = Buffer(name, b.shape, b.dtype, b.scope, b.align)
            elif isinstance(x, For):
                self._bind(x.var, "k")
        nodes = list(_nodes(s))
        for e in nodes:
            if isinstance(e, Let):
                self._bind(e.var, "x")
        self._least = self._least_offsets(s, nodes)

    def _bind(self, var: Var, stem: str) -> None:
        if var not in self._vars:
            count = sum(v.name.startswith(stem) for v in self._vars.values())
            self._vars[var] = Var(f"{stem}{count + 1 if count else ''}", var.type, var.width)

    # --- where parameters begin

    def _least_offsets(self, s: Stmt, nodes: Iterable[Expr]) -> Mapping[object, int]:
        """For buffers and what their indices have in common, the least number that is added."""
        least: dict[object, int] = {}
        for buffer, index in _accesses(s, nodes):
            base = index.base if isinstance(index, Ramp) else index
            if buffer.name not in self._inner and base.lanes == 1:
                poly = plain_poly(base)
                key = (buffer.name, self._outside(poly))
                number = poly.get(ONE, 0)
                least[key] = min(least.get(key, number), number)
        return least

    def _outside(self, poly: Poly) -> frozenset[tuple[Monomial, int]]:
        return frozenset((m, c) for m, c in poly.items() if m and not self._is_inside(m))

    def _is_inside(self, m: Monomial) -> bool:
        return any(not self._is_outer(a) for a in m)

    def _is_outer(self, x: Expr) -> bool:
        """Whether a number is the same throughout the tile, and needs no memory."""
        return x.dtype is I64 and self._is_same(x)

    def _is_same(self, x: Expr) -> bool:
        known = self._same.get(id(x))
        if known is None:
            changes = isinstance(x, Load) or x in self._vars
            same = not changes and all(map(self._is_same, children(x)))
            known = self._same[id(x)] = (x, same)
        return known[1]

    def _place(self, buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        """The parameter and the index in it of an access; what is stored to is one parameter."""
        stored = buffer.name in self._written
        base = index.base if isinstance(index, Ramp) else index
        if base.lanes > 1 or buffer.scope is Scope.REGISTER:
            self.fits = False
            return buffer, index
        poly = plain_poly(base)
        key = (buffer.name, self._outside(poly))
        first = self._least[key]
        inside = constant(poly.get(ONE, 0) - first)
        for m, c in poly.items():
            if m and self._is_inside(m):
                inside[self._with_strides(m)] = c
        if key not in self._found:
            name = self._param_name(stored)
            self._found[key] = param = Buffer(name, self._shape(buffer), buffer.dtype)
            self.params[name] = param
            self.starts.append((buffer, add(dict(key[1]), constant(first))))
            if stored:
                self.stored[name] = None
                self.fits &= sum(b == buffer for b, _ in self.starts) == 1
        new = self.expr(expr_of(inside))
        if isinstance(index, Ramp):
            new = Ramp(new, self.expr(index.stride), index.width)
        return self._found[key], new

    def _shape(self, buffer: Buffer) -> tuple[Expr, ...]:
        """A shape that tells of a parameter with which others it may be one memory, and no more."""
        number = self._sizes.setdefault(extent(buffer), len(self._sizes) + 1)
        return (Const(number * _BYTES // buffer.dtype.bytes),)

    def _with_strides(self, m: Monomial) -> Monomial:
        """A product whose factors from outside are one symbol."""
        outer = [a for a in m if self._is_outer(a)]
        if not outer:
            return m
        stride = self._symbol(expr_of({tuple(outer): 1}))
        return (*(a for a in m if a not in outer), stride)

    def _param_name(self, stored: bool) -> str:
        outputs = sum(n.startswith("out") for n in self.params)
        if stored:
            return f"out{outputs + 1 if outputs else ''}"
        number = len(self.params) - outputs
        return "abcdefghij"[number] if number < 10 else f"in{number}"

    # --- rewriting

    def expr(self, x: Expr) -> Expr:
        """`x` inside of the tile; what is used several times stays one node."""
        if isinstance(x, Const) or x in self.symbols.values():
            return x
        if isinstance(x, Var) and x in self._vars:
            return self._vars[x]
        if x.lanes == 1 and self._is_outer(x):
            return self._symbol(x)
        if type(x) in LEAVES:
            self.fits = False  # of another type than sizes
            return x
        known = self._known.get(id(x))
        if known is None:
            known = self._known[id(x)] = (x, self._rewritten(x))
        return known[1]

    def _rewritten(self, x: Expr) -> Expr:
        if isinstance(x, Load):
            mask = None if x.mask is None else self.expr(x.mask)
            buffer, index = self._access(x.buffer, x.indices[0])
            return Load(buffer, (index,), mask)
        if isinstance(x, Let):
            return Let(self._vars[x.var], self.expr(x.value), self.expr(x.body))
        return with_children(x, tuple(self.expr(k) for k in children(x)))

    def _access(self, buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        inner = self._inner.get(buffer.name)
        if inner is not None:
            return inner, self.expr(index)
        return self._place(buffer, index)

    def _symbol(self, x: Expr) -> Sym:
        """A number that is the same throughout the tile."""
        if x not in self.symbols:
            name = f"n{len(self.symbols) + 1 if self.symbols else ''}"
            span = bounds(x)
            lo = -_FAR if span.lo is None else span.lo
            self.symbols[x] = Sym(name, lo, _FAR if span.hi is None else span.hi)
        return self.symbols[x]

    def stmt(self, s: Stmt) -> Stmt:
        """`s` inside of the tile."""
        match s:
            case For(var, extent, kind, body):
                return For(self._vars[var], self.expr(extent), kind, self.stmt(body))
            case Seq(body):
                return Seq(tuple(self.stmt(b) for b in body))
            case If(cond, then, other):
                no = None if other is None else self.stmt(other)
                return If(self.expr(cond), self.stmt(then), no)
            case Alloc(buffer, body):
                return Alloc(self._inner[buffer.name], self.stmt(body))
            case Store(buffer, indices, value, mask):
                new = self.expr(value)
                m = None if mask is None else self.expr(mask)
                param, index = self._access(buffer, indices[0])
                return Store(param, (index,), new, m)
            case Prefetch(buffer, indices, near):
                param, index = self._access(buffer, indices[0])
                return Prefetch(param, (index,), near)
        raise AssertionError(s)


def _nodes(s: Stmt) -> Iterable[Expr]:
    """Every expression anywhere in `s`, those that are one object once."""
    seen: set[int] = set()
    for part in sub_stmts(s):
        todo = list(own_exprs(part))
        while todo:
            x = todo.pop()
            if id(x) not in seen:
                seen.add(id(x))
                yield x
                todo += children(x)


def _accesses(s: Stmt, nodes: Iterable[Expr]) -> Iterable[tuple[Buffer, Expr]]:
    for part in sub_stmts(s):
        if isinstance(part, Store | Prefetch):
            yield part.buffer, part.indices[0]
    for x in nodes:
        if isinstance(x, Load):
            yield x.buffer, x.indices[0]


def heading(name: str) -> str:
    """The comment above the function of a tile of that name."""
    shape = re.match(r"tile_(\d+)x(\d+)", name)
    sums = "Sums" if shape is None else f"{shape[1]} by {shape[2]} sums"
    return f"/* {sums}, held in registers from the first product to what is stored of them. */"


def renamed(
    text: str, tiles: Mapping[str, str], known: dict[str, str]
) -> tuple[str, Mapping[str, str]]:
    """A kernel and its tiles with names that no other tile of `known` has; adds those there.

    A tile that is known under any name is that one.
    """
    own: dict[str, str] = {}
    for name, tile in tiles.items():
        stem = re.sub(r"^(tile(_\d+x\d+)?).*", r"\1", name)
        new, number = stem, 1
        while known.get(new, called := tile.replace(f" {name}(", f" {new}(", 1)) != called:
            number += 1
            new = f"{stem}_{number}"
        own[name] = new
        known[new] = called
    if own:
        words = re.compile(rf"\b({'|'.join(own)})(?=\()")
        lines = [words.sub(lambda m: own[m[1]], line) for line in text.split("\n")]
        text = "\n".join(part for line in lines for part in _short(line))
    return text, {new: known[new] for new in own.values()}


def _short(line: str) -> list[str]:
    """A line that may have become too long."""
    code = line.lstrip()
    return wrap(code, (len(line) - len(code)) // len(INDENT)) if code else [line]
