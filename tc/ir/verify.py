"""Is a kernel well formed? And does a tensor expression stay within its tensors?

`verify` is run after every pass in tests: what it finds is a defect of tc, an `InternalError`
naming the node. `check_indices` looks at what a user wrote: an index that is provably out of
bounds for some point is a `CompileError`. Neither changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

from tc.errors import CompileError, InternalError, describe
from tc.ir.affine import Poly, add, constant, expr_of, mul, plain_poly
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Const,
    Dot,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Read,
    Reduce,
    Select,
    Sym,
    Var,
)
from tc.ir.facts import Facts
from tc.ir.interval import bounds
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
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.passes.versions import MAX_VERSIONS
from tc.ir.printer import expr_text, stmt_lines
from tc.ir.rewrite import Rewriter
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import bodies, topological
from tc.ir.types import BF16, BOOL, F32, I8, I32, I64, U8
from tc.ir.visit import children, own_exprs, sub_exprs

_LANE_OPS: Final = frozenset(("add", "mul", "min", "max", "and", "or"))
_DOT_TYPES: Final = ((BF16, BF16, F32), (U8, I8, I32))


def verify(func: Func) -> Func:
    """`func` itself, if it is well formed.

    Types and lanes agree; variables, symbols and buffers are defined before use and not shadowed;
    indices are i64 and as many as dims; only outputs and own buffers are written; register
    buffers have constant shapes; a parallel loop is outermost, or the whole body of another
    parallel loop; vector loops have constant extents, unrolled ones are constant or short.

    Raises:
        InternalError: naming the kernel, the node as text and what is wrong with it.
    """
    _Verifier(func).check()
    return func


class _Verifier:
    def __init__(self, func: Func) -> None:
        self.func = func
        self.vars: dict[Var, None] = {}
        self.symbols = {s.name: s for s in func.symbols}
        self.buffers = {b.name: b for b in func.params}
        self.parallel: For | None = None  # the innermost parallel loop so far

    def fail(self, node: object, why: str) -> NoReturn:
        match node:
            case Expr():
                text = expr_text(node)
            case Stmt():
                text = next(iter(stmt_lines(node)))
            case _:
                text = str(node)
        raise InternalError(describe(f"verify {self.func.name}", where=f"`{text}`", why=why))

    def need(self, ok: bool, node: object, why: str) -> None:
        if not ok:
            self.fail(node, why)

    def check(self) -> None:
        f = self.func
        names = [*(p.name for p in f.params), *(s.name for s in f.symbols)]
        for name in names:
            self.need(names.count(name) == 1, name, "two parameters have this name")
        for p in f.params:
            self.need(p.scope is Scope.PARAM, p.name, f"a parameter of scope {p.scope.value}")
            for d in p.shape:
                self.expr(d)
        for name in f.outputs:
            self.need(name in self.buffers, name, "an output that is no parameter")
        self.stmt(f.body, outermost=True)

    # --- statements

    def stmt(self, s: Stmt, outermost: bool = False) -> None:
        for x in own_exprs(s):
            self.expr(x)
        match s:
            case For():
                self.loop(s, outermost)
            case Seq(body):
                for part in body:
                    self.stmt(part)
            case If(cond, then, other):
                self.condition(cond, s)
                self.stmt(then)
                if other is not None:
                    self.stmt(other)
            case Alloc(buffer, body):
                self.alloc(buffer, body, outermost)
            case Store(buffer, indices, value, mask):
                lanes = self.access(s, buffer, indices, mask)
                self.written(buffer, s)
                self.need(value.dtype is buffer.dtype, s, f"stores {value.dtype}")
                self.need(value.lanes == lanes, s, f"stores {value.lanes} lanes at {lanes}")
            case Update():
                self.update(s)
            case Assert(cond, _):
                self.condition(cond, s)
            case Prefetch(buffer, indices):
                self.need(len(indices) == len(buffer.shape), s, "has not an index for each dim")
                self.need(all(i.dtype is I64 for i in indices), s, "an index is no i64")
            case _:
                self.fail(type(s).__name__, "is no statement")

    def condition(self, cond: Expr, s: Stmt) -> None:
        self.need(cond.dtype is BOOL and cond.lanes == 1, s, "the condition is no scalar bool")

    def loop(self, s: For, outermost: bool) -> None:
        self.need(s.var.type is I64 and s.var.width == 1, s.var, "a loop variable is i64")
        self.need(s.extent.dtype is I64 and s.extent.lanes == 1, s.extent, "an extent is i64")
        if s.kind is LoopKind.PARALLEL:
            nested = self.parallel is not None and self.parallel.body is s
            self.need(self.parallel is None or nested, s, "a second parallel loop")
            self.need(outermost or nested, s, "a parallel loop that is not outermost")
            self.parallel = s
        if s.kind is LoopKind.VECTOR:
            self.need(isinstance(s.extent, Const), s, "a vector loop needs a constant extent")
        if s.kind is LoopKind.DOT:
            self.need(isinstance(s.extent, Const), s, "a dot product needs a constant extent")
        if s.kind is LoopKind.UNROLLED:
            most = bounds(s.extent).hi
            ok = isinstance(s.extent, Const) or (most is not None and most <= MAX_VERSIONS)
            self.need(ok, s, f"an unrolled loop needs an extent of {MAX_VERSIONS} at most")
        self.define(s.var, s)
        self.stmt(s.body)
        del self.vars[s.var]

    def alloc(self, buffer: Buffer, body: Stmt, outermost: bool) -> None:
        name = buffer.name
        self.need(name not in self.buffers, name, "a buffer of this name is there already")
        self.need(buffer.scope is not Scope.PARAM, name, "a buffer of scope param is allocated")
        if buffer.scope is Scope.REGISTER:
            ok = all(isinstance(d, Const) for d in buffer.shape)
            self.need(ok, name, "a register buffer needs a constant shape")
        for d in buffer.shape:
            self.need(d.dtype is I64 and d.lanes == 1, d, "a dim is i64")
        self.buffers[name] = buffer
        self.stmt(body, outermost)
        del self.buffers[name]

    def update(self, s: Update) -> None:
        states = s.monoid.dtypes
        self.need(len(s.buffers) == len(states) == len(s.values), s, f"{len(states)} states")
        for buffer, value, dtype in zip(s.buffers, s.values, states, strict=True):
            lanes = self.access(s, buffer, s.indices, None)
            self.written(buffer, s)
            self.need(buffer.dtype is dtype, s, f"state {buffer.name} is no {dtype}")
            self.need(value.dtype is dtype, s, f"a value is {value.dtype}, not {dtype}")
            self.need(value.lanes == lanes, s, f"{value.lanes} lanes at {lanes}")

    def written(self, buffer: Buffer, s: Stmt) -> None:
        ok = buffer.scope is not Scope.PARAM or buffer.name in self.func.outputs
        self.need(ok, s, f"writes {buffer.name}, which is no output")

    def access(
        self, node: Stmt | Load, buffer: Buffer, indices: Sequence[Expr], mask: Expr | None
    ) -> int:
        """Check an element access; the number of its lanes."""
        known = self.buffers.get(buffer.name)
        if known is None:
            self.fail(node, f"buffer {buffer.name} is not defined here")
        if known is not buffer and known != buffer:
            self.fail(node, f"buffer {buffer.name} is defined otherwise")
        rank = len(buffer.shape)
        if len(indices) != rank:
            self.fail(node, f"{len(indices)} indices for {rank} dims")
        lanes = max((i.lanes for i in indices), default=1)
        for i in indices:
            if i.dtype is not I64:
                self.fail(node, f"an index of type {i.dtype}")
            self.need(i.lanes in (1, lanes), node, "indices of different lanes")
        if mask is not None:
            if mask.dtype is not BOOL:
                self.fail(node, f"a mask of type {mask.dtype}")
            if mask.lanes not in (1, lanes):
                self.fail(node, f"a mask of {mask.lanes} lanes at {lanes}")
        return lanes

    # --- expressions: most nodes are of these, so a text is made only where a check fails

    def define(self, var: Var, node: object) -> None:
        ok = all(v.name != var.name for v in self.vars)
        self.need(ok, node, f"variable {var.name} is defined around it already")
        self.vars[var] = None

    def expr(self, x: Expr) -> None:
        if isinstance(x, Let):
            self.expr(x.value)
            same = x.var.type is x.value.dtype and x.var.width == x.value.lanes
            if not same:
                self.fail(x, f"{x.var.name} is {x.value.dtype} of {x.value.lanes} lanes")
            self.define(x.var, x)
            self.expr(x.body)
            del self.vars[x.var]
            return
        for k in children(x):
            self.expr(k)
        match x:
            case Const():
                pass
            case Var(name, _, _):
                if x not in self.vars:
                    self.fail(x, f"variable {name} is not defined here")
            case Sym(name, _, _):
                if self.symbols.get(name) != x:
                    self.fail(x, f"symbol {name} is no parameter")
            case Load(buffer, indices, mask):
                self.access(x, buffer, indices, mask)
            case Read() | Reduce():
                self.fail(x, "belongs to tensor expressions, not to kernels")
            case Ramp() | Broadcast() | LaneReduce():
                self.vector(x)
            case _:
                self.operands(x)

    def vector(self, x: Ramp | Broadcast | LaneReduce) -> None:
        match x:
            case Ramp(base, stride, width):
                ok = base.dtype is stride.dtype and base.lanes == stride.lanes == 1
                self.need(ok and width > 1, x, "a ramp is of two scalars of one type")
            case Broadcast(inner, width):
                self.need(inner.lanes == 1 and width > 1, x, "only a scalar is broadcast")
            case LaneReduce(op, inner):
                self.need(op in _LANE_OPS, x, f"lanes are not folded with {op}")
                self.need(inner.lanes > 1, x, "a scalar has no lanes to fold")

    def operands(self, x: Expr) -> None:
        match x:
            case Binary(_, a, b):
                if a.dtype is not b.dtype:
                    self.fail(x, f"operands are {a.dtype} and {b.dtype}")
                if a.lanes != b.lanes:
                    self.fail(x, f"operands have {a.lanes} and {b.lanes} lanes")
            case Fma(a, b, c):
                same = a.dtype is b.dtype is c.dtype and a.lanes == b.lanes == c.lanes
                self.need(same, x, "the operands differ in type or lanes")
            case Select(cond, then, other):
                if cond.dtype is not BOOL:
                    self.fail(x, f"the condition is {cond.dtype}")
                if then.dtype is not other.dtype:
                    self.fail(x, f"is {then.dtype} or {other.dtype}")
                if then.lanes != other.lanes:
                    self.fail(x, f"{then.lanes} or {other.lanes} lanes")
                self.need(cond.lanes in (1, then.lanes), x, "the condition has other lanes")
            case Bitcast(a, dtype):
                same = a.dtype.bits == dtype.bits
                whole = a.lanes > 1 and a.lanes * a.dtype.bits == x.lanes * dtype.bits
                if not (same or whole):
                    self.fail(x, f"{a.dtype} has another size")
            case Dot(a, b, c):
                types = (a.dtype, b.dtype, c.dtype)
                if types not in _DOT_TYPES:
                    self.fail(x, f"no dot product of {', '.join(map(str, types))}")
                same = a.lanes == b.lanes and a.lanes * a.dtype.bits == c.lanes * c.dtype.bits
                if not same:
                    self.fail(x, f"operands have {a.lanes} and {b.lanes} lanes for {c.lanes}")


# --- indices of tensor expressions


def check_indices(tensor: Tensor) -> None:
    """Refuse an expression that indexes out of bounds for some point, whatever the data.

    Looked at are indices that are not guarded by a `select` and do not depend on data (those are
    checked while running).

    Raises:
        CompileError: naming the tensor, the access, and the index that goes beyond.
    """
    for t in topological((tensor,)):
        match t:
            case Placeholder():
                continue
            case Compute(axes=axes, shape=extents) | Scan(axes=axes, shape=extents):
                pass
            case Scatter(axes=axes, extents=extents):
                pass
        box = dict(zip(axes, extents, strict=True))
        for body in bodies(t):
            for read, inner in _unguarded(body, box):
                _check_read(t, read, inner)


def _unguarded(x: Expr, box: dict[Var, Expr]) -> Iterator[tuple[Read, dict[Var, Expr]]]:
    """Every read that happens at all points of the box around it, with that box."""
    if isinstance(x, Read):
        yield x, box
    if isinstance(x, Reduce):
        box = {**box, **dict(zip(x.axes, x.extents, strict=True))}
    for k in (x.cond,) if isinstance(x, Select) else children(x):
        yield from _unguarded(k, box)


def _check_read(t: Tensor, read: Read, box: dict[Var, Expr]) -> None:
    facts = Facts()
    for var, extent in box.items():
        simple_extent = Rewriter(facts)(extent)
        hi = facts.bounds(simple_extent).hi
        if hi is not None and hi <= 0:
            return  # no point at all
        facts = facts.in_loop(var, simple_extent)
    for dim, (index, size) in enumerate(zip(read.indices, read.tensor.shape, strict=True)):
        if any(isinstance(n, Read | Load | Reduce) for n in sub_exprs(index)):
            continue
        simple = plain_poly(Rewriter(facts)(index))
        lowest, highest = _corner(simple, box, False), _corner(simple, box, True)
        room = plain_poly(Rewriter(facts)(size))
        if facts.nonnegative(add(constant(-1), lowest, -1)):
            beyond = f"is as low as {expr_text(expr_of(lowest))}"
        elif facts.nonnegative(add(highest, room, -1)):
            beyond = f"is as high as {expr_text(expr_of(highest))}"
        else:
            continue
        why = f"index {dim} {beyond}, but {read.tensor.name} has size {expr_text(size)} there"
        way_out = "guard the access with te.where, or change the shape"
        raise CompileError(describe(t.name, where=expr_text(read), why=why, way_out=way_out))


def _corner(p: Poly, box: dict[Var, Expr], highest: bool) -> Poly:
    """A sum at the corner of the box where it is largest (smallest), as far as it is linear."""
    out: Poly = {}
    for m, c in p.items():
        linear = len(m) == 1 and isinstance(m[0], Var) and m[0] in box
        if not linear:
            out = add(out, {m: c})
        elif (c > 0) == highest:
            assert isinstance(m[0], Var)
            last = add(plain_poly(box[m[0]]), constant(-1))
            out = add(out, mul(last, constant(c)))
    return out
