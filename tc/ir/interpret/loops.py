"""Running a kernel: statements one after the other, loops from 0 upwards, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tc.errors import CompileError, InternalError, TcError, describe
from tc.ir.interpret import numeric
from tc.ir.interpret.numeric import Value
from tc.ir.interpret.scalar import Evaluator, in_range
from tc.ir.loop import Alloc, Assert, Buffer, For, Func, If, Prefetch, Seq, Stmt, Store, Update


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
        runner.run(func.body)
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
    def __init__(self, memory: dict[str, Value], symbols: Mapping[str, int]) -> None:
        self.at = Evaluator(memory, symbols)
        self.failed: list[str] = []

    def run(self, s: Stmt) -> None:
        match s:
            case For(var, extent, _, body):
                env = self.at.env
                for n in range(self.at.size(extent)):
                    env[var] = np.int64(n)
                    self.run(body)
                env.pop(var, None)
            case Seq(body=parts):
                for part in parts:
                    self.run(part)
            case Store():
                self._store(s)
            case Update():
                self._update(s)
            case If(cond, then, other):
                if self.at(cond):
                    self.run(then)
                elif other is not None:
                    self.run(other)
            case Alloc(buffer, body):
                self._alloc(buffer, body)
            case Assert(cond, message):
                if not np.all(self.at(cond)):
                    self.failed.append(message)
            case Prefetch():
                pass
            case _:
                raise InternalError(f"interpreter: {type(s).__name__} cannot be run")

    def _alloc(self, buffer: Buffer, body: Stmt) -> None:
        shape = tuple(self.at.size(d) for d in buffer.shape)
        # Undefined at first: something that shows when it is read all the same.
        kind = numeric.storage(buffer.dtype)
        poison = np.nan if kind.kind == "f" else kind.kind != "b" and np.iinfo(kind).max
        self.at.memory[buffer.name] = np.full(shape, poison, kind)
        self.run(body)
        del self.at.memory[buffer.name]

    def _store(self, s: Store) -> None:
        mask = None if s.mask is None else self.at(s.mask)
        indices = [self.at(i) for i in s.indices]
        self._put(s.buffer, indices, self.at(s.value), mask)

    def _put(self, buffer: Buffer, indices: list[Value], value: Value, mask: Value) -> None:
        memory = self.at.memory[buffer.name]
        in_range(buffer.name, indices, memory.shape, mask)
        value = numeric.store_value(value, buffer.dtype)
        if mask is None:
            memory[tuple(indices)] = value
        elif np.ndim(mask) == 0:
            if mask:
                memory[tuple(indices)] = value
        else:
            # Lanes in order, so that the last of those that meet stays.
            places = [np.broadcast_to(i, mask.shape)[mask] for i in indices]
            memory[tuple(places)] = np.broadcast_to(value, mask.shape)[mask]

    def _update(self, s: Update) -> None:
        indices = [self.at(i) for i in s.indices]
        values = [self.at(v) for v in s.values]
        states = [self.at.fetch(b.name, indices, None, b.dtype) for b in s.buffers]
        monoid = s.monoid
        with self.at.bound(
            dict(zip((*monoid.left, *monoid.right), (*states, *values), strict=True))
        ):
            combined = [self.at(x) for x in monoid.combine]
        for buffer, value in zip(s.buffers, combined, strict=True):
            self._put(buffer, indices, value, None)
