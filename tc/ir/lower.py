"""Tensor expressions to loops: one obvious nest per tensor, to be scheduled afterwards.

Names become deterministic here: inputs are p0, p1, …, what is computed t0, t1, … and the
outputs out0, out1, …, so that equal expressions give equal text whoever built them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from tc.errors import InternalError
from tc.frozen import frozen
from tc.ir.expr import (
    Binary,
    Const,
    Expr,
    Load,
    Reduce,
    Sym,
    Var,
    binary,
)
from tc.ir.facts import Facts
from tc.ir.interval import Interval, bounds
from tc.ir.loop import Alloc, Assert, Buffer, Func, Scope, Stmt, Store, Update, seq
from tc.ir.lower_reads import Reads, message
from tc.ir.lower_reductions import Elements, in_loops, loops
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import bodies, topological
from tc.ir.visit import map_expr, sub_exprs, substitute


@frozen
class Lowered:
    """Naive loops, and how tensors and axes of the expression are called in them.

    `loops` maps (tensor, axis) to a loop, `buffers` tensors to buffers.
    """

    func: Func
    loops: Mapping[tuple[str, str], str]
    buffers: Mapping[str, str]


def lower(
    outputs: Sequence[Tensor], inputs: Sequence[Placeholder] | None = None, name: str = "kernel"
) -> Func:
    """The naive loops of `outputs`.

    Parameters are the inputs (in the given order, else that of first use), then the outputs, but
    for those that are written in place. Tensors between them are scratch buffers of full size.
    """
    return lower_named(outputs, inputs, name).func


def lower_named(
    outputs: Sequence[Tensor], inputs: Sequence[Placeholder] | None = None, name: str = "kernel"
) -> Lowered:
    """As `lower`, with the names that were given."""
    order = topological(outputs)
    found = [t for t in order if isinstance(t, Placeholder)]
    given = found if inputs is None else list(inputs)
    _check(outputs, found, given)
    lowering = _Lowering(order, tuple(outputs), given)
    func = lowering.func(name)
    buffers = {t: b.name for t, b in lowering.buffers.items()}
    return Lowered(func, lowering.loops, buffers)


def _check(
    outputs: Sequence[Tensor], read: Sequence[Placeholder], given: Sequence[Placeholder]
) -> None:
    names = [t.name for t in outputs]
    for t in outputs:
        if isinstance(t, Placeholder):
            raise InternalError(f"lower: output {t.name} is an input; copy it with a compute")
        if names.count(t.name) > 1:
            raise InternalError(f"lower: {t.name} stands twice among the outputs")
        if is_in_place(t) and not isinstance(t.base, Placeholder):
            raise InternalError(f"lower: {t.name} is to be written in place, but not to an input")
    for p in read:
        if p not in given:
            raise InternalError(f"lower: {p.name} is read, but is not among the inputs")


@dataclass
class _Lowering:
    order: list[Tensor]
    outputs: tuple[Tensor, ...]
    inputs: list[Placeholder]
    buffers: dict[str, Buffer] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    loops: dict[tuple[str, str], str] = field(default_factory=dict)
    ranges: dict[Var, Interval] = field(default_factory=dict)
    reads: Reads = field(init=False)

    def __post_init__(self) -> None:
        self.reads = Reads(self.buffers, self.ranges)

    def func(self, name: str) -> Func:
        for n, p in enumerate(self.inputs):
            self.buffers[p.name] = Buffer(f"p{n}", p.shape, p.dtype)
        for n, t in enumerate(self.outputs):
            own = Buffer(f"out{n}", t.shape, t.dtype)
            self.buffers[t.name] = self.buffers[t.base.name] if is_in_place(t) else own
        inner = [
            t for t in self.order if t.name not in self.buffers and not isinstance(t, Placeholder)
        ]
        for n, t in enumerate(inner):
            self.buffers[t.name] = Buffer(f"t{n}", t.shape, t.dtype, Scope.SCRATCH)
        self.taken = {b.name for b in self.buffers.values()}
        self._take_symbols()
        # Output axes keep their plain names, so they are numbered first.
        axes = {t.name: self._rename_axes(t) for t in (*self.outputs, *inner)}
        computed = [t for t in self.order if not isinstance(t, Placeholder)]
        body = seq(*[self._nest(t, axes[t.name]) for t in computed])
        for t in reversed(inner):
            body = Alloc(self.buffers[t.name], body)
        fresh = [t for t in self.outputs if not is_in_place(t)]
        params = [self.buffers[t.name] for t in (*self.inputs, *fresh)]
        outs = tuple(self.buffers[t.name].name for t in self.outputs)
        return Func(name, tuple(params), self.symbols, outs, body)

    @property
    def symbols(self) -> tuple[Sym, ...]:
        found: dict[str, Sym] = {}
        for t in (*self.order, *self.inputs):
            extents = t.extents if isinstance(t, Scatter) else ()
            for x in (*t.shape, *extents, *bodies(t)):
                for n in sub_exprs(x):
                    if isinstance(n, Sym) and found.setdefault(n.name, n) != n:
                        raise InternalError(f"lower: symbol {n.name} has two sets of bounds")
        return tuple(found[n] for n in sorted(found))

    def _take_symbols(self) -> None:
        self.taken |= {s.name for s in self.symbols}

    def _rename_axes(self, t: Tensor) -> dict[Var, Expr]:
        env: dict[Var, Expr] = {}
        axes = () if isinstance(t, Placeholder) else t.axes  # type: ignore[attr-defined]
        for v in axes:
            env[v] = Var(self._unique(v.name))
        for body in bodies(t):
            for x in sub_exprs(body):
                if isinstance(x, Reduce):
                    for v in x.axes:
                        if v not in env:
                            env[v] = Var(self._unique(v.name))
        for old, new in env.items():
            assert isinstance(new, Var)
            self.loops[t.name, old.name] = new.name
        for old, extent in _extents(t):
            new, most = env[old], bounds(extent).hi
            assert isinstance(new, Var)
            self.ranges[new] = Interval(0, None if most is None else max(most - 1, 0))
        return env

    def _unique(self, name: str) -> str:
        """The name without the number that `te` gave it, or the next free one like it."""
        base = re.sub(r"_\d+$", "", name)
        candidate, n = base, 0
        while candidate in self.taken:
            n += 1
            candidate = f"{base}_{n}"
        self.taken.add(candidate)
        return candidate

    def _nest(self, t: Tensor, env: Mapping[Var, Expr]) -> Stmt:
        out = self.buffers[t.name]
        match t:
            case Compute(axes=axes, shape=shape, body=body, message=told):
                index = _axes(axes, env)

                def write(v: Expr) -> Stmt:
                    return seq(*([Assert(v, told)] if told else ()), Store(out, index, v))

                facts = in_loops(Facts(), index, shape)
                inner = self._elements(out).element(_rename(body, env), facts, write)
                return loops(index, shape, inner)
            case Scan(axes=axes):
                return self._scan(t, _axes(axes, env), env)
            case Scatter(axes=axes):
                return self._scatter(t, _axes(axes, env), env)
        raise InternalError(f"lower: {type(t).__name__} is no tensor that can be computed")

    def _elements(self, out: Buffer) -> Elements:
        return Elements(self.reads, self._unique, out.name)

    def _scan(self, t: Scan, index: tuple[Var, ...], env: Mapping[Var, Expr]) -> Stmt:
        out = self.buffers[t.name]
        acc = Buffer(self._unique(f"{out.name}_acc"), (), t.dtype, Scope.REGISTER)
        step = self._elements(out).element(
            _rename(t.value, env),
            in_loops(Facts(), index, t.shape),
            lambda v: Update(t.monoid, (acc,), (), (v,)),
        )
        body = seq(step, Store(out, index, Load(acc, ())))
        along = loops((index[t.dim],), (t.shape[t.dim],), body)
        outer = [n for n in range(len(index)) if n != t.dim]
        start = Store(acc, (), t.monoid.identity[0])
        return loops(
            tuple(index[n] for n in outer),
            tuple(t.shape[n] for n in outer),
            Alloc(acc, seq(start, along)),
        )

    def _scatter(self, t: Scatter, axes: tuple[Var, ...], env: Mapping[Var, Expr]) -> Stmt:
        out, base = self.buffers[t.name], self.buffers[t.base.name]
        copy: Stmt = seq()
        if not t.in_place:
            copy_axes = tuple(Var(self._unique(f"c{n}")) for n in range(len(t.shape)))
            copy = loops(copy_axes, t.shape, Store(out, copy_axes, Load(base, copy_axes)))
        index = tuple(self.reads.loads(_rename(i, env), []) for i in t.indices)
        mask = None if t.mask is None else self.reads.loads(_rename(t.mask, env), [])
        checks = _in_range(index, t.shape)
        guard = mask
        for c in checks:
            guard = c if guard is None else binary("and", guard, c)

        def write(value: Expr) -> Stmt:
            if t.monoid is not None:
                left, right = t.monoid.left[0], t.monoid.right[0]
                value = substitute(
                    t.monoid.combine[0], {left: Load(out, index, guard), right: value}
                )
            return Store(out, index, value, guard)

        facts = in_loops(Facts(), axes, t.extents)
        body = self._elements(out).element(_rename(t.value, env), facts, write)
        asserts = [
            Assert(c if mask is None else ~mask | c, message(out, dim))
            for dim, c in enumerate(checks)
        ]
        return seq(copy, loops(axes, t.extents, seq(*asserts, body)))


def is_in_place(t: Tensor) -> TypeGuard[Scatter]:
    """Whether a tensor is computed into the memory of one of its operands."""
    return isinstance(t, Scatter) and t.in_place


def _extents(t: Tensor) -> list[tuple[Var, Expr]]:
    """Every axis of a tensor and of its reductions with its extent."""
    match t:
        case Scatter(axes=axes, extents=extents):
            found = list(zip(axes, extents, strict=True))
        case Compute(axes=axes, shape=extents) | Scan(axes=axes, shape=extents):
            found = list(zip(axes, extents, strict=True))
        case _:
            return []
    for body in bodies(t):
        for x in sub_exprs(body):
            if isinstance(x, Reduce):
                found += zip(x.axes, x.extents, strict=True)
    return found


def _axes(axes: tuple[Var, ...], env: Mapping[Var, Expr]) -> tuple[Var, ...]:
    new = tuple(env[v] for v in axes)
    assert all(isinstance(v, Var) for v in new)
    return new  # type: ignore[return-value]  # as asserted


def _rename(x: Expr, env: Mapping[Var, Expr]) -> Expr:
    """`x` with the axes of the tensor and of its reductions renamed."""

    def fn(n: Expr) -> Expr | None:
        if isinstance(n, Var):
            return env.get(n)
        if isinstance(n, Reduce):
            axes = tuple(env.get(v, v) for v in n.axes)
            return Reduce(n.monoid, axes, n.extents, n.values, n.result)  # type: ignore[arg-type]
        return None

    return map_expr(x, fn)


def _in_range(indices: tuple[Expr, ...], shape: tuple[Expr, ...]) -> list[Expr]:
    """One condition for each index: 0 <= index < extent, where that is not plain to see."""
    out: list[Expr] = []
    for i, extent in zip(indices, shape, strict=True):
        if not isinstance(i, Const | Var):
            out.append(Binary("and", Const(0) <= i, i < extent))
    return out
