"""A schedule that is being made: each step is applied at once, so that it can be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tc.errors import ScheduleError
from tc.ir.expr import Const, Expr, Var
from tc.ir.interval import bounds
from tc.ir.loop import For, Func
from tc.ir.lower import Lowered
from tc.ir.simplify import simplify
from tc.ir.tensor import Tensor
from tc.schedule.apply import apply_step
from tc.schedule.knobs import Chooser, Knob
from tc.schedule.rewrite import loops
from tc.schedule.step import Arg, Schedule, Step
from tc.target import Target

KEPT: Final = 1024  # steps that are remembered


class Steps:
    """Steps that were applied, so that plans with the same beginning share the work for it."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Step], tuple[Func, Func | ScheduleError]] = {}

    def apply(self, func: Func, step: Step) -> Func:
        """As `apply_step`."""
        key = (id(func), step)  # an entry keeps its kernel alive, and so its identity its own
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            try:
                found = (func, apply_step(func, step))
            except ScheduleError as error:
                found = (func, error)
            self._known[key] = found
        if isinstance(found[1], ScheduleError):
            raise found[1].with_traceback(None)
        return found[1]


class Plan:
    """A kernel, and the steps that made it what it is.

    Attributes:
        family: the kind of workload, once that is known.
    """

    def __init__(
        self,
        lowered: Lowered,
        target: Target,
        choose: Chooser | None = None,
        steps: Steps | None = None,
    ) -> None:
        self.func = lowered.func
        self.target = target
        self.schedule = Schedule()
        self.family = ""
        self._lowered = lowered
        self._choose = choose
        self._apply = apply_step if steps is None else steps.apply
        self._picked: dict[str, int] = {}

    def pick(self, name: str, default: int, others: Iterable[int] = ()) -> int:
        """Decide on a number, which is `default` unless somebody chooses one of `others`.

        A decision that is asked for again stands, where its value is still among these.
        """
        knob = Knob(name, default, tuple(dict.fromkeys((default, *others))))
        value = self._picked.get(name)
        if value is None or value not in knob.values:
            value = default if self._choose is None else self._choose(knob)
            self._picked[name] = value
        return value

    def do(self, name: str, *args: Arg, **options: Arg) -> None:
        """Apply one step."""
        schedule = self.schedule.then(name, *args, **options)
        self.func = self._apply(self.func, schedule.steps[-1])
        self.schedule = schedule

    def attempt(self, name: str, *args: Arg, **options: Arg) -> bool:
        """Apply one step where it is legal; whether it was."""
        try:
            self.do(name, *args, **options)
        except ScheduleError:
            return False
        return True

    def loop_of(self, t: Tensor, axis: Var) -> str:
        """The loop over an axis of a tensor, as lowering called it."""
        return self._lowered.loops[t.name, axis.name]

    def loops_of(self, t: Tensor, axes: Sequence[Var]) -> list[str]:
        return [self.loop_of(t, v) for v in axes]

    def buffer_of(self, t: Tensor) -> str:
        """The buffer that holds a tensor."""
        return self._lowered.buffers[t.name]

    def loop(self, name: str) -> For | None:
        """The first loop of that name, if there still is one."""
        return next((x for x in loops(self.func.body) if x.var.name == name), None)

    def has(self, name: str) -> bool:
        return self.loop(name) is not None

    def extent(self, name: str) -> Expr:
        x = self.loop(name)
        return Const(1) if x is None else simplify(x.extent)

    def fuse_all(self, names: list[str], name: str) -> str | None:
        """One loop made of perfectly nested ones; None if there is none."""
        if not names:
            return None
        first = names[0]
        for n, inner in enumerate(names[1:]):
            fused = name if n == len(names) - 2 else f"{name}{n}_"
            self.do("fuse", first, inner, fused)
            first = fused
        return first

    def lanes(self, bits: int = 32) -> int:
        return max(1, self.target.vector_lanes(bits))

    def vectorize(self, name: str, bits: int = 32) -> None:
        """Put a map's loop in lanes where it is long enough to be worth it."""
        hi = longest(self.extent(name))
        if self.has(name) and (hi is None or hi > 1):
            self.do("vectorize", name, narrowed(self.lanes(bits), hi))

    def vectorize_map(self, name: str, bits: int = 32, most: int = 1) -> None:
        """As `vectorize`, for a loop that nothing else refers to: up to `most` vectors at once."""
        hi = longest(self.extent(name))
        lanes = narrowed(self.lanes(bits), hi)
        counts = [n for n in (2, 4) if self.has(name) and (hi is None or hi >= 2 * n * lanes)]
        count = self.pick("unroll", max((n for n in counts if n <= most), default=1), (1, *counts))
        if count == 1 or count not in counts:
            self.vectorize(name, bits)
            return
        self.do("split", name, lanes * count, tail="cut")
        for part in (name + "1", name + "t"):
            if self.has(part):
                self.vectorize(part, bits)
        if self.has(name + "1"):
            self.do("unroll", name + "1")

    def divide(self, names: Sequence[str]) -> None:
        """Contiguous shares of a loop nest for the threads, as deep as it is perfectly nested."""
        before: For | None = None
        for name in names:
            x = self.loop(name)
            if x is None or (before is not None and before.body is not x):
                return
            self.do("parallel", name)
            before = self.loop(name)


def narrowed(lanes: int, hi: int | None) -> int:
    """Lanes for a loop of at most `hi` iterations: no more than the power of two above it."""
    if hi is None or hi >= lanes:
        return lanes
    return 1 << (hi - 1).bit_length()


def longest(x: Expr) -> int | None:
    """The greatest value of an extent, if it is bounded."""
    return bounds(x).hi


def fixed(x: Expr) -> int | None:
    """The value of a constant extent."""
    x = simplify(x)
    return int(x.value) if isinstance(x, Const) else None
