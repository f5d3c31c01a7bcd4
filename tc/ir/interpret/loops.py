"""Running a kernel: statements one after the other, loops from 0 upwards, whatever their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import call
from typing import Any, TypeAlias

import numpy as np

from tc.errors import CompileError, InternalError, TcError, describe
from tc.ir.expr import Var
from tc.ir.interpret import numeric
from tc.ir.interpret.numeric import Value
from tc.ir.interpret.scalar import Code, Evaluator, in_range
from tc.ir.loop import Alloc, Assert, Buffer, For, Func, If, Prefetch, Seq, Stmt, Store, Update

Run: TypeAlias = Callable[[], None]


def run(
    func: Func, buffers: Mapping[str, np.ndarray[Any, Any]], symbols: Mapping[str, int]
) -> None:
    """Execute `func` on arrays; outputs are written in place.

    Args:
        func: a kernel at any stage, from naive loops to flat vectors.
        buffers: an array for each parameter, of the parameter's shape (or, where a pass has made
            it flat, of as many elements) and type; bf16 as uint16.
        symbols: a value for each symbol.

    Raises:
        TcError: an index is out of bounds (names buffer and index), or asserts failed.
        CompileError: an array is missing or has another shape or type; a symbol has no value.
    """
    runner = _Runner({}, symbols)
    for param in func.params:
        if param.name not in buffers:
            raise CompileError(
                describe(f"buffer {param.name}", where=func.name, why="no array is given")
            )
        shape = tuple(runner.at.size(d) for d in param.shape)
        runner.at.memory[param.name] = _checked(param, buffers[param.name], shape)
    with np.errstate(all="ignore"):
        runner.code(func.body)()
    if runner.failed:
        raise TcError("; ".join(dict.fromkeys(runner.failed)))


def _checked(param: Buffer, array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Value:
    """The array as the parameter's shape; a view, so that writes reach the caller."""
    if array.dtype != numeric.storage(param.dtype):
        why = f"has dtype {array.dtype}, not {numeric.storage(param.dtype)}"
        raise CompileError(describe(f"buffer {param.name}", why=why, way_out="convert the array"))
    if array.shape == shape:
        return array
    if array.size != int(np.prod(shape)) or not array.flags.c_contiguous:
        why = f"has shape {array.shape}, not {shape}"
        raise CompileError(describe(f"buffer {param.name}", why=why, way_out="reshape the array"))
    return array.reshape(shape)


class _Runner:
    """Makes a function of each statement, once: those in loops are run over and over."""

    def __init__(self, memory: dict[str, Value], symbols: Mapping[str, int]) -> None:
        self.at = Evaluator(memory, symbols)
        self.combining = Evaluator({}, symbols)  # of monoids, whose variables are their own
        self.failed: list[str] = []

    def code(self, s: Stmt) -> Run:
        """A function that runs `s`."""
        match s:
            case For(var, extent, _, body):
                return self._for(var, self.at.code(extent), self.code(body))
            case Seq(body=parts):
                return _each(tuple([self.code(part) for part in parts]))
            case Store():
                return self._store(s)
            case Update():
                return self._update(s)
            case If(cond, then, other):
                no = None if other is None else self.code(other)
                return _if(self.at.code(cond), self.code(then), no)
            case Alloc(buffer, body):
                return self._alloc(buffer, self.code(body))
            case Assert(cond, message):
                return self._assert(self.at.code(cond), message)
            case Prefetch():
                return _each(())
        raise InternalError(f"interpreter: {type(s).__name__} cannot be run")

    def _for(self, var: Var, extent: Code, body: Run) -> Run:
        env, number = self.at.env, self.at.number(var)

        def run() -> None:
            for n in range(int(extent())):
                env[number] = np.int64(n)
                body()
            env.pop(number, None)

        return run

    def _assert(self, cond: Code, message: str) -> Run:
        def run() -> None:
            if not np.all(cond()):
                self.failed.append(message)

        return run

    def _alloc(self, buffer: Buffer, body: Run) -> Run:
        name, sizes = buffer.name, [self.at.code(d) for d in buffer.shape]
        # Undefined at first: something that shows when it is read all the same.
        kind = numeric.storage(buffer.dtype)
        poison = np.nan if kind.kind == "f" else kind.kind != "b" and np.iinfo(kind).max

        def run() -> None:
            self.at.memory[name] = np.full([int(n()) for n in sizes], poison, kind)
            body()
            del self.at.memory[name]

        return run

    def _store(self, s: Store) -> Run:
        masked = None if s.mask is None else self.at.code(s.mask)
        places = [self.at.code(i) for i in s.indices]
        value, buffer = self.at.code(s.value), s.buffer

        def run() -> None:
            mask = None if masked is None else masked()
            self._put(buffer, tuple(map(call, places)), value(), mask)

        return run

    def _put(self, buffer: Buffer, indices: tuple[Value, ...], value: Value, mask: Value) -> None:
        memory = self.at.memory[buffer.name]
        in_range(buffer.name, indices, memory.shape, mask)
        value = numeric.store_value(value, buffer.dtype)
        if mask is None:
            memory[indices] = value
        elif np.ndim(mask) == 0:
            if mask:
                memory[indices] = value
        else:
            # Lanes in order, so that the last of those that meet stays.
            places = [np.broadcast_to(i, mask.shape)[mask] for i in indices]
            memory[tuple(places)] = np.broadcast_to(value, mask.shape)[mask]

    def _update(self, s: Update) -> Run:
        places = [self.at.code(i) for i in s.indices]
        added = [self.at.code(v) for v in s.values]
        own, buffers = self.combining, s.buffers
        combine = [own.code(x) for x in s.monoid.combine]
        numbers = [own.number(v) for v in (*s.monoid.left, *s.monoid.right)]

        def run() -> None:
            indices = tuple(map(call, places))
            values = [self.at.fetch(b.name, indices, None, b.dtype) for b in buffers]
            values += map(call, added)
            own.env.update(zip(numbers, values, strict=True))
            for buffer, value in zip(buffers, list(map(call, combine)), strict=True):
                self._put(buffer, indices, value, None)

        return run


def _each(parts: tuple[Run, ...]) -> Run:
    def run() -> None:
        for part in parts:
            part()

    return run


def _if(cond: Code, then: Run, other: Run | None) -> Run:
    def run() -> None:
        if cond():
            then()
        elif other is not None:
            other()

    return run
