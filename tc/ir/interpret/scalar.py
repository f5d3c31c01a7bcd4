"""Evaluation of expressions: a value is a NumPy scalar, or an array of as many dims as its place.

In a kernel an array is a vector of lanes; in a tensor expression it is all points at once. Either
way `active` says in which points the expression is wanted: others must touch no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tc.errors import CompileError, InternalError, TcError, describe
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
from tc.ir.interpret import numeric
from tc.ir.interpret.numeric import Value
from tc.ir.types import DType


class Evaluator:
    """Evaluates expressions over named memory, variables and symbols."""

    def __init__(self, memory: dict[str, Value], symbols: Mapping[str, int]) -> None:
        self.memory = memory
        self.symbols = symbols
        self.env: dict[Var, Value] = {}
        self.active: Value = None  # a bool array, or None where all points are wanted
        self._on: dict[type[Expr], Callable[[Any], Value]] = {
            Const: self._const,
            Var: self._var,
            Sym: self._sym,
            Unary: lambda x: numeric.unary(x.op, self(x.x), x.x.dtype),
            Binary: lambda x: numeric.binary(x.op, self(x.a), self(x.b), x.a.dtype),
            Fma: lambda x: numeric.fma(self(x.a), self(x.b), self(x.c), x.dtype),
            Select: self._select,
            Cast: lambda x: numeric.cast(self(x.x), x.x.dtype, x.type),
            Dot: lambda x: numeric.dot(self(x.a), self(x.b), self(x.c), x.dtype),
            Bitcast: self._bitcast,
            Let: self._let,
            Ramp: self._ramp,
            Broadcast: self._broadcast,
            LaneReduce: lambda x: numeric.lane_reduce(x.op, self(x.x), x.dtype),
            Load: self._load,
        }

    def __call__(self, x: Expr) -> Value:
        on = self._on.get(type(x))
        if on is None and isinstance(x, Var):
            on = self._var  # a subclass that carries more
        if on is None:
            raise InternalError(f"interpreter: {type(x).__name__} has no value here")
        return on(x)

    def size(self, x: Expr) -> int:
        """The value of a dim or an extent."""
        return int(self(x))

    def _const(self, x: Const) -> Value:
        return numeric.rounded(x.value, x.type) if x.type.is_float else _whole(x)

    def _var(self, x: Var) -> Value:
        try:
            return self.env[x]
        except KeyError:
            raise InternalError(f"interpreter: variable {x.name} has no value here") from None

    def _sym(self, x: Sym) -> Value:
        try:
            value = self.symbols[x.name]
        except KeyError:
            raise CompileError(
                describe(f"symbol {x.name}", why="has no value", way_out="give one in symbols")
            ) from None
        if not x.lo <= value <= x.hi:
            why = f"is {value}, which is not in [{x.lo}, {x.hi}]"
            raise CompileError(describe(f"symbol {x.name}", why=why, way_out="give one within"))
        return np.int64(value)

    def _select(self, x: Select) -> Value:
        cond = self(x.cond)
        if np.ndim(cond) == 0:
            return self(x.then if cond else x.other)
        outer = self.active
        self.active = cond if outer is None else outer & cond
        then = self(x.then)
        self.active = ~cond if outer is None else outer & ~cond
        other = self(x.other)
        self.active = outer
        return np.where(cond, then, other)

    def _bitcast(self, x: Bitcast) -> Value:
        out = numeric.bitcast(self(x.x), x.x.dtype, x.type)
        return out[0] if x.lanes == 1 and x.x.lanes > 1 else out

    def _let(self, x: Let) -> Value:
        value = self(x.value)
        with self.bound({x.var: value}):
            return self(x.body)

    def bound(self, values: Mapping[Var, Value]) -> Bound:
        """A context in which variables have these values."""
        return Bound(self.env, values)

    def _ramp(self, x: Ramp) -> Value:
        lanes = np.arange(x.width).astype(numeric.carrier(x.dtype))
        return self(x.base) + self(x.stride) * lanes

    def _broadcast(self, x: Broadcast) -> Value:
        value = self(x.x)
        return np.full(x.width, value) if np.ndim(value) == 0 else value

    def _load(self, x: Load) -> Value:
        indices = [self(i) for i in x.indices]
        mask = None if x.mask is None else self(x.mask)
        return self.fetch(x.buffer.name, indices, mask, x.dtype)

    def fetch(self, name: str, indices: list[Value], mask: Value, dtype: DType) -> Value:
        """Elements of `name`; 0 where the mask or the place does not want them."""
        memory = self.memory[name]
        mask = self.wanted(mask)
        if mask is None:
            in_range(name, indices, memory.shape, None)
            return numeric.load_value(memory[tuple(indices)], dtype)
        in_range(name, indices, memory.shape, mask)
        zero = memory.dtype.type(0)
        if memory.size == 0:
            return numeric.load_value(np.where(mask, zero, zero)[()], dtype)
        safe = tuple(np.where(mask, i, 0) for i in indices)
        return numeric.load_value(np.where(mask, memory[safe], zero)[()], dtype)

    def wanted(self, mask: Value) -> Value:
        """A mask together with what the place wants; None for everything."""
        if mask is None or self.active is None:
            return self.active if mask is None else mask
        return mask & self.active


class Bound:
    """Variables with values for the time of a `with` block."""

    def __init__(self, env: dict[Var, Value], values: Mapping[Var, Value]) -> None:
        self._env = env
        self._values = values
        self._before: dict[Var, Value] = {}

    def __enter__(self) -> None:
        self._before = {v: self._env[v] for v in self._values if v in self._env}
        self._env.update(self._values)

    def __exit__(self, *_: object) -> None:
        for var in self._values:
            del self._env[var]
        self._env.update(self._before)


def _whole(x: Const) -> Value:
    return numeric.carrier(x.type)(x.value)


def in_range(name: str, indices: list[Value], shape: tuple[int, ...], mask: Value) -> None:
    """TcError naming buffer and index where an index that is wanted lies outside."""
    for dim, (index, size) in enumerate(zip(indices, shape, strict=True)):
        outside = (index < 0) | (index >= size)
        if mask is not None:
            outside = outside & mask
        if np.any(outside):
            bad = np.broadcast_to(index, np.shape(outside))[outside]
            raise TcError(
                describe(
                    f"buffer {name}",
                    why=f"index {int(np.ravel(bad)[0])} of dim {dim} is not in [0, {size})",
                    way_out="guard the access, or give indices within the buffer",
                )
            )
