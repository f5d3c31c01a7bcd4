"""What the cost model sees of a candidate: numbers of its scheduled loops, and of the device.

Counts go as log2(1 + x), so that a kernel of any size is told by a few doublings; what is done is
weighed by how often. For each cache there is an estimate of the bytes that come from beyond it:
the outermost loop whose data fit it, times how often that loop begins. Zheng et al., "Ansor"
(OSDI 2020, appendix B), and Adams et al., "Learning to optimize Halide" (TOG 2019, section 4),
count the like. This module must not learn or measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tc.autotune.rows import TargetRow
from tc.autotune.sizes import reach, value_of
from tc.ir.expr import Binary, Dot, Expr, Fma, Load, Select, Unary
from tc.ir.loop import (
    Alloc,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.types import DType
from tc.ir.visit import own_exprs, sub_exprs
from tc.target import Target

LAYOUT: Final = 2  # of the list of features: those of another one are not comparable
RARE: Final = 0.01  # of a branch that is for ends and for single rows, beside the usual one


@dataclass(slots=True)
class _Access:
    """A buffer read or written in one place."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    loops: tuple[tuple[str, int, LoopKind], ...]
    times: float
    write: bool


@dataclass(slots=True)
class _Seen:
    """What a walk over the loops collects."""

    env: dict[str, int]
    accesses: list[_Access] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    parallel: int = 1
    chunks: int = 1
    bodies: int = 0
    deepest: float = 0.0
    hottest: tuple[tuple[str, int, LoopKind], ...] = ()
    registers: int = 0

    def add(self, name: str, amount: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + amount


_COUNTED: Final = (
    "vector_ops", "scalar_ops", "products", "divisions", "functions", "comparisons", "vector_loads",
    "broadcast_loads", "gathered_loads", "scalar_loads", "vector_stores", "scalar_stores",
    "masked", "prefetches", "loop_steps", "ifs", "scratch_bytes",
)  # fmt: skip


def features(
    func: Func, sizes: Mapping[str, int], target: Target, threads: int, device: Sequence[float]
) -> list[float]:
    """The numbers of a scheduled kernel at sizes of its symbols; `device` are those of the device.

    The list is as long for every kernel, see `NAMES`.
    """
    seen = _Seen(dict(sizes))
    _walk(func.body, (), 1.0, seen)
    work = sum(seen.counts.get(n, 0.0) for n in ("vector_ops", "scalar_ops")) or 1.0
    counts = [slog(seen.counts.get(name, 0.0)) for name in _COUNTED]
    shares = [seen.counts.get(name, 0.0) / work for name in _COUNTED]
    inner = [extent for _, extent, kind in seen.hottest if kind is LoopKind.UNROLLED]
    rounds = -(-seen.parallel // threads) * threads / max(seen.parallel, 1)
    lanes = max((e for _, e, kind in seen.hottest if kind is LoopKind.VECTOR), default=1)
    register_lanes = max(1, target.vector_lanes(32))
    pressure = seen.registers / register_lanes / target.vector_registers
    serial = [extent for _, extent, kind in seen.hottest if kind is LoopKind.SERIAL]
    shape = [
        slog(work),
        slog(seen.parallel),
        min(rounds, 8.0),
        slog(seen.bodies),
        slog(math.prod(inner)),
        float(len(inner)),
        slog(serial[-1] if serial else 1),
        slog(math.prod(serial)),
        float(lanes),
        pressure,
        max(0.0, pressure - 0.9),
        slog(seen.registers),
    ]
    traffic = [slog(x) for x in _traffic(seen, target)]
    estimate = _estimates(seen, traffic, rounds, register_lanes)
    return [*counts, *shares, *shape, *traffic, *estimate, *device]


_SHAPE: Final = (
    "work", "parallel", "rounds", "bodies", "unrolled", "unrolled_loops", "inner_steps",
    "serial_steps", "lanes", "pressure", "spill", "registers",
)  # fmt: skip
_DEVICE: Final = (
    "device_lanes", "device_registers", "device_l1", "device_l2", "device_l3", "device_threads",
    "device_peak", "device_bandwidth", "device_balance",
)  # fmt: skip
NAMES: Final = (
    *_COUNTED,
    *(f"{name}_share" for name in _COUNTED),
    *_SHAPE,
    "l1_traffic", "l2_traffic", "l3_traffic", "unique_bytes", "inner_bytes",
    "compute_estimate", "load_estimate", "l1_estimate", "l2_estimate", "memory_estimate",
    *_DEVICE,
)  # fmt: skip


def device_features(target: Target, threads: int, measured: TargetRow | None) -> list[float]:
    """The numbers of a device; rates that were not measured are 0."""
    peak = (measured.peak_gflops_core if measured else None) or 0.0
    bandwidth = (measured.bandwidth_core if measured else None) or 0.0
    return [
        float(target.vector_lanes(32)),
        float(target.vector_registers),
        slog(target.l1d_bytes),
        slog(target.l2_bytes),
        slog(target.l3_bytes),
        float(threads),
        peak,
        bandwidth,
        peak / bandwidth if bandwidth else 0.0,
    ]


def slog(x: float) -> float:
    """log2(1 + x) for x of at least 0."""
    return math.log2(1.0 + max(x, 0.0))


def _reads(x: Expr) -> bool:
    return any(isinstance(each, Load) for each in sub_exprs(x))


def _walk(s: Stmt, loops: tuple[tuple[str, int, LoopKind], ...], times: float, seen: _Seen) -> None:
    match s:
        case For(var, extent, kind, body):
            count = max(0, value_of(extent, seen.env))
            if kind is LoopKind.PARALLEL:
                seen.parallel *= max(count, 1)
            elif kind is LoopKind.SERIAL:
                seen.add("loop_steps", times * count)
            inner = times if kind is LoopKind.VECTOR else times * count
            _walk(body, (*loops, (var.name, count, kind)), inner, seen)
        case Seq(body):
            for b in body:
                _walk(b, loops, times, seen)
        case If(cond, then, other):
            seen.add("ifs", times)
            usual, rare = then, other
            if other is not None and not value_of(cond, seen.env) and not _reads(cond):
                usual, rare = other, then  # the first iteration tells, where no data does
            _walk(usual, loops, times, seen)
            if rare is not None:
                _walk(rare, loops, RARE * times, seen)
        case Alloc(buffer, body):
            size = math.prod(max(1, value_of(n, seen.env)) for n in buffer.shape)
            if buffer.scope is Scope.REGISTER:
                seen.registers = max(seen.registers, size)
            else:
                seen.add("scratch_bytes", size * buffer.dtype.bytes)
            _walk(body, loops, times, seen)
        case Prefetch():
            seen.add("prefetches", times)
        case _:
            _leaf(s, loops, times, seen)


def _leaf(s: Stmt, loops: tuple[tuple[str, int, LoopKind], ...], times: float, seen: _Seen) -> None:
    vector = next((name for name, _, kind in loops if kind is LoopKind.VECTOR), None)
    unrolled = math.prod(max(1, n) for _, n, kind in loops if kind is LoopKind.UNROLLED)
    seen.bodies += unrolled
    operations = 0.0
    for x in own_exprs(s):
        for e in sub_exprs(x):
            if isinstance(e, Load):
                _load(e, loops, times, vector, seen)
            elif e.dtype is not DType.I64:
                operations += _operation(e, times, seen)
    if isinstance(s, Update):
        operations += times * len(s.buffers)
        seen.add("products", times)
    elif isinstance(s, Store):
        seen.add("vector_stores" if vector else "scalar_stores", times)
        if s.buffer.scope is not Scope.REGISTER:
            seen.accesses.append(_Access(s.buffer, s.indices, loops, times, True))
    seen.add("vector_ops" if vector else "scalar_ops", operations)
    if operations >= seen.deepest:
        seen.deepest, seen.hottest = operations, loops


def _operation(x: Expr, times: float, seen: _Seen) -> float:
    match x:
        case Unary(op) if op not in ("neg", "abs"):
            seen.add("functions", times)
            return 12 * times
        case Binary("truediv" | "div" | "floordiv" | "mod", _, _):
            seen.add("divisions", times)
            return 4 * times
        case Select():
            seen.add("comparisons", times)
            return times
        case Binary() | Unary() | Fma() | Dot():
            return times
    return 0.0


def _load(
    x: Load,
    loops: tuple[tuple[str, int, LoopKind], ...],
    times: float,
    vector: str | None,
    seen: _Seen,
) -> None:
    if x.mask is not None:
        seen.add("masked", times)
    if x.buffer.scope is Scope.REGISTER:
        return
    seen.accesses.append(_Access(x.buffer, x.indices, loops, times, False))
    start = [value_of(i, seen.env) for i in x.indices]
    for name, extent, kind in loops:
        # Iterations side by side share what they all load.
        if kind is LoopKind.UNROLLED and extent > 1:
            other = {**seen.env, name: extent - 1}
            if [value_of(i, other) for i in x.indices] == start:
                times /= extent
    if vector is None:
        seen.add("scalar_loads", times)
        return
    beside = {**seen.env, vector: 1}
    steps = [value_of(i, beside) - b for i, b in zip(x.indices, start, strict=True)]
    if not any(steps):
        seen.add("broadcast_loads", times)
    elif not any(steps[:-1]) and steps[-1] == 1:
        seen.add("vector_loads", times)
    else:
        seen.add("gathered_loads", times)


def _traffic(seen: _Seen, target: Target) -> Iterator[float]:
    """Bytes from beyond L1, L2 and L3, different bytes in all, and those of the innermost loops."""
    caches = (target.l1d_bytes, target.l2_bytes or 1 << 18, (target.l3_bytes or 1 << 20))
    merged: dict[tuple[str, tuple[Expr, ...], int], _Access] = {}
    for access in seen.accesses:
        merged.setdefault((access.buffer.name, access.indices, len(access.loops)), access)
    feet = [(a, _footprints(a, seen.env)) for a in merged.values()]
    for cache in caches:
        yield sum(_beyond(a, foot, cache * 0.6) for a, foot in feet)
    yield sum(foot[0] for _, foot in feet)
    yield sum(foot[-1] for _, foot in feet)


def _footprints(a: _Access, env: Mapping[str, int]) -> list[float]:
    """Bytes that the access touches in one iteration of all loops outside of depth d, by d."""
    found = []
    for depth in range(len(a.loops) + 1):
        steps = {name: extent for name, extent, _ in a.loops[depth:]}
        places = [reach(i, steps, env) for i in a.indices]
        if places:
            # Lines are fetched whole.
            line = max(1, 64 // a.buffer.dtype.bytes)
            places[-1] = -(-places[-1] // line) * line if places[-1] > 1 else 1
        found.append(float(math.prod(places) * a.buffer.dtype.bytes))
    return found


def _beyond(a: _Access, foot: Sequence[float], cache: float) -> float:
    """Bytes that come from beyond a cache: what fits is fetched once for each time around it."""
    depth = next((d for d, size in enumerate(foot) if size <= cache), len(foot) - 1)
    outside = math.prod(max(1, extent) for _, extent, _ in a.loops[:depth])
    return foot[depth] * outside


def _estimates(seen: _Seen, traffic: Sequence[float], rounds: float, lanes: int) -> list[float]:
    """Logarithms of how long each part would take by itself, in cycles of a usual core."""
    count = seen.counts.get
    compute = count("vector_ops", 0.0) / 2 + count("scalar_ops", 0.0) / 2
    loads = sum(count(n, 0.0) for n in ("vector_loads", "broadcast_loads", "scalar_loads")) / 2
    loads += count("gathered_loads", 0.0) * lanes
    return [
        slog(compute * rounds),
        slog(loads * rounds),
        traffic[0] - 5.0,
        traffic[1] - 4.0,
        traffic[2] - 2.0,
    ]
