"""Applying a schedule to a kernel, and the fluent form that users write."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable
from dataclasses import field
from typing import Final

from tc.errors import ScheduleError

# Importing the modules enters their primitives.
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.tensor import Placeholder, Tensor
from tc.schedule import (  # noqa: F401  (each import registers primitives)
    agree,
    compute_at,
    hurry,
    kinds,
    layout,
    narrow,
    online,
    pack,
    partial,
    prefetch,
    relax,
    reorder,
    rfactor,
    specialize,
    split,
    stage,
    streams,
    tensorize,
    uniform,
    zigzag,
)
from tc.schedule.legal import check_structure
from tc.schedule.rewrite import PRIMITIVES
from tc.schedule.step import Arg, Schedule, Step

# The last kernels that were scheduled step by step, so that applying the finished schedule to the
# same loops does not do it all again: (kernel, schedule, result).
_RECENT: Final[deque[tuple[Func, Schedule, Func]]] = deque(maxlen=4)


def remember(func: Func, schedule: Schedule, result: Func) -> None:
    """Note what `apply(func, schedule)` gives, for a caller that has found it out by itself."""
    _RECENT.append((func, schedule, result))


def apply(func: Func, schedule: Schedule) -> Func:
    """`func` after all steps; ScheduleError tells which step does not apply and why."""
    for known, steps, result in _RECENT:
        if steps == schedule and (known is func or known == func):
            return result
    for step in schedule.steps:
        func = apply_step(func, step)
    return func


def apply_step(func: Func, step: Step) -> Func:
    """`func` after one step."""
    fn = PRIMITIVES.get(step.name)
    if fn is None:
        known = ", ".join(sorted(PRIMITIVES))
        raise ScheduleError(f"{step}: no primitive {step.name!r}; there are {known}")
    options = dict(step.options)
    signature = _signature(fn)
    try:
        bound = signature.bind(func, *step.args, **options)
    except TypeError as e:
        raise ScheduleError(f"{step}: {e}; it takes {signature}") from None
    for name, value in list(bound.arguments.items())[1:]:
        # The annotations are text: "str" for a name, "int" for a number.
        wanted = str if signature.parameters[name].annotation == "str" else int
        for one in value if isinstance(value, tuple) else (value,):
            if not isinstance(one, wanted):
                kind = "a name" if wanted is str else "an integer"
                raise ScheduleError(f"{step}: {name} is {one!r}, not {kind}; it takes {signature}")
    out = fn(func, *step.args, **options)
    check_structure(step.name, out)
    return out


@functools.cache
def _signature(fn: Callable[..., Func]) -> inspect.Signature:
    return inspect.signature(fn)


@frozen
class Scheduled:
    """Tensors with a schedule for the kernel that computes them; each method adds a step."""

    outputs: tuple[Tensor, ...]
    inputs: tuple[Placeholder, ...] | None = None
    schedule: Schedule = field(default_factory=Schedule)

    def step(self, name: str, *args: Arg, **options: Arg) -> Scheduled:
        """One more step by name."""
        return Scheduled(self.outputs, self.inputs, self.schedule.then(name, *args, **options))

    def split(self, loop: str, factor: int, tail: str = "cut") -> Scheduled:
        return self.step("split", loop, factor, tail=tail)

    def tile(self, rows: str, columns: str, mr: int, nr: int, tail: str = "ragged") -> Scheduled:
        return self.step("tile", rows, columns, mr, nr, tail=tail)

    def fuse(self, outer: str, inner: str, name: str) -> Scheduled:
        return self.step("fuse", outer, inner, name)

    def reorder(self, *names: str) -> Scheduled:
        return self.step("reorder", *names)

    def unroll(self, loop: str, touching: str = "") -> Scheduled:
        return self.step("unroll", loop, **({"touching": touching} if touching else {}))

    def stage(self, acc: str) -> Scheduled:
        return self.step("stage", acc)

    def vectorize(self, loop: str, lanes: int) -> Scheduled:
        return self.step("vectorize", loop, lanes)

    def parallel(self, loop: str) -> Scheduled:
        return self.step("parallel", loop)

    def compute_at(self, buffer: str, loop: str, scope: str = "scratch") -> Scheduled:
        return self.step("compute_at", buffer, loop, scope=scope)

    def inline(self, buffer: str) -> Scheduled:
        return self.step("inline", buffer)

    def cache(
        self,
        buffer: str,
        loop: str,
        swap: int = 0,
        pad: int = 1,
        along: str = "",
        last: int = -1,
        dtype: str = "",
        over: str = "",
        least: int = 1,
    ) -> Scheduled:
        options: dict[str, Arg] = {"along": along} if along else {}
        options |= {"last": last} if last >= 0 else {}
        options |= {"dtype": dtype} if dtype else {}
        options |= {"over": over, "least": least} if over else {}
        return self.step("cache", buffer, loop, swap=swap, pad=pad, **options)

    def pack(
        self, buffer: str, dim: int, factor: int, along: int = -1, group: int = 1
    ) -> Scheduled:
        options: dict[str, Arg] = {"along": along, "group": group} if group > 1 else {}
        return self.step("pack", buffer, dim, factor, **options)

    def tensorize(self, loop: str) -> Scheduled:
        return self.step("tensorize", loop)

    def prefetch(
        self, buffer: str, loop: str, *over: str, lines: int = 1, near: int = 0, rows: int = 0
    ) -> Scheduled:
        given = {"lines": lines if lines > 1 else 0, "near": near, "rows": rows}
        options: dict[str, Arg] = {name: n for name, n in given.items() if n}
        return self.step("prefetch", buffer, loop, *over, **options)

    def hurry(
        self, buffer: str, loop: str, tiles: str, steps: str, rows: str, lines: int, ahead: int
    ) -> Scheduled:
        return self.step("hurry", buffer, loop, tiles, steps, rows, lines, ahead)

    def online(self, loop: str, row: str, column: str, block: int = 0, fused: int = 0) -> Scheduled:
        options: dict[str, Arg] = {"fused": fused} if fused else {}
        return self.step("online", loop, row, column, block=block, **options)

    def narrow(self, loop: str, rows: str) -> Scheduled:
        return self.step("narrow", loop, rows)

    def permute(self, buffer: str, *dims: int) -> Scheduled:
        return self.step("permute", buffer, *dims)

    def relax(self) -> Scheduled:
        return self.step("relax")

    def zigzag(self, loop: str) -> Scheduled:
        return self.step("zigzag", loop)

    def agree(self, loop: str, buffer: str) -> Scheduled:
        return self.step("agree", loop, buffer)

    def uniform(self, loop: str) -> Scheduled:
        return self.step("uniform", loop)

    def rfactor(self, loop: str, lanes: int, rows: int = 1) -> Scheduled:
        return self.step("rfactor", loop, lanes, rows=rows)

    def streams(self, loop: str, count: int, over: str = "") -> Scheduled:
        options: dict[str, Arg] = {"over": over} if over else {}
        return self.step("streams", loop, count, **options)

    def specialize(self, loop: str) -> Scheduled:
        return self.step("specialize", loop)

    def bake(self, symbol: str, value: int) -> Scheduled:
        return self.step("bake", symbol, value)

    @property
    def func(self) -> Func:
        """The loops after all steps."""
        return apply(lower(self.outputs, self.inputs), self.schedule)

    def __str__(self) -> str:
        return str(self.schedule)
