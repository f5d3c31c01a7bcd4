"""One kernel to a C99 function: statements, loops and the division of work between threads.

Takes flat vector IR (what `tc.ir.passes` gives). Every thread calls the function; a PARALLEL loop
gives each a contiguous range, and a kernel without one runs on thread 0 alone. Its parameters:
a pointer for each buffer, an `int64_t` for each symbol, then

    int64_t tid, int64_t team, void *scratch, int32_t *error

`error`, 0 before, gets the number of the message of the first Assert that fails; each thread may be
given one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache

from tc.codegen.c import hints, memory, scalar
from tc.codegen.c.helpers import HELPERS, closure
from tc.codegen.c.isa import isa_of
from tc.codegen.c.stores import Stores
from tc.codegen.c.text import (
    INDENT,
    MEMORY,
    Names,
    Term,
    comment,
    identifier,
    pointer,
    wrap,
)
from tc.codegen.c.tiles import LONGEST_NAME, Tile, tile_of
from tc.codegen.c.tiles import heading as tile_heading
from tc.codegen.c.values import count_uses
from tc.codegen.c.vectors import Vectors
from tc.codegen.c.writer import Writer
from tc.codegen.func import has_parallel
from tc.codegen.statements import Inside, Statements, parallel_nest
from tc.frozen import frozen
from tc.ir.expr import Const, Var
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
from tc.ir.passes.place_scratch import buffer_bytes, neighbours
from tc.ir.visit import own_exprs, sub_stmts
from tc.target import Target

_TAIL_PARAMS = ("int64_t tid", "int64_t team", "void *scratch", "int32_t *error")


@frozen
class CKernel:
    """A kernel as C.

    Attributes:
        text: one static function, with its heading as a comment above it.
        headers: the system headers that it needs, sorted.
        helpers: the small static functions that it calls, by name, each after those it calls.
        messages: what a failing Assert of the kernel can report.
        preamble: lines that go first in its file, in front of the headers.
        tiles: the static functions that it calls for its tiles, by name.
    """

    text: str
    headers: tuple[str, ...]
    helpers: Mapping[str, str]
    messages: tuple[str, ...]
    preamble: tuple[str, ...] = ()
    tiles: Mapping[str, str] = field(default_factory=dict)


def render_kernel(
    func: Func,
    target: Target,
    name: str | None = None,
    *,
    heading: str | None = None,
    numbers: Mapping[str, int] | None = None,
) -> CKernel:
    """`func` as a static function of C99.

    Args:
        func: flat vector IR.
        target: whose instructions are used.
        name: of the function; default: that of `func`.
        heading: what a comment above the function is to say: its expression and schedule.
        numbers: what `*error` is to be for each message; default: 1 for the first of `messages`.
    """
    return _Kernel(func, target, numbers).text(identifier(name or func.name), heading)


@lru_cache(256)
def _tile_text(func: Func, target: Target) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """The function of a tile from its parameters on, and the helpers and headers that it needs.

    Many kernels have equal tiles.
    """
    function = _Kernel(func, target, None)
    text = function.tile_text()
    return text, tuple(function.w.helpers), frozenset(function.w.headers)


class _Kernel(Statements):
    def __init__(self, func: Func, target: Target, numbers: Mapping[str, int] | None) -> None:
        names = Names(("tid", "team", "scratch", "error"))
        self.w = Writer(names)
        roots = [x for s in sub_stmts(func.body) for x in own_exprs(s)]
        isa = isa_of(target)
        self.values = Vectors(self.w, count_uses(roots), target.fuses, isa)
        super().__init__(func, self.values, 0 if isa is None else isa.lane_registers)
        self.numbers = numbers or {m: n for n, m in enumerate(self.messages, 1)}
        self.stores = Stores(self.values, self.aliases)
        self.target = target
        self.tiles: dict[str, str] = {}  # the text of each, without its name
        self._in_tile = False
        self._neighbours = neighbours(func)

    def text(self, name: str, heading: str | None) -> CKernel:
        self.name_parameters()
        if has_parallel(self.func.body):
            self.spmd(self.func.body)
        else:
            self.w.do("if (tid != 0) return;")
            self.stmt(self.func.body)
        body = self.w.text()
        words = set(re.findall(r"\w+", body))
        lines = [*self._head(name, _TAIL_PARAMS), "{", *self._unused(words), body, "}"]
        above = [] if heading is None else [comment(heading)]
        isa = self.values.isa
        tiles = {
            name: f"{tile_heading(name)}\nstatic void {name}{text}"
            for text, name in self.tiles.items()
        }
        words.update(*(re.findall(r"\w+", x) for x in tiles.values()))
        table = HELPERS if isa is None else {**HELPERS, **isa.helpers}
        types = () if isa is None else isa.types.values()
        used = [h for h in (*types, *self.w.helpers) if h in words and h in table]
        found = closure(used, table)
        headers = {"stdint.h", "stdbool.h", *self.w.headers}
        if not words.isdisjoint(("INFINITY", "NAN")):
            headers.add("math.h")
        headers.update(h for x in found.values() for h in x.headers)
        return CKernel(
            "\n".join([*above, *lines]) + "\n",
            tuple(sorted(headers)),
            {n: x.text for n, x in found.items()},
            self.messages,
            () if isa is None else isa.preamble,
            tiles,
        )

    def name_parameters(self) -> None:
        """Parameters and loop variables get their names."""
        v, names = self.values, self.w.names
        for p in self.func.params:
            v.buffers[p.name] = names.take(p.name)
        for s in self.func.symbols:
            v.symbols[s.name] = names.take(s.name)
        self.loop_names()

    def _head(self, name: str, more: tuple[str, ...]) -> list[str]:
        v = self.values
        params = [self._param(p) for p in self.func.params]
        params += [f"int64_t {v.symbols[s.name]}" for s in self.func.symbols]
        return wrap(f"static void {name}({', '.join([*params, *more])})", 0)

    def _param(self, p: Buffer) -> str:
        name = self.values.buffers[p.name]
        if p.name in self.func.outputs:
            return f"{pointer(p.dtype)}{name}"
        restrict = "restrict " if p.name in self.shared else ""
        return f"const {pointer(p.dtype)}{restrict}{name}"

    def _unused(self, words: set[str]) -> list[str]:
        """What keeps compilers from complaining of parameters that this kernel has no use for."""
        v = self.values
        every = [*v.buffers.values(), *v.symbols.values(), "tid", "team", "scratch", "error"]
        given = {v.buffers[p.name] for p in self.func.params} | set(v.symbols.values())
        given |= {"tid", "team", "scratch", "error"}
        return [f"{INDENT}(void){n};" for n in every if n in given and n not in words]

    def loop_names(self) -> None:
        """Every loop variable gets its name at once, so that no other value takes it."""
        v = self.values
        for s in sub_stmts(self.func.body):
            if isinstance(s, For) and s.var not in v.names:
                v.names[s.var] = Term(self.w.names.take(s.var.name))

    # --- the division of work

    def parallel_loop(self, s: For) -> None:
        """This thread's range of the iterations; perfectly nested parallel loops are one loop."""
        w, v = self.w, self.values
        nest = parallel_nest(s)
        count = v(s.extent)
        for x in nest[1:]:
            count = scalar.infix("*", count, v(x.extent))
        if not count.text.isidentifier():
            count = w.settle("int64_t", count, "parts")
        first = w.settle("int64_t", Term(f"{count.text} * tid / team"), "first")
        end = w.settle("int64_t", Term(f"{count.text} * (tid + 1) / team"), "end")
        if len(nest) == 1:
            self.loop(
                s, v.names[s.var].text, first.text, end.text, False, lambda: self.stmt(s.body)
            )
            return
        name = w.names.numbered("part")
        self.loop(s, name, first.text, end.text, False, lambda: self.unflatten(name, nest))

    def unflatten(self, name: str, nest: list[For]) -> None:
        """The variables of the loops that one loop runs over, and their body."""
        w, v = self.w, self.values
        rest = Term(name)
        env = dict(v.ranges[-1].env)
        for x in reversed(nest):
            value = rest
            if x is not nest[0]:
                n = v(x.extent)
                value = scalar.infix("%", rest, n)
                rest = scalar.infix("/", rest, n)
            w.do(f"const int64_t {v.names[x.var].text} = {value.text};")
            v.depth[x.var] = len(w.scopes) - 1
            env[x.var] = self.values_of(x)
        v.ranges.append(Bounds(env))
        self.stmt(nest[-1].body)
        v.ranges.pop()

    # --- statements

    def store(self, s: Store) -> None:
        self.stores.store(s)

    def serial_loop(self, s: For) -> None:
        v = self.values
        extent = v.range(s.extent)
        if extent.hi is not None and extent.hi <= 0:
            return
        if extent.value == 1:
            known, v.names[s.var] = v.names[s.var], Term("0")
            v.depth[s.var] = len(self.w.scopes) - 1
            self.stmt(s.body)
            v.names[s.var] = known
            return
        runs = extent.lo is not None and extent.lo >= 1
        end = v(s.extent)
        if not (end.text.isidentifier() or end.text.isdigit()):
            end = self.w.settle("int64_t", end, f"{v.names[s.var].text}_end")
        self.loop(s, v.names[s.var].text, "0", end.text, runs, lambda: self.stmt(s.body))

    def loop(
        self, s: For, name: str, first: str, end: str, runs: bool, inside: Callable[[], None]
    ) -> None:
        """for name in [first, end); `runs`: at least once."""
        w, v = self.w, self.values
        before = w.prepare()
        guard, header = w.prepare(), w.prepare()
        head = f"for (int64_t {name} = {first}; {name} < {end}; {name}++) {{"
        w.begin(before, head, header, self.written(s.body))
        v.depth[s.var] = len(w.scopes) - 1
        v.ranges.append(Bounds({**v.ranges[-1].env, s.var: self.values_of(s)}))
        inside()
        v.ranges.pop()
        w.end()
        if header and not runs:
            guard.append(f"if ({first} < {end}) {{")
            w.do("}")

    def branch(self, s: If, inside: Inside) -> None:
        w = self.w
        chain = [s]
        while isinstance(s.other, If) and not self.stores.loads(s.other.cond):
            s = s.other
            chain.append(s)
        conds = [self.values(x.cond).text for x in chain]
        before = w.prepare()
        for n, (x, cond) in enumerate(zip(chain, conds, strict=True)):
            if n:
                w.pop()
            w.begin(before, f"{'} else ' if n else ''}if ({cond}) {{", None, frozenset())
            inside(x.then)
        if s.other is not None:
            w.pop()
            w.begin(before, "} else {", None, frozenset())
            inside(s.other)
        w.end()

    def alloc(self, s: Alloc, inside: Inside) -> None:
        buffer, v, w, isa = s.buffer, self.values, self.w, self.values.isa
        if buffer.scope is not Scope.SCRATCH:
            tile = None if self._in_tile else tile_of(s, bool(isa and isa.prefetch))
            if tile is not None:
                self.call_tile(tile)
                return
            self.stores.declare(s)
            inside(s.body)
            self.stores.forget(buffer)
            return
        name = v.buffers[buffer.name] = w.names.take(buffer.name)
        at = self.scratch
        # The place depends on symbols alone; in front of all loops every use can see it.
        here, w.out = w.out, w.place(0)
        offset = v(at)
        place = "scratch" if offset.text == "0" else f"(void *)((char *)scratch + {offset.atom})"
        restrict = "" if buffer.name in self._neighbours else "restrict "
        w.do(f"{MEMORY[buffer.dtype]} *const {restrict}{name} = {place};")
        w.out = here
        self.scratch = at + buffer_bytes(buffer)
        inside(s.body)
        self.scratch = at

    def call_tile(self, tile: Tile) -> None:
        """A tile as a call of its function."""
        v, w = self.values, self.w
        text, helpers, headers = _tile_text(tile.func, self.target)
        for helper in helpers:
            w.use(helper)
        w.headers |= headers
        name = self.tiles.get(text)
        if name is None:
            name = self.tiles[text] = w.names.numbered(tile.name)
        starts = [(v.buffers[b.name], memory.offset(v, at)) for b, at in tile.places]
        arguments = [b if at.text == "0" else f"&{b}[{at.text}]" for b, at in starts]
        arguments += [v(n).text for n in tile.sizes]
        w.do(f"{name}({', '.join(arguments)});")
        for x, (b, _) in zip(tile.func.params, tile.places, strict=True):
            for other in self.aliases({b.name}) if x.name in tile.func.outputs else ():
                w.stored(other)

    def tile_text(self) -> str:
        """The function of a tile from its parameters on."""
        self._in_tile = True
        self.name_parameters()
        self.stmt(self.func.body)
        head = "\n".join(self._head(LONGEST_NAME, ())).removeprefix(f"static void {LONGEST_NAME}")
        return f"{head}\n{{\n{self.w.text()}\n}}\n"

    def check(self, s: Assert) -> None:
        cond = self.values(s.cond)
        # Where several fail, the first is told.
        self.w.do(f"if (!{cond.atom} && *error == 0) *error = {self.numbers[s.message]};")

    def sequence(self, body: tuple[Stmt, ...]) -> None:
        """Hints of lines that follow each other are a loop."""
        for first, count in hints.lines(body, self.target.line_bytes):
            if count < hints.LEAST:
                for x in body[first : first + count]:
                    self.stmt(x)
            else:
                self.prefetch_lines(body[first], count)

    def prefetch_lines(self, s: Stmt, count: int) -> None:
        """Hints of so many lines, of which `s` is the first."""
        v, names, isa = self.values, self.w.names, self.values.isa
        assert isinstance(s, Prefetch)
        if isa is None or not isa.prefetch or s.buffer.name not in v.buffers:
            return
        line = Var("line")
        step = self.target.line_bytes // s.buffer.dtype.bytes
        one = Prefetch(s.buffer, (s.indices[0] + line * step,), s.near)
        v.names[line] = Term(names.take("line"))
        self.serial_loop(For(line, Const(count), LoopKind.SERIAL, one))
        names.release(v.names[line].text)

    def prefetch(self, s: Prefetch) -> None:
        """A hint, where the target has it; its place may be outside of the buffer."""
        v, isa = self.values, self.values.isa
        if isa is None or not isa.prefetch or s.buffer.name not in v.buffers:
            return
        self.w.headers.add(isa.header)
        at = scalar.infix("*", memory.offset(v, s.indices[0]), Term(str(s.buffer.dtype.bytes)))
        whole = f"(uintptr_t){v.buffers[s.buffer.name]} + (uintptr_t)({at.text})"
        place = f"(const char *)({whole})"
        self.w.do(f"{isa.prefetch.format(p=place, level=0 if s.near else 1)};")
