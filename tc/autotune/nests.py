"""How long the innermost loops of a kernel should take, by what a core can do in a cycle.

A nest is what runs inside one and the same serial loops. Its products wait for their units, for
what they load, for the sums that they add to, for room in the front end, and for what finds no
register; the slowest of these is its time, and the nests run one after the other. Adams et al.,
"Learning to optimize Halide" (TOG 2019, section 4), learn such costs on top of counts. This module
must not learn or measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tc.autotune.sizes import moving
from tc.ir.expr import Binary, Dot, Expr, Fma, Load, Select, Unary
from tc.ir.loop import Buffer, LoopKind, Scope, Stmt, Store, Update
from tc.ir.types import DType
from tc.ir.visit import own_exprs, sub_exprs
from tc.target import Target

LATENCY: Final = 4.0  # cycles until a sum can be added to again
UNITS: Final = 2.0  # vectors multiplied in a cycle; loaded, too
FRONT: Final = 5.0  # instructions in a cycle
FUNCTION: Final = 12.0  # operations of an exponential and the like
DIVISION: Final = 8.0  # cycles of a unit

Loops = tuple[tuple[str, int, LoopKind], ...]


@dataclass(slots=True)
class Nest:
    """What runs inside the same serial loops, in vector instructions of one run of the kernel.

    Attributes:
        chain: cycles that sums wait for the ones before.
        steps: iterations of the innermost serial loop.
        live: vectors that want a register at a time.
    """

    products: float = 0.0
    operations: float = 0.0
    loads: float = 0.0
    stores: float = 0.0
    chain: float = 0.0
    steps: float = 0.0
    live: float = 0.0
    updates: float = 0.0

    def spills(self, registers: int) -> float:
        """Values written and read again because there is no register for them."""
        excess = max(0.0, self.live - registers)
        return excess * self.steps * 2 if self.steps else 0.0

    def parts(self, registers: int) -> tuple[float, float, float, float]:
        """Cycles by what may be slowest: units, loads and stores, sums, the front end."""
        spilled = self.spills(registers)
        moved = max((self.loads + spilled / 2) / UNITS, self.stores + spilled / 2)
        issued = self.products + self.operations + self.loads + self.stores + spilled
        units = (self.products + self.operations) / UNITS
        return units, moved, self.chain, (issued + 2 * self.steps) / FRONT


def add_leaf(
    nests: dict[tuple[str, ...], Nest],
    s: Stmt,
    loops: Loops,
    times: float,
    env: Mapping[str, int],
    target: Target,
) -> None:
    """Count a statement that runs `times` times, lanes aside, in the nest that it belongs to."""
    name = tuple(n for n, _, kind in loops if kind in (LoopKind.SERIAL, LoopKind.PARALLEL))
    nest = nests.setdefault(name, Nest())
    unrolled = {n: extent for n, extent, kind in loops if kind is LoopKind.UNROLLED and extent > 1}
    vector = next(((n, extent) for n, extent, kind in loops if kind is LoopKind.VECTOR), None)
    nest.steps = max(nest.steps, times / max(1, math.prod(unrolled.values())))
    wide = 1.0
    if vector is not None:
        bits = max((b.dtype.bits for b in _buffers(s)), default=32)
        wide = max(1.0, vector[1] * bits / max(64, target.vector_bits))
    own = moving(s.indices, unrolled, env) if isinstance(s, Update | Store) else []
    sums = math.prod(unrolled[n] for n in own)
    together: list[float] = []
    for x in own_exprs(s):
        for e in sub_exprs(x):
            if isinstance(e, Load):
                if e.buffer.scope is Scope.REGISTER:
                    continue
                moved = moving(e.indices, unrolled, env)
                count = times / math.prod(n for v, n in unrolled.items() if v not in moved)
                along = vector is not None and bool(moving(e.indices, vector[:1], env))
                nest.loads += count * (wide if along else 1.0)
                together.append(math.prod(unrolled[n] for n in moved if n in own))
            elif e.dtype is not DType.I64:
                nest.operations += times * wide * _cost(e)
    if isinstance(s, Update):
        if any(isinstance(v, Binary) and v.op == "mul" for v in s.values):
            nest.operations -= times * wide  # multiplied and added in one
        nest.products += times * wide * len(s.buffers)
        if s.buffers[0].scope is Scope.REGISTER:
            nest.chain += LATENCY * times / max(1, sums)
            live = sums * len(s.buffers) * wide + (min(together) if together else 0.0) + 1
            if times * wide >= nest.updates:
                nest.updates, nest.live = times * wide, live
    elif isinstance(s, Store) and s.buffer.scope is not Scope.REGISTER:
        nest.stores += times * wide


def _buffers(s: Stmt) -> Sequence[Buffer]:
    if isinstance(s, Update):
        return s.buffers
    return (s.buffer,) if isinstance(s, Store) else ()


def _cost(x: Expr) -> float:
    match x:
        case Unary(op) if op not in ("neg", "abs"):
            return FUNCTION
        case Binary("truediv" | "div" | "floordiv" | "mod", _, _):
            return DIVISION
        case Binary() | Unary() | Fma() | Dot() | Select():
            return 1.0
    return 0.0
