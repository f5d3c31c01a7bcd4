"""One kernel as machine code, called with addresses: what is measured and checked.

It is made from a workload's naive loops and a schedule, as the pipeline would, and run in the way
of a whole program: one foreign call, one parallel region. The caller gives all memory, so that it
can lie between guard pages. This module must not measure, nor judge results.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tc.codegen.llvm.jit import load_object
from tc.device.artifact import (
    ERROR,
    FIRST_SLOT,
    PROFILE,
    SCRATCH,
    SCRATCH_BYTES,
    THREADS,
    Entry,
    SlotCall,
)
from tc.device.dims import Dim, compile_dim, dim_of
from tc.device.run_code import make_code
from tc.frozen import frozen
from tc.graph.graph import Value
from tc.graph.packing import pack_value
from tc.ir.buffer import Buffer
from tc.ir.loop import Func
from tc.ir.lower import lower_named
from tc.ir.passes import place_scratch, run_passes
from tc.ir.types import DType
from tc.schedule.defaults import default_schedule
from tc.schedule.foreign import scheduled
from tc.schedule.pack import Packing, packings
from tc.schedule.step import Schedule
from tc.target import Target

MOST_BYTES: Final = 4 << 30  # of one buffer


@frozen
class Param:
    """A buffer of a kernel at known sizes."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    output: bool

    @property
    def bytes(self) -> int:
        """Of the whole buffer."""
        count = self.dtype.bytes
        for n in self.shape:
            count *= n
        return count


@frozen
class Compiled:
    """A kernel's machine code with what a caller has to know of it; made by one process for others.

    Attributes:
        params: (name, dtype, shape, whether it is an output) of each buffer, in calling order.
        symbols: names of the sizes, in calling order.
        scratch: bytes of working memory that a thread needs.
        messages: what the kernel may say of its inputs.
    """

    params: tuple[tuple[str, str, tuple[Dim, ...], bool], ...]
    symbols: tuple[str, ...]
    scratch: Dim
    messages: tuple[str, ...]
    code: bytes

    @staticmethod
    def of(func: Func, target: Target, cache_dir: Path | None) -> Compiled:
        """What a scheduled kernel is compiled to."""
        flat, scratch = place_scratch(run_passes(func, target.fuses))
        count, names = len(flat.params), tuple(s.name for s in flat.symbols)
        call = SlotCall(
            0,
            tuple(FIRST_SLOT + n for n in range(count)),
            tuple(FIRST_SLOT + count + n for n in range(len(names))),
        )
        (code,) = make_code([flat], [Entry("main_0", (call,))], target, cache_dir).code
        params = tuple(
            (b.name, b.dtype.value, tuple(dim_of(n) for n in b.shape), b.name in flat.outputs)
            for b in func.params
        )
        return Compiled(params, names, dim_of(scratch), code.messages, code.data)

    def save(self, path: Path) -> None:
        """Write it: a line of JSON, then the code; whole, or not at all."""
        head = json.dumps([self.params, self.symbols, self.scratch, self.messages])
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(head.encode() + b"\n" + self.code)
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Compiled:
        """What `save` wrote."""
        head, _, code = path.read_bytes().partition(b"\n")
        params, symbols, scratch, messages = json.loads(head)
        buffers = tuple((name, dtype, tuple(shape), out) for name, dtype, shape, out in params)
        return Compiled(buffers, tuple(symbols), scratch, tuple(messages), code)


class Runnable:
    """A kernel's machine code in this process.

    Attributes:
        packings: how constant inputs must lie, by name of the parameter.
    """

    def __init__(self, made: Compiled, packed: Mapping[str, Packing], target: Target) -> None:
        self.packings = dict(packed)
        self._made = made
        self._names = made.symbols
        self._scratch = compile_dim(made.scratch, made.symbols)
        self._module = load_object(made.code, target, made.messages)

    def params(self, sizes: Sequence[int]) -> tuple[Param, ...]:
        """The buffers at these values of the symbols, in calling order."""
        found = []
        for name, dtype, dims, output in self._made.params:
            shape = tuple(compile_dim(dim, self._names)(sizes) for dim in dims)
            found.append(Param(name, DType(dtype), shape, output))
        return tuple(found)

    def call(self, addresses: Sequence[int], sizes: Sequence[int], threads: int) -> Call:
        """A call on this memory, ready to be made over and over."""
        return Call(
            self._module.entry,
            (*addresses, *sizes),
            self._scratch(sizes),
            threads,
            self._made.messages,
            self._module,
        )


class Call:
    """A kernel with its argument table; calling it runs the kernel."""

    def __init__(
        self,
        entry: Callable[[int], object],
        arguments: Sequence[int],
        scratch: int,
        threads: int,
        messages: Sequence[str],
        kept: object,
    ) -> None:
        each = (scratch + 63) // 64 * 64
        self._memory = ctypes.create_string_buffer(each * threads + 128)
        self._error = ctypes.c_int32(0)
        self._table = (ctypes.c_int64 * (FIRST_SLOT + len(arguments)))()
        self._table[THREADS] = threads
        self._table[PROFILE] = 0
        self._table[SCRATCH] = (ctypes.addressof(self._memory) + 63) // 64 * 64
        self._table[SCRATCH_BYTES] = each
        self._table[ERROR] = ctypes.addressof(self._error)
        for n, value in enumerate(arguments):
            self._table[FIRST_SLOT + n] = value
        self._messages = tuple(messages)
        self._kept = kept
        self.entry = entry
        self.address = ctypes.addressof(self._table)

    def __call__(self) -> None:
        """Run once."""
        self.entry(self.address)

    @property
    def complaint(self) -> str:
        """What the kernel said of its inputs; "" for nothing."""
        number = self._error.value
        if not number:
            return ""
        known = number <= len(self._messages)
        return self._messages[number - 1] if known else f"error {number}"


def build(loops: Func, schedule: Schedule, target: Target, cache_dir: Path | None) -> Compiled:
    """The kernel of a workload's naive loops under a schedule.

    Raises:
        ScheduleError: the schedule is not legal for them.
    """
    return Compiled.of(scheduled(loops, schedule), target, cache_dir)


def load(made: Compiled, schedule: Schedule, target: Target) -> Runnable:
    """What `build` made under this schedule, in this process."""
    return Runnable(made, {p.buffer: p for p in packings(schedule)}, target)


def packer(buffer: Buffer, packing: Packing, target: Target, cache_dir: Path | None) -> Compiled:
    """The kernel that lays out a constant as `packing` says: from its buffer to the packed one."""
    value = Value(buffer.name, buffer.shape, buffer.dtype)
    _, made = pack_value(value, packing)
    lowered = lower_named(made.outputs, made.inputs)
    schedule = default_schedule(made.outputs, made.inputs, frozenset(), target, lowered)
    return build(lowered.func, schedule, target, cache_dir)
