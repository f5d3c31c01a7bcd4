"""Evaluation of expressions: a value is a NumPy scalar, or an array of as many dims as its place.

In a kernel an array is a vector of lanes; in a tensor expression it is all points at once. Either
way `active` says in which points the expression is wanted: others must touch no memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from operator import call
from typing import Any, TypeAlias

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

Code: TypeAlias = Callable[[], Value]


class Evaluator:
    """Evaluates expressions over named memory, variables and symbols.

    An expression becomes a function once, since those in loops are evaluated over and over.
    """

    def __init__(self, memory: dict[str, Value], symbols: Mapping[str, int]) -> None:
        self.memory = memory
        self.symbols = symbols
        self.env: dict[int, Value] = {}  # by the number of a variable
        self.active: Value = None  # a bool array, or None where all points are wanted
        self._numbers: dict[Var, int] = {}
        # Keyed by identity; the expression is kept so that its identity is not given anew.
        self._made: dict[int, tuple[Expr, Code]] = {}
        self._on: dict[type[Expr], Callable[[Any], Code]] = {
            Const: self._const,
            Var: self._var,
            Sym: lambda x: functools.cache(lambda: self._sym(x)),
            Unary: self._unary,
            Binary: self._binary,
            Fma: self._fma,
            Select: self._select,
            Cast: self._cast,
            Dot: self._dot,
            Bitcast: self._bitcast,
            Let: self._let,
            Ramp: self._ramp,
            Broadcast: self._broadcast,
            LaneReduce: self._lane_reduce,
            Load: self._load,
        }

    def __call__(self, x: Expr) -> Value:
        """The value of `x` where variables and memory are what they are now."""
        return self.code(x)()

    def code(self, x: Expr) -> Code:
        """A function that gives the value of `x` whenever it is called."""
        known = self._made.get(id(x))
        if known is not None:
            return known[1]
        # Some variables are of a subclass that carries more.
        on = self._on.get(Var if isinstance(x, Var) else type(x))
        if on is None:
            raise InternalError(f"interpreter: {type(x).__name__} has no value here")
        made = on(x)
        self._made[id(x)] = x, made
        return made

    def size(self, x: Expr) -> int:
        """The value of a dim or an extent."""
        return int(self(x))

    def _const(self, x: Const) -> Code:
        value = numeric.rounded(x.value, x.type) if x.type.is_float else _whole(x)
        return lambda: value

    def number(self, x: Var) -> int:
        """What `env` has a variable under: its own hash would take longer than an addition."""
        return self._numbers.setdefault(x, len(self._numbers))

    def _var(self, x: Var) -> Code:
        number = self.number(x)

        def var() -> Value:
            try:
                return self.env[number]
            except KeyError:
                raise InternalError(f"interpreter: variable {x.name} has no value here") from None

        return var

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

    def _unary(self, x: Unary) -> Code:
        fn, a = numeric.unary_of(x.op, x.x.dtype), self.code(x.x)
        return lambda: fn(a())

    def _binary(self, x: Binary) -> Code:
        fn, a, b = numeric.binary_of(x.op, x.a.dtype), self.code(x.a), self.code(x.b)
        return lambda: fn(a(), b())

    def _fma(self, x: Fma) -> Code:
        a, b, c, dtype = self.code(x.a), self.code(x.b), self.code(x.c), x.dtype
        return lambda: numeric.fma(a(), b(), c(), dtype)

    def _dot(self, x: Dot) -> Code:
        a, b, c, dtype = self.code(x.a), self.code(x.b), self.code(x.c), x.dtype
        return lambda: numeric.dot(a(), b(), c(), dtype)

    def _cast(self, x: Cast) -> Code:
        a, source, target = self.code(x.x), x.x.dtype, x.type
        return lambda: numeric.cast(a(), source, target)

    def _lane_reduce(self, x: LaneReduce) -> Code:
        op, a, dtype = x.op, self.code(x.x), x.dtype
        return lambda: numeric.lane_reduce(op, a(), dtype)

    def _select(self, x: Select) -> Code:
        condition, yes, no = self.code(x.cond), self.code(x.then), self.code(x.other)

        def select() -> Value:
            cond = condition()
            if np.ndim(cond) == 0:
                return yes() if cond else no()
            outer = self.active
            self.active = cond if outer is None else outer & cond
            then = yes()
            self.active = ~cond if outer is None else outer & ~cond
            other = no()
            self.active = outer
            return np.where(cond, then, other)

        return select

    def _bitcast(self, x: Bitcast) -> Code:
        a, source, target = self.code(x.x), x.x.dtype, x.type
        if x.lanes == 1 and x.x.lanes > 1:
            return lambda: numeric.bitcast(a(), source, target)[0]
        return lambda: numeric.bitcast(a(), source, target)

    def _let(self, x: Let) -> Code:
        number, value, body = self.number(x.var), self.code(x.value), self.code(x.body)

        def let() -> Value:
            found, env = value(), self.env
            before = env.get(number)
            env[number] = found
            result = body()
            if before is None:
                del env[number]
            else:
                env[number] = before
            return result

        return let

    def bound(self, values: Mapping[Var, Value]) -> Bound:
        """A context in which variables have these values."""
        return Bound(self.env, {self.number(v): value for v, value in values.items()})

    def _ramp(self, x: Ramp) -> Code:
        base, stride = self.code(x.base), self.code(x.stride)
        lanes = np.arange(x.width).astype(numeric.carrier(x.dtype))
        return lambda: base() + stride() * lanes

    def _broadcast(self, x: Broadcast) -> Code:
        a, width = self.code(x.x), x.width

        def broadcast() -> Value:
            value = a()
            return np.full(width, value) if np.ndim(value) == 0 else value

        return broadcast

    def _load(self, x: Load) -> Code:
        name, dtype = x.buffer.name, x.dtype
        indices = [self.code(i) for i in x.indices]
        mask = None if x.mask is None else self.code(x.mask)

        def load() -> Value:
            at = tuple(map(call, indices))
            return self.fetch(name, at, None if mask is None else mask(), dtype)

        return load

    def fetch(self, name: str, indices: Sequence[Value], mask: Value, dtype: DType) -> Value:
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
    """Variables, by number, with values for the time of a `with` block."""

    def __init__(self, env: dict[int, Value], values: Mapping[int, Value]) -> None:
        self._env = env
        self._values = values
        self._before: dict[int, Value] = {}

    def __enter__(self) -> None:
        self._before = {v: self._env[v] for v in self._values if v in self._env}
        self._env.update(self._values)

    def __exit__(self, *_: object) -> None:
        for var in self._values:
            del self._env[var]
        self._env.update(self._before)


def _whole(x: Const) -> Value:
    return numeric.carrier(x.type)(x.value)


def in_range(name: str, indices: Sequence[Value], shape: tuple[int, ...], mask: Value) -> None:
    """TcError naming buffer and index where an index that is wanted lies outside."""
    for dim, (index, size) in enumerate(zip(indices, shape, strict=True)):
        if type(index) is np.int64 and 0 <= index < size:
            continue  # what the arrays below would say, at a tenth of the time
        outside = (index < 0) | (index >= size)
        if mask is not None:
            outside = outside & mask
        if np.count_nonzero(outside):
            bad = np.broadcast_to(index, np.shape(outside))[outside]
            raise TcError(
                describe(
                    f"buffer {name}",
                    why=f"index {int(np.ravel(bad)[0])} of dim {dim} is not in [0, {size})",
                    way_out="guard the access, or give indices within the buffer",
                )
            )
