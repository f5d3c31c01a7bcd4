"""Where the value of an expression is computed, so that each node is written once where it can be.

A node that touches no memory goes in front of every loop that it does not depend on, and holds
until the loop that it depends on ends. A node with loads is written where it stands, and holds
until a store to one of its buffers or the end of the region; out of loops that store to none of
its buffers it is taken, in front of the first iteration. This module must not know what code is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from tc.codegen.runs import Part
from tc.codegen.scopes import Scopes
from tc.frozen import frozen
from tc.ir.affine import Poly, plain_poly
from tc.ir.expr import Expr, Let, Load, Var
from tc.ir.interval import Bounds, Interval
from tc.ir.visit import CLOSED, children

V = TypeVar("V")


@frozen
class Info:
    """What a node depends on: buffers that it loads from, variables that are free in it."""

    node: Expr  # kept so that its identity is not given anew
    buffers: frozenset[str]
    free: frozenset[Var]


_NOTHING: Final[frozenset[str]] = frozenset()
_NO_VARS: Final[frozenset[Var]] = frozenset()


class Placement(Generic[V]):
    """Finds the place of values in the scopes `b`; `names` are the values of variables."""

    def __init__(self, b: Scopes) -> None:
        self.scopes = b
        self.names: dict[Var, V] = {}
        self.depth: dict[Var, int] = {}  # loop variables: the scope that they change with
        self.ranges: list[Bounds] = [Bounds({})]
        self.runs: Mapping[int, Part] = {}  # factors that one load brings, by identity
        self._infos: dict[int, Info] = {}
        self._polys: dict[int, tuple[Expr, Poly]] = {}
        # Values that depend on a variable bound by Let hold while its innermost binding lasts.
        self._frames: dict[Var, tuple[int, dict[object, V]]] = {}

    def info(self, x: Expr) -> Info:
        """The dependences of `x`."""
        known = self._infos.get(id(x))
        if known is not None:
            return known
        buffers, free = _NOTHING, _NO_VARS
        if isinstance(x, Var):
            free = frozenset((x,))
        elif type(x) not in CLOSED:
            for k in children(x):
                if type(k) in CLOSED:
                    continue
                part = self.info(k)
                buffers = part.buffers if not buffers else buffers | part.buffers
                free = part.free if not free else free | part.free
            if isinstance(x, Load):
                buffers = buffers | {x.buffer.name}
            elif isinstance(x, Let):
                free = self.info(x.value).free | (self.info(x.body).free - {x.var})
        found = self._infos[id(x)] = Info(x, buffers, free)
        return found

    def poly(self, x: Expr) -> Poly:
        """The polynomial of a scalar index."""
        known = self._polys.get(id(x))
        if known is None:
            known = self._polys[id(x)] = (x, plain_poly(x))
        return known[1]

    def range(self, x: Expr) -> Interval:
        """What `x` is known to lie in here."""
        return self.ranges[-1](x)

    def fixed_depth(self, info: Info) -> int | None:
        """The scope that a node without loads changes with; None where it must stay here."""
        return None if info.buffers else self._variable_depth(info)

    def _variable_depth(self, info: Info) -> int | None:
        depth = 0
        for v in info.free:
            at = self.depth.get(v)
            if at is None:
                return None
            depth = max(depth, at)
        return depth

    def depth_of(self, x: Expr) -> int | None:
        """The scope that `x` changes with; None where it must be written in place."""
        return self.fixed_depth(self.info(x))

    def placed(self, x: Expr, key: object, write: Callable[[Expr], V]) -> V:
        """The value of `x`, which `write` writes where it belongs unless it holds there already.

        `key` tells apart the forms that the value of one node may have.
        """
        info = self.info(x)
        frame = self._frame(info)
        if frame is not None:
            known = frame.get(key)
            if known is None:
                known = frame[key] = write(x)
            return known
        depth = self.fixed_depth(info)
        if depth is not None:
            b = self.scopes
            fixed = b.scopes[depth].fixed
            found: V | None = fixed.get(key)
            if found is None:
                before, b.out = b.out, b.place(depth)
                found = fixed[key] = write(x)
                b.out = before
            return found
        return self._loading(x, info, key, write)

    def _loading(self, x: Expr, info: Info, key: object, write: Callable[[Expr], V]) -> V:
        """A value that depends on memory."""
        b = self.scopes
        depth = self._variable_depth(info)
        at = len(b.scopes) if depth is None else b.outermost(depth, info.buffers)
        known: V | None
        if at < len(b.scopes) and not b.scopes[at].always:
            scope = b.scopes[at]
            assert scope.header is not None
            known = scope.fixed.get(key)
            if known is None:
                before, b.out = b.out, scope.header
                known = scope.fixed[key] = write(x)
                b.out = before
            return known
        top = b.scopes[at - 1]
        known = top.loaded.get(key)
        if known is None:
            before = b.out
            if at < len(b.scopes):
                header = b.scopes[at].header
                assert header is not None
                b.out = header
            known = top.loaded[key] = write(x)
            b.out = before
            for name in info.buffers:
                top.readers.setdefault(name, []).append(key)
        return known

    def _frame(self, info: Info) -> dict[object, V] | None:
        if not self._frames:
            return None
        inner = [f for v in info.free if (f := self._frames.get(v)) is not None]
        return max(inner, key=lambda f: f[0])[1] if inner else None

    def bound(self, var: Var, value: V, body: Callable[[], V]) -> V:
        """What `body` gives while `var` stands for `value`."""
        old_name, old_frame = self.names.get(var), self._frames.get(var)
        level = 1 + max((f[0] for f in self._frames.values()), default=0)
        self.names[var] = value
        self._frames[var] = (level, {})
        out = body()
        del self._frames[var]
        if old_name is None:
            del self.names[var]
        else:
            self.names[var] = old_name
        if old_frame is not None:
            self._frames[var] = old_frame
        return out
