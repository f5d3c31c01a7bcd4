"""Artifact: a compiled program as plain data, everything that running it needs but the weights.

A program is two lists of steps over numbered storages: `prepare` runs once for each version of the
weights, `main` at every call. Each step is a kernel of the object code, or an operator that the
caller's framework runs eagerly. Everything is frozen and made of numbers, text and bytes, so that
it can be saved (see `artifact_io`) and compared. This module must not run or compile anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import groupby
from typing import TypeAlias

from tc.device.dims import Dim
from tc.frozen import frozen
from tc.ir.types import DType

# The slots of an entry's argument table that the runtime itself uses; storages and symbols follow.
THREADS, PROFILE, SCRATCH, SCRATCH_BYTES, ERROR, HINTS = range(6)
FIRST_SLOT = 6


class Place(Enum):
    """Whose memory a storage is."""

    INPUT = "input"  # the caller's argument `number`
    OUTPUT = "output"  # fresh memory of result `number`
    PARAM = "param"  # weight `number`, in the model's own memory
    PREPARED = "prepared"  # written by the prepare steps, kept until the weights change
    TEMP = "temp"  # the arena, while it is in use


@frozen
class Storage:
    """The memory of one value, row-major and dense. `number` counts within its place."""

    place: Place
    number: int
    dtype: DType
    shape: tuple[Dim, ...]


@frozen
class SymbolInfo:
    """A symbolic dim of the program; every value from `low` to `high` is served."""

    name: str
    low: int
    high: int


@frozen
class TensorInfo:
    """An input, output or parameter: its dotted name, element type and shape over the symbols."""

    name: str
    dtype: DType
    shape: tuple[Dim, ...]


@frozen
class KernelInfo:
    """One kernel of the machine code.

    Attributes:
        text: the scheduled loops; the kernel can be compiled anew from it.
        schedule: the steps that made them.
        symbols: the names of its symbols, in calling order; the three sizes are over these.
        scratch: bytes of scratch memory of each thread.
        flops: floating-point operations of one call.
        bytes: bytes of its parameters that one call must move at least.
        origin: places in the model that it computes.
        factors: element types of the products that it sums, such as "bf16*bf16"; "" for none.
        rate: how many times the rate of f32 the instructions for these products have.
        source: where the schedule comes from: "default", or a tuning record.
        expression: what it computes, as the statements of its loops before they were scheduled.
    """

    name: str
    text: str
    schedule: str
    symbols: tuple[str, ...]
    scratch: Dim
    flops: Dim
    bytes: Dim
    origin: tuple[str, ...] = ()
    factors: str = ""
    rate: int = 1
    source: str = "default"
    expression: str = ""


@frozen
class Repeat:
    """Calls side by side under equal loops run in turn, again for each value of the index.

    Attributes:
        number: among the loops of a program.
        index: the name that stands for the index, from 0, among the symbols of the calls.
        times: how often they run.
    """

    number: int
    index: str
    times: Dim


@frozen
class KernelCall:
    """Run a kernel: a storage for each of its buffers, a size for each of its symbols."""

    kernel: int
    buffers: tuple[int, ...]
    symbols: tuple[Dim, ...]
    loop: Repeat | None = None

    @property
    def sizes(self) -> tuple[Dim, ...]:
        """Its symbols over those of the program alone: in a loop, as at the first time."""
        index = None if self.loop is None else self.loop.index
        return tuple(0 if dim == index else dim for dim in self.symbols)


@frozen
class StorageArg:
    """In a fallback's arguments: the tensor in that storage."""

    storage: int


@frozen
class DimArg:
    """In a fallback's arguments: a size over the program's symbols."""

    dim: Dim


FallbackArg: TypeAlias = (
    StorageArg | DimArg | DType | bool | int | float | str | tuple["FallbackArg", ...] | None
)


@frozen
class FallbackCall:
    """Run an operator of the caller's framework eagerly.

    Attributes:
        op: the ATen overload, "aten.topk.default".
        args: its arguments in the order of its schema, keyword-only ones too.
        outputs: the storages that its results are copied to.
        origin: the place in the model.
    """

    op: str
    args: tuple[FallbackArg, ...]
    outputs: tuple[int, ...]
    origin: str = ""

    @property
    def inputs(self) -> tuple[int, ...]:
        """The storages that it reads, each once."""
        return tuple(dict.fromkeys(_storages(self.args)))


Step = KernelCall | FallbackCall


@frozen
class Code:
    """The machine code of one of a program's `entries`.

    Attributes:
        name: of the entry.
        data: object code.
        messages: what a kernel reports by number (the number less one) in the error slot.
    """

    name: str
    data: bytes
    messages: tuple[str, ...] = ()


@frozen
class Artifact:
    """A compiled program.

    Attributes:
        target: the text of the target that `code` is for.
        mutated: numbers of the inputs that it writes to, as eager does.
        code: one for each of `entries`.
    """

    target: str
    symbols: tuple[SymbolInfo, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    params: tuple[TensorInfo, ...]
    storages: tuple[Storage, ...]
    prepare: tuple[Step, ...]
    main: tuple[Step, ...]
    kernels: tuple[KernelInfo, ...]
    code: tuple[Code, ...] = ()
    mutated: tuple[int, ...] = ()

    @property
    def symbol_names(self) -> tuple[str, ...]:
        """The names that every size is over."""
        return tuple(symbol.name for symbol in self.symbols)


INDEX = -1
"""Stands among the slots of a call's symbols for the index of its loop."""


@frozen
class SlotCall:
    """A kernel call by slots of the argument table, as the code generator wants it.

    `loop` is the number of its loop, and the slot of how often that runs.
    """

    kernel: int
    buffers: tuple[int, ...]
    symbols: tuple[int, ...]
    loop: tuple[int, int] | None = None


@frozen
class Entry:
    """One function of machine code: the kernel calls between two fallbacks, in one go."""

    name: str
    calls: tuple[SlotCall, ...]


def slot_dims(prepare: Iterable[Step], main: Iterable[Step]) -> tuple[Dim, ...]:
    """The distinct sizes that kernels take, in slot order (after the storages).

    Those of `main` come first: its code runs as it is in a program without prepare steps.
    """
    calls = [s for s in (*main, *prepare) if isinstance(s, KernelCall)]
    return tuple(dict.fromkeys(dim for call in calls for dim in _dims(call)))


def _dims(call: KernelCall) -> list[Dim]:
    """The sizes that a call needs in the argument table."""
    if call.loop is None:
        return list(call.symbols)
    return [call.loop.times, *(dim for dim in call.symbols if dim != call.loop.index)]


def entries(storages: int, prepare: tuple[Step, ...], main: tuple[Step, ...]) -> tuple[Entry, ...]:
    """The entry points of a program with so many storages, for the code generator.

    Storage n has slot `FIRST_SLOT + n`, and each distinct size one slot after those. The names
    are "prepare_0", …, "main_0", …, one for each run of kernel calls between fallbacks.
    """
    place = {d: FIRST_SLOT + storages + n for n, d in enumerate(slot_dims(prepare, main))}
    found = []
    for label, steps in (("prepare", prepare), ("main", main)):
        for number, run in enumerate(r for r in segments(steps) if isinstance(r, tuple)):
            calls = tuple(
                SlotCall(
                    call.kernel,
                    tuple(FIRST_SLOT + b for b in call.buffers),
                    tuple(_slot(d, call.loop, place) for d in call.symbols),
                    None if call.loop is None else (call.loop.number, place[call.loop.times]),
                )
                for call in run
            )
            found.append(Entry(f"{label}_{number}", calls))
    return tuple(found)


def _slot(dim: Dim, loop: Repeat | None, place: Mapping[Dim, int]) -> int:
    return INDEX if loop is not None and dim == loop.index else place[dim]


def turns(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """For each step the first and the last of those that run again and again with it.

    What such steps touch is in use for as long as any of them runs.
    """
    found: list[tuple[int, int]] = []
    for loop, run in groupby(steps, lambda s: s.loop if isinstance(s, KernelCall) else None):
        first, count = len(found), len(list(run))
        alone = [(n, n) for n in range(first, first + count)]
        found += alone if loop is None else [(first, first + count - 1)] * count
    return found


def segments(steps: Iterable[Step]) -> list[tuple[KernelCall, ...] | FallbackCall]:
    """The steps with each run of kernel calls as one item."""
    found: list[tuple[KernelCall, ...] | FallbackCall] = []
    run: list[KernelCall] = []
    for step in steps:
        if isinstance(step, KernelCall):
            run.append(step)
            continue
        if run:
            found.append(tuple(run))
            run = []
        found.append(step)
    if run:
        found.append(tuple(run))
    return found


def touched(step: Step) -> tuple[int, ...]:
    """The storages that a step reads or writes."""
    if isinstance(step, KernelCall):
        return step.buffers
    return (*step.inputs, *step.outputs)


def _storages(arg: FallbackArg) -> Iterator[int]:
    if isinstance(arg, StorageArg):
        yield arg.storage
    elif isinstance(arg, tuple):
        for part in arg:
            yield from _storages(part)
