"""Measure where the time of a program goes, kernel by kernel.

The bound of a kernel is the time that the measured peak of this machine's arithmetic or of its
memory asks for, whichever is more; one that is faster than memory allows finds its data in a
cache. This module must not change what a program does, nor print.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tc.device.artifact import FallbackCall, KernelCall
from tc.device.physical import host_device
from tc.device.run import Program
from tc.device.run_account import account
from tc.device.run_explanation import EAGER, Event, Roofs, Row, Section
from tc.device.run_profile import CallTime
from tc.ir.types import DType

RUNS: Final = 5
"""Calls that `explain` takes the medians of."""

_LENGTH = 128  # of a symbol, where a program has not been called yet


def explain(
    program: Program, title: str, labels: Mapping[str, str] | None = None, runs: int = RUNS
) -> Section:
    """Run the program `runs` times at the sizes of its last call, on made-up values, and see.

    `labels` says what a symbol means, by its name.
    """
    values = program.last_values or _usual_values(program)
    found = account(program, _sample(program, values), runs)
    roofs = _roofs(program.threads)
    groups: dict[object, list[int]] = {}
    for number, time in enumerate(found.last):
        step = time.step
        key = step.kernel if isinstance(step, KernelCall) else step.op
        groups.setdefault(key, []).append(number)
    rows = [
        _row(
            program,
            [found.last[n] for n in numbers],
            sum(found.steps[n] for n in numbers),
            sum(found.waiting[n] for n in numbers),
            values,
            roofs,
        )
        for numbers in groups.values()
    ]
    sizes = ", ".join(
        f"{(labels or {}).get(symbol.name, symbol.name)}={value}"
        for symbol, value in zip(program.artifact.symbols, values, strict=True)
    )
    return Section(
        f"{title} [{sizes}]" if sizes else title,
        tuple(sorted(rows, key=lambda row: -row.seconds)),
        program.threads,
        latency=found.latency,
        barriers=found.barriers,
        fork_join=found.fork_join,
        call=found.call,
        roofs=roofs,
        events=_events(program, found.last),
    )


def _row(
    program: Program,
    times: Sequence[CallTime],
    seconds: float,
    waiting: float,
    values: tuple[int, ...],
    roofs: Roofs,
) -> Row:
    step = times[0].step
    if isinstance(step, FallbackCall):
        shapes = program.storage_shapes(step.inputs, values)
        origin = tuple(t.step.origin for t in times if isinstance(t.step, FallbackCall))
        return Row(step.op, len(times), shapes, EAGER, seconds, origin=origin)
    kernel = program.artifact.kernels[step.kernel]
    flops = moved = 0
    for time in times:
        assert isinstance(time.step, KernelCall)
        one, other = program.kernel_sizes(time.step, values)
        flops, moved = flops + one * time.turns, moved + other * time.turns
    bound, least = _bound(flops / kernel.rate, moved, roofs)
    return Row(
        kernel.name,
        sum(time.turns for time in times),
        program.storage_shapes(step.buffers, values),
        kernel.schedule,
        seconds,
        waiting,
        flops,
        moved,
        bound,
        least,
        least / seconds if least and seconds else None,
        flops / seconds * 1e-9 if flops and seconds else None,
        kernel.origin,
        kernel.factors,
        kernel.rate,
        kernel.source,
    )


def _roofs(threads: int) -> Roofs:
    """Of one core, or of all: a program with fewer threads than cores is held against all."""
    properties = host_device().properties
    if threads == 1:
        return Roofs(properties.peak_gflops_core, properties.bandwidth_core)
    return Roofs(properties.peak_gflops, properties.bandwidth)


def _bound(flops: float, moved: int, roofs: Roofs) -> tuple[str, float | None]:
    """What bounds such work, of `flops` at the rate of f32, and the seconds it takes at least."""
    if not roofs.gflops or not roofs.bandwidth or not (flops or moved):
        return "", None
    compute, memory = flops / (roofs.gflops * 1e9), moved / (roofs.bandwidth * 1e9)
    return ("compute", compute) if compute >= memory else ("memory", memory)


def _events(program: Program, times: Sequence[CallTime]) -> tuple[Event, ...]:
    start = min((time.begin for time in times), default=0)
    kernels = program.artifact.kernels
    return tuple(
        Event(
            kernels[time.step.kernel].name if isinstance(time.step, KernelCall) else time.step.op,
            span.thread,
            (span.begin - start) * 1e-9,
            (span.end - start) * 1e-9,
        )
        for time in times
        for span in time.spans
    )


def _usual_values(program: Program) -> tuple[int, ...]:
    return tuple(
        min(max(symbol.low, 1 if n == 0 else _LENGTH), symbol.high)
        for n, symbol in enumerate(program.artifact.symbols)
    )


def _sample(program: Program, values: tuple[int, ...]) -> list[object]:
    """Inputs of these sizes that hold ones: legal ids, and masks that let everything pass."""
    made = []
    for info, shape in zip(program.artifact.inputs, program.input_shapes(values), strict=True):
        array = program.arrays.maker(shape, info.dtype)()
        size = int(np.prod(shape)) * info.dtype.bytes
        if size:
            memory = (ctypes.c_char * size).from_address(program.arrays.address(array))
            np.frombuffer(memoryview(memory), _NUMPY[info.dtype])[:] = _ONE.get(info.dtype, 1)
        made.append(array)
    return made


_NUMPY: Final[Mapping[DType, Any]] = {
    DType.BOOL: np.uint8, DType.I8: np.int8, DType.U8: np.uint8, DType.I16: np.int16,
    DType.I32: np.int32, DType.I64: np.int64, DType.F16: np.float16, DType.BF16: np.uint16,
    DType.F32: np.float32, DType.F64: np.float64,
}  # fmt: skip
_ONE = {DType.BF16: 0x3F80}
