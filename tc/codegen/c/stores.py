"""Stores, and the buffers that live in variables.

A vector is stored from registers where its elements lie side by side and the target has the row for
it, else lane by lane. A register buffer whose places are known becomes variables. This module must
not write control flow but that of a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tc.codegen.c import memory
from tc.codegen.c.registers import Held, Vec
from tc.codegen.c.text import MEMORY, Term
from tc.codegen.c.vectors import Vectors
from tc.errors import InternalError
from tc.ir.expr import Const, Expr, LaneReduce, Load, Ramp
from tc.ir.loop import Alloc, Buffer, For, If, Seq, Stmt, Store
from tc.ir.types import BOOL
from tc.ir.visit import own_exprs, sub_exprs, sub_stmts

_MOST_VARIABLES = 64


class Stores:
    """Writes stores; `aliases` gives the buffers that may lie where those of some names lie."""

    def __init__(self, v: Vectors, aliases: Callable[[set[str]], frozenset[str]]) -> None:
        self.v = v
        self.w = v.w
        self.aliases = aliases
        self.dead: set[str] = set()  # register buffers that nothing reads
        self._loads: dict[int, tuple[Expr, tuple[Load, ...]]] = {}

    def loads(self, x: Expr) -> tuple[Load, ...]:
        """The loads in an expression, which is looked through once."""
        known = self._loads.get(id(x))
        if known is None:
            found = tuple(y for y in sub_exprs(x) if isinstance(y, Load))
            known = self._loads[id(x)] = (x, found)
        return known[1]

    def _loads_of(self, s: Stmt) -> list[Load]:
        return [y for part in sub_stmts(s) for x in own_exprs(part) for y in self.loads(x)]

    # --- register buffers

    def declare(self, s: Alloc) -> None:
        """The variables of a register buffer, or an array where indices vary."""
        buffer, v, w = s.buffer, self.v, self.w
        if not isinstance(buffer.shape[0], Const):
            raise InternalError(f"emit: register buffer {buffer.name} has no constant size")
        size = max(1, int(buffer.shape[0].value))
        reads = [x.indices[0] for x in self._loads_of(s.body) if x.buffer.name == buffer.name]
        if not reads:
            self.dead.add(buffer.name)
            return
        lanes = self._lanes_of_variables(buffer, size, s.body, reads)
        if lanes is None:
            name = v.buffers[buffer.name] = w.names.take(buffer.name)
            start = " = {0}" if self._read_early(buffer, 1, s.body) else ""
            w.do(f"{MEMORY[buffer.dtype]} {name}[{size}]{start};")
            return
        stem = buffer.name if size == lanes else f"{buffer.name}_"
        names = tuple(
            w.names.take(stem if size == lanes else f"{stem}{n}") for n in range(size // lanes)
        )
        v.held[buffer.name] = Held(lanes, names)
        read = set().union(*(_touched(x, lanes) for x in reads))
        self.dead.update(n for k, n in enumerate(names) if k not in read)
        kind, start = self._type(buffer, lanes)
        early = self._read_early(buffer, lanes, s.body)
        live = [names[k] + (f" = {start}" if k in early else "") for k in sorted(read)]
        w.do(f"{kind} {', '.join(live)};")

    def _type(self, buffer: Buffer, lanes: int) -> tuple[str, str]:
        """The C type of a variable of a buffer, and a value to begin with."""
        v = self.v
        if lanes == 1:
            return ("bool" if buffer.dtype is BOOL else MEMORY[buffer.dtype]), "0"
        kind = v.kind(buffer.dtype, lanes)
        assert v.isa is not None and kind is not None
        row = v.row("broadcast", f"{kind}1", result=kind)
        assert row is not None
        return v.isa.types[kind], v.write(row, Term("0")).text

    def _lanes_of_variables(
        self, buffer: Buffer, size: int, body: Stmt, reads: Iterable[Expr]
    ) -> int | None:
        """How many elements a variable holds; None where the buffer must be an array."""
        v = self.v
        indices = set(reads) | {
            s.indices[0]
            for s in sub_stmts(body)
            if isinstance(s, Store) and s.buffer.name == buffer.name
        }
        if all(isinstance(i, Const) for i in indices):
            return 1 if size <= _MOST_VARIABLES else None
        kind = v.kind(buffer.dtype, size)
        if kind not in ("f32", "i32", "f64") or v.isa is None or buffer.dtype.bits < 32:
            return None
        count = v.isa.count(kind)
        for index in indices:
            match index:
                case Ramp(Const(base), Const(1), width) if width % count == int(base) % count == 0:
                    continue
            return None
        return count if size // count <= _MOST_VARIABLES else None

    def _read_early(self, buffer: Buffer, lanes: int, body: Stmt) -> set[int]:
        """The variables that a compiler cannot see to be stored to before they are read."""
        early: set[int] = set()

        def after(s: Stmt, written: frozenset[int]) -> frozenset[int]:
            """What is surely written when `s` has run, given what was before."""
            for x in own_exprs(s):
                for y in self.loads(x):
                    if y.buffer.name == buffer.name:
                        early.update(_touched(y.indices[0], lanes) - written)
            match s:
                case Store() if s.buffer.name == buffer.name:
                    touched = _touched(s.indices[0], lanes)
                    if s.mask is None:
                        return written | touched
                    early.update(touched - written)
                case Seq(parts):
                    for part in parts:
                        written = after(part, written)
                case For(_, extent, _, inner):
                    inside = after(inner, written)
                    if isinstance(extent, Const) and int(extent.value) > 0:
                        return inside
                case If(_, then, other):
                    yes = after(then, written)
                    return yes & (written if other is None else after(other, written))
                case Alloc(_, inner):
                    return after(inner, written)
            return written

        after(body, frozenset())
        return early

    def forget(self, buffer: Buffer) -> None:
        """The end of a register buffer."""
        self.dead.discard(buffer.name)
        held = self.v.held.pop(buffer.name, None)
        if held is not None:
            self.dead.difference_update(held.names)

    # --- stores

    def store(self, s: Store) -> None:
        """The statements of a store."""
        (index,) = s.indices
        if s.buffer.name in self.dead:
            return
        if s.buffer.name in self.v.held:
            self._assign(s, index)
        elif index.lanes == 1:
            self._store_scalar(s, index)
        elif not self._store_vector(s, index):
            self._store_lanes(s, index)
        for name in self.aliases({s.buffer.name}):
            self.w.stored(name)

    def _assign(self, s: Store, index: Expr) -> None:
        """Into variables."""
        v, w = self.v, self.w
        held = v.held[s.buffer.name]
        if held.lanes == 1:
            assert isinstance(index, Const)
            name = held.names[int(index.value)]
            if name in self.dead:
                return
            value = v(s.value)
            if s.mask is None:
                w.do(f"{name} = {value.text};")
            else:
                w.do(f"if ({v(s.mask).text}) {name} = {value.text};")
            return
        old = v.registers(s.buffer, index)
        new = v.stored(s.value, index.lanes)
        assert new is not None
        if s.mask is not None:
            mask = v.operand(s.mask, index.lanes)
            chosen = None if mask is None else v.each("select", new.kind, mask, new, old)
            if chosen is None:
                raise InternalError(f"emit: a masked store to the variables of {s.buffer.name}")
            new = chosen
        if len(new.parts) > 1 and self._reads_elsewhere(s, index, frozenset((s.buffer.name,))):
            new = v.hold(s.value, new)
        for variable, part in zip(old.parts, new.parts, strict=True):
            if variable != part and variable.text not in self.dead:
                w.do(f"{variable.text} = {part.text};")

    def _store_scalar(self, s: Store, index: Expr) -> None:
        v, w = self.v, self.w
        mask = s.mask
        if mask is not None and mask.lanes > 1:
            mask = LaneReduce("or", mask)
        if mask is None:
            w.do(self._assignment(s, index))
            return
        w.begin(w.prepare(), f"if ({v(mask).text}) {{", None, frozenset())
        w.do(self._assignment(s, index))
        w.end()

    def _assignment(self, s: Store, index: Expr) -> str:
        """The statement that stores a scalar, or the present lane."""
        value = self.v(s.value)
        return f"{memory.element(self.v, s.buffer, index).text} = {value.text};"

    def _store_vector(self, s: Store, index: Expr) -> bool:
        """From registers to neighbouring elements; False where no row does it."""
        v = self.v
        lanes, dtype = index.lanes, s.buffer.dtype
        kind = v.kind(dtype, lanes)
        if kind is None or kind == "m32":
            return False
        if not isinstance(index, Ramp) or index.stride != Const(1):
            return False
        operands = [f"{dtype}*", kind] if s.mask is None else [f"{dtype}*", kind, "m32"]
        row = v.row("store", *operands)
        if row is None:
            return False
        value = v.stored(s.value, lanes)
        if value is None:
            return False
        columns = [value.parts]
        if s.mask is not None:
            mask = v.operand(s.mask, lanes)
            if mask is None:
                return False
            columns.append(v.hold(s.mask, mask).parts)
        if len(value.parts) > 1 and self._reads_elsewhere(s, index, self.aliases({s.buffer.name})):
            columns[0] = v.hold(s.value, value).parts
        places = v.addresses(s.buffer, index.base, kind, lanes)
        for place, *rest in zip(places, *columns, strict=True):
            self.w.do(f"{v.write(row, place, *rest).text};")
        return True

    def _store_lanes(self, s: Store, index: Expr) -> None:
        v, w = self.v, self.w
        roots = [index, s.value, *([] if s.mask is None else [s.mask])]
        stores = self.aliases({s.buffer.name})
        held = self._held_values(s, index, stores)
        with v.lanes(index.lanes, roots, stores) as lane:
            if s.mask is not None:
                w.open(f"if ({v(s.mask).text}) {{")
                v.holds = s.mask
            if held is None:
                w.do(self._assignment(s, index))
            else:
                w.do(f"{memory.element(v, s.buffer, index).text} = {held}[{lane.name}];")
            if s.mask is not None:
                v.holds = None
                w.close()

    def _held_values(self, s: Store, index: Expr, stores: frozenset[str]) -> str | None:
        """An array of the values, where lanes cannot be computed as they are stored."""
        v, w = self.v, self.w
        dtype = s.buffer.dtype
        kind = v.kind(dtype, index.lanes)
        if kind is not None and dtype.bits >= 32 and s.value.lanes > 1:
            native: Vec = v.vector(s.value)
            return v.spill(s.value, native).text
        if not self._reads_elsewhere(s, index, stores):
            return None
        name = w.names.numbered("held")
        w.do(f"{MEMORY[dtype]} {name}[{index.lanes}];")
        with v.lanes(index.lanes, (s.value,), frozenset()) as lane:
            w.do(f"{name}[{lane.name}] = {v(s.value).text};")
        return name

    def _reads_elsewhere(self, s: Store, index: Expr, stores: frozenset[str]) -> bool:
        """Whether lanes read what other lanes of the same statement may have written before."""
        loads = self._loads_of(s)
        return any(x.buffer.name in stores and x.indices != (index,) for x in loads)


def _touched(index: Expr, lanes: int) -> set[int]:
    """The numbers of the variables of so many lanes that an access means; -1: not known."""
    base = index.base if isinstance(index, Ramp) else index
    if not isinstance(base, Const):
        return {-1}
    first = int(base.value) // lanes
    return set(range(first, first + max(1, index.lanes // lanes)))
