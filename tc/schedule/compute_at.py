"""Where an intermediate tensor is computed: inside a consumer's loop, or in each use."""

from __future__ import annotations

from tc.ir.expr import Const, Expr, Load, Var
from tc.ir.loop import Alloc, Buffer, For, Func, LoopKind, Scope, Seq, Stmt, Store, seq
from tc.ir.simplify import simplify
from tc.ir.visit import (
    loads_of,
    map_accesses,
    map_stmt,
    sub_stmts,
    substitute,
    substitute_stmt,
    uses,
    with_body,
)
from tc.schedule.dependence import coefficient
from tc.schedule.rewrite import (
    find_alloc,
    find_loops,
    loops,
    primitive,
    refuse,
    size_bound,
    stored_buffers,
)

Region = list[tuple[Expr, Expr]]  # for each dim: where it begins, how many elements


@primitive
def compute_at(func: Func, buffer: str, loop: str, scope: str = "scratch") -> Func:
    """Compute `buffer` inside `loop`, only the part that one iteration reads.

    rewrite: with t = alloc(f32[n]):                  for i in range(n):
                 for a in range(n): t[a] = f(a)           with t = alloc(f32[m]):
                 for i in range(n):           into:           for a in range(m): t[a] = f(i + a)
                     for j in range(m):                       for j in range(m):
                         y[i, j] = t[i + j]                       y[i, j] = t[j]

    `scope` is "scratch" (memory of the thread) or "register" (constant shape).
    Raises ScheduleError: no such buffer or loop, or uses of the buffer outside the loop.
    """
    alloc = find_alloc(func, "compute_at", buffer)
    find_loops(func, "compute_at", loop)
    rest = _without_alloc(func.body, buffer)
    producer = _producer(rest, buffer)
    body = _remove(rest, producer)
    outside = _loads_outside(body, buffer, loop)
    if outside:
        raise refuse(
            "compute_at", buffer, f"it is read outside the loop {loop!r}",
            "choose a loop that holds all of its uses",
        )  # fmt: skip
    kind = Scope(scope)

    def place(s: Stmt) -> Stmt | None:
        if isinstance(s, For) and s.var.name == loop and _reads_of(s.body, buffer):
            inner = _insert(s.body, alloc.buffer, producer, s, kind)
            return For(s.var, s.extent, s.kind, inner)
        return None

    return with_body(func, map_stmt(body, None, place))


def _insert(body: Stmt, b: Buffer, producer: Stmt, at: For, scope: Scope) -> Stmt:
    region = _region(body, b, at)
    shape = tuple(simplify(size_bound(n)) for _, n in region)
    local = Buffer(b.name, shape, b.dtype, scope, b.align)
    starts = [s for s, _ in region]
    moved = map_accesses(
        body,
        b.name,
        lambda idx: (local, tuple(simplify(i - s) for i, s in zip(idx, starts, strict=True))),
    )
    return Alloc(local, seq(_shrink(producer, local, region), moved))


def _region(body: Stmt, b: Buffer, at: For) -> Region:
    """The smallest box known to hold every element of `b` that `body` reads."""
    inner = {x.var: x for x in loops(body)}
    places = [x.indices for x in loads_of(body) if x.buffer.name == b.name]
    out: Region = []
    for dim, whole in enumerate(b.shape):
        boxes = {_box(p[dim], inner) for p in places}
        box = boxes.pop() if len(boxes) == 1 else None
        out.append((Const(0), whole) if box is None else box)
    return out


def _box(index: Expr, inner: dict[Var, For]) -> tuple[Expr, Expr] | None:
    """(start, length) of the values of an affine index over the inner loops."""
    start, length = index, Const(1)
    total: Expr = length
    for v, x in inner.items():
        if not uses(index, v):
            continue
        part = coefficient(start, v)
        if part is None or part[0] < 0:
            return None
        factor, start = part
        total = total + (x.extent - 1) * factor
        if any(uses(x.extent, w) for w in inner):
            return None
    return (simplify(start), simplify(total))


def _shrink(producer: Stmt, local: Buffer, region: Region) -> Stmt:
    """The producing nest over a region only, storing from 0 on."""
    env: dict[Var, Expr] = {}
    nest: list[For] = []
    s = producer
    axes = _store_axes(producer, local.name)
    while isinstance(s, For) and s.var in axes:
        nest.append(s)
        s = s.body
    ordered = {x.var: x for x in nest}
    for (start, _), v in zip(region, axes, strict=True):
        env[v] = simplify(start + v)
    store_at: tuple[Expr, ...] = axes
    body = map_accesses(substitute_stmt(s, env), local.name, lambda _: (local, store_at))
    ones: dict[Var, Expr] = {}
    extents = dict(zip(axes, (n for _, n in region), strict=True))
    for v in ordered:
        if simplify(extents[v]) == Const(1):
            ones[v] = Const(0)
    body = substitute_stmt(body, ones)
    for x in reversed(nest):
        if x.var not in ones:
            body = For(x.var, extents[x.var], LoopKind.SERIAL, body)
    return body


def _store_axes(producer: Stmt, name: str) -> tuple[Var, ...]:
    for s in sub_stmts(producer):
        if isinstance(s, Store) and s.buffer.name == name:
            vars_ = [i for i in s.indices if isinstance(i, Var)]
            if len(vars_) == len(s.indices):
                return tuple(vars_)
    raise refuse(
        "compute_at", name, "its own loops have been changed already",
        "apply compute_at before scheduling the loops that compute the buffer",
    )  # fmt: skip


def _reads_of(s: Stmt, name: str) -> list[Load]:
    return [x for x in loads_of(s) if x.buffer.name == name]


def _loads_outside(s: Stmt, name: str, loop: str) -> bool:
    total = len(_reads_of(s, name))
    inside = sum(len(_reads_of(x.body, name)) for x in loops(s) if x.var.name == loop)
    return inside < total


def _without_alloc(s: Stmt, name: str) -> Stmt:
    def fn(x: Stmt) -> Stmt | None:
        return x.body if isinstance(x, Alloc) and x.buffer.name == name else None

    return map_stmt(s, None, fn)


def _producer(s: Stmt, name: str) -> Stmt:
    """The smallest statement of a sequence that does all the writing to a buffer."""
    while True:
        match s:
            case Alloc(_, body):
                s = body
            case Seq(body):
                writers = [b for b in body if name in stored_buffers(b)]
                if len(writers) != 1:
                    raise refuse(
                        "compute_at", name, f"{len(writers)} statements write it",
                        "only a buffer that one loop nest computes can be moved",
                    )  # fmt: skip
                s = writers[0]
            case For(body=body) if _reads_of(body, name):
                s = body
            case _:
                return s


def _remove(s: Stmt, target: Stmt) -> Stmt:
    if s is target:
        return Seq(())
    match s:
        case Seq(body):
            return seq(*[_remove(b, target) for b in body])
        case Alloc(b, body):
            return Alloc(b, _remove(body, target))
        case For(var, extent, kind, body):
            return For(var, extent, kind, _remove(body, target))
    return s


@primitive
def inline(func: Func, buffer: str) -> Func:
    """Compute `buffer` anew in each use instead of storing it.

    rewrite: for a: t[a] = f(a)                into:    for i: y[i] = g(f(i))
             for i: y[i] = g(t[i])

    Raises ScheduleError: no such buffer, or one that is more than a map (it holds a reduction).
    """
    find_alloc(func, "inline", buffer)
    rest = _without_alloc(func.body, buffer)
    producer = _producer(rest, buffer)
    axes = _store_axes(producer, buffer)
    core: Stmt = producer
    while isinstance(core, For):
        core = core.body
    if not isinstance(core, Store):
        raise refuse(
            "inline", buffer, "it is computed by more than one store per element",
            "use compute_at to compute it near its use",
        )  # fmt: skip
    value = core.value

    def fn(x: Expr) -> Expr | None:
        if isinstance(x, Load) and x.buffer.name == buffer:
            return substitute(value, dict(zip(axes, x.indices, strict=True)))
        return None

    return with_body(func, map_stmt(_remove(rest, producer), fn))

