"""What the cost model sees of a candidate: numbers of its scheduled loops, and of the device.

Counts go as log2(1 + x), so that a kernel of any size is told by a few doublings; what is done is
weighed by how often. For each cache there is an estimate of the bytes that come from beyond it:
the outermost loop whose data fit it, times how often that loop begins. Zheng et al., "Ansor"
(OSDI 2020, appendix B), and Adams et al., "Learning to optimize Halide" (TOG 2019, section 4),
count the like. This module must not learn or measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tc.autotune.nests import Nest, add_leaf
from tc.autotune.rows import TargetRow
from tc.autotune.sizes import moving, value_of
from tc.autotune.streams import Fetch, Streams
from tc.autotune.traffic import Access, Traffic
from tc.frozen import frozen
from tc.ir.expr import Binary, Dot, Expr, Fma, Load, Select, Unary, Var
from tc.ir.loop import (
    Alloc,
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

LAYOUT: Final = 4  # of the list of features: those of another one are not comparable
L1_BYTES: Final = 32.0  # a cycle from the cache behind the first
L2_BYTES: Final = 12.0  # and from the one behind that
RARE: Final = 0.01  # of a branch that is for ends and for single rows, beside the usual one


@dataclass(slots=True)
class _Seen:
    """What a walk over the loops collects."""

    env: dict[str, int]
    target: Target
    accesses: list[Access] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    parallel: int = 1
    chunks: int = 1
    bodies: int = 0
    deepest: float = 0.0
    hottest: tuple[tuple[str, int, LoopKind], ...] = ()
    registers: int = 0
    nests: dict[tuple[str, ...], Nest] = field(default_factory=dict)

    def add(self, name: str, amount: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + amount


_COUNTED: Final = (
    "vector_ops", "scalar_ops", "products", "divisions", "functions", "comparisons", "vector_loads",
    "broadcast_loads", "gathered_loads", "scalar_loads", "vector_stores", "scalar_stores",
    "masked", "prefetches", "loop_steps", "ifs", "scratch_bytes",
)  # fmt: skip


@frozen
class Work:
    """What a call of a workload has to do, whatever the schedule: operations, bytes, and whether
    its constants come from memory."""

    flops: float
    bytes: float
    cold: bool = False


def features(
    func: Func,
    sizes: Mapping[str, int],
    target: Target,
    threads: int,
    device: Sequence[float],
    work: Work,
) -> list[float]:
    """The numbers of a scheduled kernel at sizes of its symbols; `device` are those of the device.

    The list is as long for every kernel, see `NAMES`.
    """
    seen = _Seen(dict(sizes), target)
    _walk(func.body, (), 1.0, seen)
    done = sum(seen.counts.get(n, 0.0) for n in ("vector_ops", "scalar_ops")) or 1.0
    counts = [slog(seen.counts.get(name, 0.0)) for name in _COUNTED]
    shares = [seen.counts.get(name, 0.0) / done for name in _COUNTED]
    inner = [extent for _, extent, kind in seen.hottest if kind is LoopKind.UNROLLED]
    rounds = -(-seen.parallel // threads) * threads / max(seen.parallel, 1)
    lanes = max((e for _, e, kind in seen.hottest if kind is LoopKind.VECTOR), default=1)
    register_lanes = max(1, target.vector_lanes(32))
    pressure = seen.registers / register_lanes / target.vector_registers
    serial = [extent for _, extent, kind in seen.hottest if kind is LoopKind.SERIAL]
    shape = [
        slog(done),
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
    moved = Traffic(seen.accesses, seen.env, target)
    traffic = [slog(x) for x in (*moved.beyond, *moved.alone, moved.unique, moved.inner)]
    ways = Streams.of(moved.reads, seen.fetches, seen.env)
    estimate = _estimates(seen, moved, rounds / threads, work, device)
    return [
        *counts,
        *shares,
        *shape,
        *traffic,
        slog(moved.alike),
        ways.places,
        ways.run,
        ways.gap,
        ways.ahead,
        ways.fetched,
        *estimate,
        float(work.cold),
        *device,
    ]


_SHAPE: Final = (
    "work", "parallel", "rounds", "bodies", "unrolled", "unrolled_loops", "inner_steps",
    "serial_steps", "lanes", "pressure", "spill", "registers",
)  # fmt: skip
_ESTIMATES: Final = (
    "units", "moves", "chains", "front", "core", "l1", "l2", "memory", "slowest", "sum",
    "products_done", "spilled", "live", "l1_per_byte", "l2_per_byte", "l3_per_byte",
)  # fmt: skip
_DEVICE: Final = (
    "device_lanes", "device_registers", "device_l1", "device_l2", "device_l3", "device_threads",
    "device_peak", "device_bandwidth", "device_balance",
)  # fmt: skip
NAMES: Final = (
    *_COUNTED,
    *(f"{name}_share" for name in _COUNTED),
    *_SHAPE,
    "l1_traffic", "l2_traffic", "l3_traffic", "l1_alone", "l2_alone", "l3_alone",
    "unique_bytes", "inner_bytes", "alike",
    "places", "run", "gap", "ahead", "fetched",
    *_ESTIMATES, "cold",
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


def _settled(cond: Expr, loops: set[str], env: Mapping[str, int]) -> bool:
    """Whether a condition is false whatever the iteration."""
    if isinstance(cond, Binary) and cond.op == "and":
        return any(_settled(x, loops, env) for x in (cond.a, cond.b))
    moves = any(isinstance(x, Var) and x.name in loops for x in sub_exprs(cond))
    return not moves and not value_of(cond, env)


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
                if _settled(cond, {name for name, _, _ in loops}, seen.env):
                    rare = None
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
        case Prefetch(buffer, indices):
            seen.add("prefetches", times)
            seen.fetches.append(Fetch(buffer, indices, times))
        case _:
            _leaf(s, loops, times, seen)


def _leaf(s: Stmt, loops: tuple[tuple[str, int, LoopKind], ...], times: float, seen: _Seen) -> None:
    add_leaf(seen.nests, s, loops, times, seen.env, seen.target)
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
            seen.accesses.append(Access(s.buffer, s.indices, loops, times, True))
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
    seen.accesses.append(Access(x.buffer, x.indices, loops, times, False))
    unrolled = {n: e for n, e, kind in loops if kind is LoopKind.UNROLLED and e > 1}
    moved = moving(x.indices, unrolled, seen.env)
    times /= math.prod(
        e for n, e in unrolled.items() if n not in moved
    )  # which share what is there
    if vector is None:
        seen.add("scalar_loads", times)
        return
    start = [value_of(i, seen.env) for i in x.indices]
    beside = {**seen.env, vector: 1}
    steps = [value_of(i, beside) - b for i, b in zip(x.indices, start, strict=True)]
    if not any(steps):
        seen.add("broadcast_loads", times)
    elif not any(steps[:-1]) and steps[-1] == 1:
        seen.add("vector_loads", times)
    else:
        seen.add("gathered_loads", times)


def _estimates(
    seen: _Seen, moved: Traffic, share: float, work: Work, device: Sequence[float]
) -> list[float]:
    """How much longer than it has to be each part takes by itself, as logarithms."""
    target = seen.target
    lanes, registers = max(1, target.vector_lanes(32)), target.vector_registers
    peak, bandwidth = device[-3] or 4.0 * lanes * 3, device[-2] or 20.0
    clock = peak / (4.0 * lanes)  # GHz, of two units that multiply and add
    parts = [nest.parts(registers) for nest in seen.nests.values()]
    core = [sum(column) * share for column in zip(*parts, strict=True)] or [0.0] * 4
    busy = sum(max(each) for each in parts) * share
    near = [moved.beyond[0] / L1_BYTES * share, moved.beyond[1] / L2_BYTES * share]
    constant = work.bytes if work.cold else 0.0
    memory = max(moved.beyond[2], constant) / (bandwidth / clock) * max(share, 0.5)
    least = max(
        work.flops / (4.0 * lanes) / max(1.0, device[5]), work.bytes / (bandwidth / clock) / 2, 1.0
    )
    times = [*core, busy, *near, memory]
    slowest, all_ = max(busy, *near, memory), busy + sum(near) + memory
    spilled = sum(nest.spills(registers) for nest in seen.nests.values()) * share
    hottest = max(seen.nests.values(), key=lambda n: n.products + n.operations, default=Nest())
    done = sum(n.products + n.operations for n in seen.nests.values()) * 2 * lanes
    return [
        *(relative(x, least) for x in (*times, slowest, all_)),
        relative(done, max(work.flops, 1.0)),
        relative(spilled, least),
        hottest.live / registers,
        *(relative(x, max(work.bytes, 1.0)) for x in moved.beyond),
    ]


def relative(x: float, least: float) -> float:
    """log2 of x over the least, from -8 on."""
    return max(-8.0, math.log2(max(x, 1e-9) / least))
