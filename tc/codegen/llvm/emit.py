"""One kernel to LLVM text: statements, loops and the division of work between threads.

Takes flat vector IR (what `tc.ir.passes` gives). Every thread calls the kernel; a PARALLEL loop
gives each a contiguous range, and a kernel without one runs on thread 0 alone. The text holds no
triple or layout, so that it depends on nothing but the kernel and `Hardware`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tc.codegen.func import has_parallel
from tc.codegen.llvm import memory
from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.counters import Counter
from tc.codegen.llvm.hardware import PLAIN, Hardware
from tc.codegen.llvm.values import Values
from tc.codegen.statements import Inside, Statements, parallel_nest
from tc.frozen import frozen
from tc.ir.expr import Var
from tc.ir.interval import Bounds
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Scope,
    Stmt,
    Store,
)
from tc.ir.passes.place_scratch import ALIGN, buffer_bytes
from tc.ir.visit import sub_stmts

_Action: TypeAlias = Callable[[], None]


@frozen
class KernelText:
    """The LLVM module of one kernel, before its messages are numbered among those of a program.

    Attributes:
        text: the module, with "<message n>" for the number of the n-th of `messages`.
        messages: what a failing Assert of the kernel can report.
    """

    text: str
    messages: tuple[str, ...]

    def module(self, numbers: Mapping[str, int]) -> str:
        """The module; `numbers`: what the error word is to be for each message."""
        text = self.text
        for n, message in enumerate(self.messages):
            text = text.replace(f"<message {n}>", str(numbers[message]))
        return text


def emit_kernel(func: Func, symbol: str, hardware: Hardware = PLAIN) -> KernelText:
    """The text of `func` under the name `symbol`.

    Args:
        func: flat vector IR.
        symbol: the name of the machine function.
        hardware: the special instructions of the target.
    """
    return _Kernel(func, hardware).text(symbol)


class _Kernel(Statements):
    def __init__(self, func: Func, hardware: Hardware) -> None:
        self.b = Builder()
        self.values = Values(self.b, hardware)
        super().__init__(func, self.values, hardware.lane_registers)

    def text(self, symbol: str) -> KernelText:
        for p in self.func.params:
            self.values.pointers[p.name], self.values.aligns[p.name] = f"%p.{p.name}", p.align
        if has_parallel(self.func.body):
            self.spmd(self.func.body)
        else:
            self.alone(self.func.body)
        self.b.do("ret void")
        params = [self._param(p) for p in self.func.params]
        params += [f"i64 %s.{s.name}" for s in self.func.symbols]
        params += ["i64 %tc.tid", "i64 %tc.threads", "ptr noalias %tc.scratch", "ptr %tc.error"]
        head = f"define void @{symbol}({', '.join(params)}) nounwind {{"
        zero = f"{memory.ZERO} = private unnamed_addr constant [64 x i8] zeroinitializer, align 64"
        parts = [zero, *self.b.literals, *sorted(self.b.declared), head, self.b.text(), "}\n"]
        return KernelText("\n".join(parts), self.messages)

    def _param(self, p: Buffer) -> str:
        attributes = "noalias readonly " if p.name in self.shared else ""
        return f"ptr {attributes}align {p.align} %p.{p.name}"

    # --- the division of work

    def alone(self, s: Stmt) -> None:
        """A kernel without a parallel loop: thread 0 does it."""
        first = self.b.ins("icmp eq i64 %tc.tid, 0")
        self.guarded(first, lambda: self.stmt(s), None)

    def parallel_loop(self, s: For) -> None:
        """This thread's range of the iterations; perfectly nested parallel loops are one loop."""
        b = self.b
        nest = parallel_nest(s)
        extent = s.extent
        for x in nest[1:]:
            extent = extent * x.extent
        name = "+".join(x.var.name for x in nest)
        flat = For(Var(name), extent, LoopKind.PARALLEL, nest[-1].body)
        if len(nest) == 1:
            flat = s
        n = self.values(extent)
        ends = []
        for which in ("%tc.tid", b.ins("add i64 %tc.tid, 1")):
            ends.append(b.ins(f"udiv i64 {b.ins(f'mul i64 {n}, {which}')}, %tc.threads"))
        inside = None if len(nest) == 1 else lambda: self.unflatten(flat.var, nest)
        self.loop(flat, ends[0], ends[1], False, inside)

    def unflatten(self, flat: Var, nest: list[For]) -> None:
        """The variables of the loops that `flat` runs over, and their body."""
        b, v = self.b, self.values
        rest = v.names[flat]
        for x in reversed(nest[1:]):
            n = v(x.extent)
            v.names[x.var] = b.ins(f"urem i64 {rest}, {n}")
            rest = b.ins(f"udiv i64 {rest}, {n}")
        v.names[nest[0].var] = rest
        env = dict(v.ranges[-1].env)
        for x in nest:
            v.depth[x.var] = len(b.scopes) - 1
            env[x.var] = self.values_of(x)
        v.ranges.append(Bounds(env))
        self.stmt(nest[-1].body)
        v.ranges.pop()

    # --- statements

    def store(self, s: Store) -> None:
        mask = s.mask
        if mask is not None and s.indices[0].lanes == 1:
            plain = Store(s.buffer, s.indices, s.value)
            cond = self.values(memory.scalar_mask(mask))
            self.guarded(cond, lambda: memory.store(self.values, plain), None)
        else:
            memory.store(self.values, s)

    def serial_loop(self, s: For) -> None:
        extent = self.values.range(s.extent)
        if extent.hi is not None and extent.hi <= 0:
            return
        n = self.values(s.extent)
        if extent.value == 1:
            self.values.names[s.var] = "0"
            self.values.depth[s.var] = len(self.b.scopes) - 1
            self.stmt(s.body)
            return
        self.loop(s, "0", n, extent.lo is not None and extent.lo >= 1)

    def loop(
        self, s: For, first: str, end: str, runs: bool, inside: Callable[[], None] | None = None
    ) -> None:
        """for var in [first, end); `runs`: at least once. `inside` emits another body."""
        b, v = self.b, self.values
        before = b.prepare()
        name = b.name("")
        if runs:
            b.do(f"br label %head{name}")
        else:
            some = b.ins(f"icmp slt i64 {first}, {end}")
            b.do(f"br i1 {some}, label %head{name}, label %exit{name}")
        b.label(f"head{name}")
        header = b.prepare()
        b.do(f"br label %body{name}")
        b.push(before, header, self.written(s.body))
        b.scopes[-1].innermost = _is_innermost(s)
        b.label(f"body{name}")
        var, step = f"%i{name}", f"%n{name}"
        b.do(f"{var} = phi i64 [ {first}, %head{name} ], [ {step}, %next{name} ]")
        counter = Counter(name, first, header)
        b.out.append(counter.phis)
        if not v.hardware.short_literals and b.scopes[-1].innermost:
            v.counters[s.var] = counter
        v.names[s.var], v.depth[s.var] = var, len(b.scopes) - 1
        v.ranges.append(Bounds({**v.ranges[-1].env, s.var: self.values_of(s)}))
        if inside is None:
            self.stmt(s.body)
        else:
            inside()
        v.ranges.pop()
        b.do(f"br label %next{name}")
        b.label(f"next{name}")
        b.out.append(counter.steps)
        b.do(f"{step} = add nuw nsw i64 {var}, 1")
        more = counter.goes_on(b, step, end)
        b.do(f"br i1 {more}, label %body{name}, label %exit{name}")
        b.pop()
        b.label(f"exit{name}")

    def branch(self, s: If, inside: Inside) -> None:
        other = s.other
        no = None if other is None else lambda: inside(other)
        self.guarded(self.values(s.cond), lambda: inside(s.then), no)

    def guarded(self, cond: str, then: _Action, other: _Action | None) -> None:
        """`then` where the i1 `cond` is true, else `other`."""
        b = self.b
        before = b.prepare()
        name = b.name("")
        no = f"exit{name}" if other is None else f"else{name}"
        b.do(f"br i1 {cond}, label %then{name}, label %{no}")
        for label, action in ((f"then{name}", then), (no, other)):
            if action is not None:
                b.push(before)
                b.label(label)
                action()
                b.do(f"br label %exit{name}")
                b.pop()
        b.label(f"exit{name}")

    def alloc(self, s: Alloc, inside: Inside) -> None:
        buffer, v = s.buffer, self.values
        if buffer.scope is not Scope.SCRATCH:
            memory.place(v, buffer)
            inside(s.body)
            return
        at = self.scratch
        # The place depends on symbols alone; in front of all loops every use can see it.
        here, self.b.out = self.b.out, self.b.place(0)
        offset = v(at)
        pointer = "%tc.scratch"
        if offset != "0":
            pointer = self.b.ins(f"getelementptr i8, ptr {pointer}, i64 {offset}")
        self.b.out = here
        v.pointers[buffer.name], v.aligns[buffer.name] = pointer, ALIGN
        self.scratch = at + buffer_bytes(buffer)
        inside(s.body)
        self.scratch = at

    def prefetch(self, s: Prefetch) -> None:
        (index,) = s.indices
        memory.prefetch(self.values, s.buffer, index, s.near)

    def check(self, s: Assert) -> None:
        number = f"<message {self.messages.index(s.message)}>"
        failed = self.b.ins(f"xor i1 {self.values(s.cond)}, true")
        # Where several fail, the first is told.
        report = f"cmpxchg ptr %tc.error, i32 0, i32 {number} monotonic monotonic, align 4"
        self.guarded(failed, lambda: self.b.do(f"%{self.b.name()} = {report}"), None)


def _is_innermost(s: For) -> bool:
    return not any(isinstance(x, For) for x in sub_stmts(s.body))
