"""The walk over the statements of a kernel that both code generators make.

Which statements there may be where, and what they mean for the values around them, stands here
once; what each becomes is a language's to say. This module must not know any language.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from tc.codegen.func import has_parallel, independent_inputs, messages_of
from tc.codegen.placement import Placement
from tc.codegen.runs import runs
from tc.errors import InternalError
from tc.ir.expr import Const, Expr
from tc.ir.interval import Interval
from tc.ir.loop import Alloc, Assert, For, Func, If, LoopKind, Prefetch, Seq, Stmt, Store
from tc.ir.visit import sub_stmts

Inside: TypeAlias = Callable[[Stmt], None]


class Statements(ABC):
    """Emits the statements of `func`, flat vector IR.

    Attributes:
        messages: what a failing Assert can report.
        scratch: where in the scratch memory of a thread the next buffer begins.
        shared: inputs that overlap no output.
    """

    def __init__(self, func: Func, values: Placement[Any], lane_registers: int = 0) -> None:
        """`lane_registers`: of a target whose instructions multiply by a lane, see `runs`."""
        self.func = func
        self.messages = messages_of((func,))
        self.scratch: Expr = Const(0)
        self.shared = independent_inputs(func)
        self._values = values
        self._lane_registers = lane_registers

    # --- what a language says

    @abstractmethod
    def parallel_loop(self, s: For) -> None:
        """This thread's range of the iterations; perfectly nested parallel loops are one loop."""

    @abstractmethod
    def serial_loop(self, s: For) -> None:
        """All iterations, one after the other."""

    @abstractmethod
    def store(self, s: Store) -> None:
        """A store, whatever its lanes and its mask."""

    @abstractmethod
    def branch(self, s: If, inside: Inside) -> None:
        """Either side, of which `inside` emits the statements."""

    @abstractmethod
    def alloc(self, s: Alloc, inside: Inside) -> None:
        """A buffer, and what it is for."""

    @abstractmethod
    def check(self, s: Assert) -> None:
        """A report where the condition is false."""

    @abstractmethod
    def prefetch(self, s: Prefetch) -> None:
        """A hint, where the target has it."""

    # --- the walk

    def spmd(self, s: Stmt) -> None:
        """Statements around the parallel loop, which every thread runs."""
        match s:
            case For(kind=LoopKind.PARALLEL):
                self.parallel_loop(s)
            case Seq(body):
                if sum(has_parallel(b) for b in body) > 1:
                    raise InternalError(
                        f"emit: {self.func.name} has several parallel loops in a row, with no "
                        "barrier between them: make it several kernels"
                    )
                for b in body:
                    self.spmd(b)
            case Alloc():
                self.alloc(s, self.spmd)
            case If():
                self.branch(s, self.spmd)
            case Assert() | Seq(()):
                self.stmt(s)
            case _:
                raise InternalError(
                    f"emit: {type(s).__name__} beside the parallel loop of {self.func.name}: no "
                    "other thread would wait for it"
                )

    def stmt(self, s: Stmt) -> None:
        """A statement that one thread runs."""
        match s:
            case Store():
                self.store(s)
            case Seq():
                self._sequence(s)
            case For(kind=LoopKind.SERIAL):
                self.serial_loop(s)
            case If():
                self.branch(s, self.stmt)
            case Alloc():
                self.alloc(s, self.stmt)
            case Assert():
                self.check(s)
            case Prefetch():
                self.prefetch(s)
            case For(var, _, kind, _):
                raise InternalError(f"emit: {kind.value} loop {var.name} in {self.func.name}")
            case _:
                raise InternalError(f"emit: {type(s).__name__} is not part of flat vector IR")

    def _sequence(self, s: Seq) -> None:
        v = self._values
        around = v.runs
        if self._lane_registers:
            v.runs = {**around, **runs(s, self._lane_registers)}
        self.sequence(s.body)
        v.runs = around

    def sequence(self, body: tuple[Stmt, ...]) -> None:
        """Statements that follow each other, of which a language may write several as one."""
        for x in body:
            self.stmt(x)

    def values_of(self, s: For) -> Interval:
        """What the variable of a loop lies in."""
        hi = self._values.range(s.extent).hi
        return Interval(0, None if hi is None else hi - 1)

    def written(self, s: Stmt) -> frozenset[str]:
        """The names of the buffers that `s` may write, under every name that they may have."""
        return self.aliases({x.buffer.name for x in sub_stmts(s) if isinstance(x, Store)})

    def aliases(self, names: set[str]) -> frozenset[str]:
        """The buffers that may lie where those of these names lie."""
        if not names.isdisjoint(self.func.outputs):
            names = names | {p.name for p in self.func.params if p.name not in self.shared}
        return frozenset(names)


def parallel_nest(s: For) -> list[For]:
    """A parallel loop and those that are perfectly nested in it, outermost first."""
    nest, body = [s], s.body
    while isinstance(body, For) and body.kind is LoopKind.PARALLEL:
        nest.append(body)
        body = body.body
    return nest
