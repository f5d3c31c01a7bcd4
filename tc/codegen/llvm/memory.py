"""Addresses, loads and stores.

The address of an element is built from the outside in: what the function fixes, then what each
loop around adds, then a literal offset, so that every partial pointer stands in front of the loops
that do not change it. This module must not evaluate arithmetic itself.
"""

from __future__ import annotations

from typing import Final, Protocol

from tc.codegen.llvm.builder import Builder
from tc.codegen.llvm.counters import Counter
from tc.codegen.llvm.hardware import Hardware
from tc.codegen.llvm.text import mangled, memory_type, splat, vector
from tc.errors import InternalError
from tc.ir.affine import ONE, Monomial, Poly, atom_order, without
from tc.ir.expr import Const, Expr, LaneReduce, Load, Ramp
from tc.ir.loop import Buffer, Scope, Store
from tc.ir.types import BOOL, DType

ZERO: Final = "@tc.zero"  # 64 readable bytes of zeros: what a masked-off scalar load reads
# Bytes of a literal offset: from the first on it gets a pointer of its own where instructions have
# little room for one, so that what is left of it lies between minus and plus the other.
FAR: Final = 1 << 15
NEAR: Final = 1 << 10
SCALES: Final = (1, 2)  # multiples of a counter that an address of an fp32 element has in itself
_MOST_SINGLE_LANES: Final = 16  # up to so many lanes with gaps are loaded one by one


class Values(Protocol):
    """What is needed of the emitter of expressions."""

    b: Builder
    hardware: Hardware
    pointers: dict[str, str]
    aligns: dict[str, int]
    counters: dict[Expr, Counter]

    def __call__(self, x: Expr) -> str:
        """The value of `x`."""

    def wide(self, x: Expr, lanes: int) -> str:
        """The value of `x` in so many lanes."""

    def poly(self, x: Expr) -> Poly:
        """The polynomial of a scalar index."""

    def depth_of(self, x: Expr) -> int | None:
        """The scope that `x` changes with; None where it must be emitted in place."""


def address(v: Values, buffer: Buffer, index: Expr) -> tuple[str, int, int]:
    """(pointer, literal offset in elements, known alignment in bytes) of a scalar index."""
    size = buffer.dtype.bytes
    align = v.aligns[buffer.name]
    if isinstance(index, Const):  # as of registers
        literal = int(index.value)
        return v.pointers[buffer.name], literal, _common(align, literal * size)
    p = v.poly(index)
    groups: dict[int, list[tuple[Monomial, int]]] = {}
    here = len(v.b.scopes)
    for m, c in p.items():
        align = _common(align, c * size)
        if m:
            depths = [v.depth_of(a) for a in m]
            deepest = here if None in depths else max(d for d in depths if d is not None)
            groups.setdefault(deepest, []).append((m, c))
    pointer, literal = v.pointers[buffer.name], p.get(ONE, 0)
    if groups and abs(literal * size) >= FAR and v.hardware.short_literals:
        half = NEAR // size
        near = (literal + half) % (2 * half) - half
        pointer = _advance(v, pointer, buffer.dtype, [(ONE, literal - near)], 0)
        literal = near
    for depth in sorted(groups):
        pointer = _advance(
            v, pointer, buffer.dtype, groups[depth], None if depth == here else depth
        )
    return pointer, literal, align


def _common(align: int, offset: int) -> int:
    """The largest power of two that divides both."""
    return align if offset == 0 else min(align, offset & -offset)


def _advance(
    v: Values, pointer: str, dtype: DType, terms: list[tuple[Monomial, int]], depth: int | None
) -> str:
    """`pointer` moved by a sum that changes with scope `depth` (None: emitted here)."""
    if depth is None:
        return _moved(v, pointer, dtype, _sum(v, terms))
    if len(terms) > 1:
        terms = sorted(terms, key=lambda t: [atom_order(a) for a in t[0]])
    fixed = v.b.scopes[depth].fixed
    offset_key = tuple(terms)
    key = (pointer, dtype, offset_key)
    known = fixed.get(key)
    if known is None:
        before, v.b.out = v.b.out, v.b.place(depth)
        offset = fixed.get(offset_key)
        if offset is None:
            offset = fixed[offset_key] = _sum(v, terms)
        known = fixed[key] = _moved(v, pointer, dtype, offset)
        v.b.out = before
    return known


def _moved(v: Values, pointer: str, dtype: DType, offset: str) -> str:
    return v.b.ins(f"getelementptr {memory_type(dtype)}, ptr {pointer}, i64 {offset}")


def _sum(v: Values, terms: list[tuple[Monomial, int]]) -> str:
    counted: dict[Expr, list[tuple[Monomial, int]]] = {}
    total = ""
    for m, c in terms:
        if (var := _counter_of(v, m)) is not None:
            counted.setdefault(var, []).append((without(m, var), c))
        else:
            total = _plus(v, total, _product(v, m, c))
    for var, factors in counted.items():
        total = _plus(v, total, _multiple(v, var, factors))
    return total


def _plus(v: Values, total: str, term: str) -> str:
    return v.b.ins(f"add i64 {total}, {term}") if total else term


def _product(v: Values, m: Monomial, c: int) -> str:
    term = v(m[0]) if m else str(c)
    for atom in m[1:]:
        term = v.b.ins(f"mul i64 {term}, {v(atom)}")
    return v.b.ins(f"mul i64 {term}, {c}") if m and c != 1 else term


def _counter_of(v: Values, m: Monomial) -> Expr | None:
    """The counter of an innermost loop that a term is a multiple of, by what holds before it."""
    var = next((atom for atom in m if atom in v.counters), None)
    own = None if var is None else v.depth_of(var)
    if var is None or own is None:
        return None
    depths = [v.depth_of(atom) for atom in without(m, var)]
    return var if all(d is not None and d < own for d in depths) else None


def _multiple(v: Values, var: Expr, factors: list[tuple[Monomial, int]]) -> str:
    """A counter times the sum of factors: added up, but for what an address has in itself."""
    counter = v.counters[var]
    if all(not m for m, _ in factors):
        factor = sum(c for _, c in factors)
        return _product(v, (var,), factor) if factor in SCALES else counter.times(v.b, factor)
    key = ("factor", *factors)
    fixed, here = v.b.scopes[-1].fixed, v.b.out
    if key not in fixed:
        v.b.out, total = counter.header, ""
        for m, c in factors:
            total = _plus(v, total, _product(v, m, c))
        fixed[key], v.b.out = total, here
    return counter.times(v.b, fixed[key])


def at_offset(v: Values, pointer: str, dtype: DType, offset: int) -> str:
    """`pointer` moved by a literal number of elements."""
    return pointer if offset == 0 else _moved(v, pointer, dtype, str(offset))


def prefetch(v: Values, buffer: Buffer, index: Expr, near: bool) -> None:
    """Ask for the line of an element, into the first or the second level of caches."""
    pointer, offset, _ = address(v, buffer, index)
    place = at_offset(v, pointer, buffer.dtype, offset)
    v.b.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    v.b.do(f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 {3 if near else 2}, i32 1)")


def load(v: Values, x: Load) -> str:
    """The value of a load."""
    if len(x.indices) != 1:
        raise InternalError(f"emit: {x.buffer.name} has {len(x.indices)} indices, not flat")
    (index,) = x.indices
    lanes = x.lanes
    if lanes == 1:
        raw = _load_scalar(v, x, index)
    elif isinstance(index, Ramp) and index.stride == Const(1):
        raw = _load_vector(v, x, index)
    else:
        raw = _load_lanes(v, x, index)
    return _from_memory(v, raw, x.dtype, lanes)


def _from_memory(v: Values, raw: str, dtype: DType, lanes: int) -> str:
    if dtype is not BOOL:
        return raw
    zero = splat("i8", "0", lanes)
    return v.b.ins(f"icmp ne {vector('i8', lanes)} {raw}, {zero}")


def _to_memory(v: Values, value: str, dtype: DType, lanes: int) -> str:
    if dtype is not BOOL:
        return value
    return v.b.ins(f"zext {vector('i1', lanes)} {value} to {vector('i8', lanes)}")


def _load_scalar(v: Values, x: Load, index: Expr) -> str:
    pointer, offset, align = address(v, x.buffer, index)
    pointer = at_offset(v, pointer, x.dtype, offset)
    align = _aligned(align, offset, x.dtype)
    if x.mask is not None:
        mask = v(x.mask)
        pointer = v.b.ins(f"select i1 {mask}, ptr {pointer}, ptr {ZERO}")
    return v.b.ins(f"load {memory_type(x.dtype)}, ptr {pointer}, align {align}")


def _aligned(align: int, offset: int, dtype: DType) -> int:
    return _common(align, offset * dtype.bytes)


def _load_vector(v: Values, x: Load, index: Ramp) -> str:
    pointer, offset, align = address(v, x.buffer, index.base)
    pointer = at_offset(v, pointer, x.dtype, offset)
    align = _aligned(align, offset, x.dtype)
    lanes, scalar = index.width, memory_type(x.dtype)
    t = vector(scalar, lanes)
    if x.mask is None:
        return v.b.ins(f"load {t}, ptr {pointer}, align {align}")
    i1 = vector("i1", lanes)
    return v.b.call(
        t,
        f"llvm.masked.load.{mangled(scalar, lanes)}.p0",
        ["ptr", "i32", i1, t],
        [pointer, str(align), v.wide(x.mask, lanes), "zeroinitializer"],
    )


def _pointers(v: Values, buffer: Buffer, index: Expr) -> str:
    """A vector of pointers."""
    element = memory_type(buffer.dtype)
    if isinstance(index, Ramp):
        pointer, offset, _ = address(v, buffer, index.base)
        pointer = at_offset(v, pointer, buffer.dtype, offset)
        steps = v(Ramp(Const(0), index.stride, index.width))
        return v.b.ins(f"getelementptr {element}, ptr {pointer}, <{index.width} x i64> {steps}")
    pointer = v.pointers[buffer.name]
    where = v(index)
    return v.b.ins(f"getelementptr {element}, ptr {pointer}, <{index.lanes} x i64> {where}")


def _literal_stride(index: Expr) -> int | None:
    if isinstance(index, Ramp) and isinstance(index.stride, Const):
        return int(index.stride.value)
    return None


def _load_lanes(v: Values, x: Load, index: Expr) -> str:
    """Lanes that do not lie side by side."""
    lanes, scalar = x.lanes, memory_type(x.dtype)
    t, size = vector(scalar, lanes), x.dtype.bytes
    stride = _literal_stride(index)
    if x.mask is None and stride is not None and lanes <= _MOST_SINGLE_LANES:
        assert isinstance(index, Ramp)
        pointer, offset, _ = address(v, x.buffer, index.base)
        out = "poison"
        for n in range(lanes):
            at = at_offset(v, pointer, x.dtype, offset + n * stride)
            one = v.b.ins(f"load {scalar}, ptr {at}, align {size}")
            out = v.b.ins(f"insertelement {t} {out}, {scalar} {one}, i64 {n}")
        return out
    if x.mask is None and isinstance(index, Ramp) and lanes <= _MOST_SINGLE_LANES:
        return _load_strided(v, x, index)
    i1 = vector("i1", lanes)
    mask = splat("i1", "true", lanes) if x.mask is None else v.wide(x.mask, lanes)
    return v.b.call(
        t,
        f"llvm.masked.gather.{mangled(scalar, lanes)}.v{lanes}p0",
        [vector("ptr", lanes), "i32", i1, t],
        [_pointers(v, x.buffer, index), str(size), mask, "zeroinitializer"],
    )


def _load_strided(v: Values, x: Load, index: Ramp) -> str:
    """Lanes that lie a number apart which is known when the kernel runs."""
    scalar, t = memory_type(x.dtype), vector(memory_type(x.dtype), x.lanes)
    pointer, offset, _ = address(v, x.buffer, index.base)
    at, stride, out = at_offset(v, pointer, x.dtype, offset), v(index.stride), "poison"
    for n in range(x.lanes):
        at = _moved(v, at, x.dtype, stride) if n else at
        one = v.b.ins(f"load {scalar}, ptr {at}, align {x.dtype.bytes}")
        out = v.b.ins(f"insertelement {t} {out}, {scalar} {one}, i64 {n}")
    return out


def store(v: Values, s: Store) -> None:
    """The code of a store; a scalar mask was turned into a branch by the caller."""
    (index,) = s.indices
    dtype, lanes = s.buffer.dtype, index.lanes
    value = _to_memory(v, v.wide(s.value, lanes), dtype, lanes)
    scalar = memory_type(dtype)
    t = vector(scalar, lanes)
    if lanes == 1 or (isinstance(index, Ramp) and index.stride == Const(1)):
        base = index.base if isinstance(index, Ramp) else index
        pointer, offset, align = address(v, s.buffer, base)
        pointer = at_offset(v, pointer, dtype, offset)
        align = _aligned(align, offset, dtype)
        if s.mask is None or lanes == 1:
            v.b.do(f"store {t} {value}, ptr {pointer}, align {align}")
        else:
            v.b.call(
                "void",
                f"llvm.masked.store.{mangled(scalar, lanes)}.p0",
                [t, "ptr", "i32", vector("i1", lanes)],
                [value, pointer, str(align), v.wide(s.mask, lanes)],
            )
    else:
        _store_lanes(v, s, index, value)
    v.b.stored(s.buffer.name)


def _store_lanes(v: Values, s: Store, index: Expr, value: str) -> None:
    dtype, lanes = s.buffer.dtype, index.lanes
    scalar = memory_type(dtype)
    t = vector(scalar, lanes)
    stride = _literal_stride(index)
    if s.mask is None and stride is not None:
        assert isinstance(index, Ramp)
        pointer, offset, _ = address(v, s.buffer, index.base)
        for n in range(lanes):
            at = at_offset(v, pointer, dtype, offset + n * stride)
            one = v.b.ins(f"extractelement {t} {value}, i64 {n}")
            v.b.do(f"store {scalar} {one}, ptr {at}, align {dtype.bytes}")
        return
    mask = splat("i1", "true", lanes) if s.mask is None else v.wide(s.mask, lanes)
    v.b.call(
        "void",
        f"llvm.masked.scatter.{mangled(scalar, lanes)}.v{lanes}p0",
        [t, vector("ptr", lanes), "i32", vector("i1", lanes)],
        [value, _pointers(v, s.buffer, index), str(dtype.bytes), mask],
    )


def scalar_mask(mask: Expr) -> Expr:
    """Whether any lane of a mask is true."""
    return mask if mask.lanes == 1 else LaneReduce("or", mask)


def place(v: Values, buffer: Buffer) -> None:
    """A register buffer: stack memory that LLVM turns into registers."""
    if buffer.scope is not Scope.REGISTER or not isinstance(buffer.shape[0], Const):
        raise InternalError(f"emit: register buffer {buffer.name} has no constant size")
    count = max(1, int(buffer.shape[0].value))
    name = f"%{v.b.name('r')}"
    kind = f"[{count} x {memory_type(buffer.dtype)}]"
    v.b.entry.append(f"  {name} = alloca {kind}, align 64")
    v.pointers[buffer.name], v.aligns[buffer.name] = name, 64
