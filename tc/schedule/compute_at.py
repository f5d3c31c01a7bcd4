"""Where an intermediate tensor is computed: inside a consumer's loop, or in each use."""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Binary, Const, Expr, Load, Var, maximum, minimum
from tc.ir.interval import Interval, bounds
from tc.ir.loop import (
    Alloc,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
    seq,
)
from tc.ir.simplify import prove, simplify
from tc.ir.visit import (
    free_vars,
    loads_of,
    map_accesses,
    map_stmt,
    own_exprs,
    sub_exprs,
    sub_stmts,
    substitute,
    substitute_stmt,
    uses,
    with_body,
)
from tc.schedule.dependence import coefficient, extent_facts
from tc.schedule.rewrite import (
    env_of,
    find_alloc,
    find_loops,
    loaded_buffers,
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
    if scope not in (Scope.SCRATCH.value, Scope.REGISTER.value):
        raise ScheduleError(f"compute_at: scope is {scope!r}; it can be scratch or register")
    rest = _without_alloc(func.body, buffer)
    producer = _producer("compute_at", rest, buffer)
    _require_movable("compute_at", rest, producer, buffer)
    body = _remove(rest, producer)
    if _loads_outside(body, buffer, loop):
        raise refuse(
            "compute_at", buffer, f"it is read outside the loop {loop!r}",
            "choose a loop that holds all of its uses",
        )  # fmt: skip
    kind = Scope(scope)
    bound = {x.var for x in loops(producer)}
    # Whole expressions: inside a Let, its variable looks free.
    whole = (x for inner in sub_stmts(producer) for x in own_exprs(inner))
    free = {v for x in whole for v in free_vars(x)} - bound

    def place(s: Stmt, path: list[For]) -> Stmt:
        match s:
            case For(var, extent, how, inner) if var.name == loop and _reads_of(inner, buffer):
                here = [*path, s]
                _require_scope(here, bound, free, buffer)
                return For(var, extent, how, _insert(inner, alloc.buffer, producer, here, kind))
            case For(var, extent, how, inner):
                return For(var, extent, how, place(inner, [*path, s]))
            case Alloc(b, inner):
                return Alloc(b, place(inner, path))
            case Seq(parts):
                return seq(*[place(b, path) for b in parts])
            case If(cond, then, other):
                no = None if other is None else place(other, path)
                return If(cond, place(then, path), no)
        return s

    return with_body(func, place(body, []))


def _require_scope(path: list[For], bound: set[Var], free: set[Var], name: str) -> None:
    """What computes the buffer may stand in this loop: its variables mean the same there."""
    around = {x.var for x in path}
    for v in free - around:
        raise refuse(
            "compute_at", name, f"it is computed inside the loop {v.name!r}",
            "choose that loop or one inside it",
        )  # fmt: skip
    for v in bound & around:
        raise refuse(
            "compute_at", name, f"the loop {v.name!r} is around its use and computes it too",
            "give the loops different names",
        )  # fmt: skip


def _require_movable(step: str, s: Stmt, producer: Stmt, name: str) -> None:
    """The producer does nothing else, and what it reads is still the same at any later place."""
    own = {x.buffer.name for x in sub_stmts(producer) if isinstance(x, Alloc)}
    also = stored_buffers(producer) - own - {name}
    if also or _reads_of(producer, name):
        raise refuse(
            step, name, f"the loops that compute it also {_other_work(also)}",
            "move it before its loops are merged with others",
        )  # fmt: skip
    if not _reads_of(s, name):
        raise refuse(step, name, "it is never read", "leave it out of the expression")
    read = loaded_buffers(producer) - own
    for x in sub_stmts(s):
        if not isinstance(x, Alloc) or x.buffer.name not in read:
            continue
        if len(_reads_of(x.body, name)) < len(_reads_of(s, name)):
            raise refuse(
                step, name, f"{x.buffer.name}, which it is computed from, ends before its use",
                "leave it where it is",
            )  # fmt: skip
    later = False
    inside = set(map(id, sub_stmts(producer)))
    for x in sub_stmts(s):
        if x is producer:
            later = True
        if later and id(x) not in inside and isinstance(x, Store | Update):
            changed = stored_buffers(x) & read
            if changed:
                raise refuse(
                    step, name, f"{changed.pop()}, which it is computed from, changes later",
                    "leave it where it is",
                )  # fmt: skip


def _other_work(also: set[str]) -> str:
    return f"compute {min(also)}" if also else "use it"


def _insert(body: Stmt, b: Buffer, producer: Stmt, path: list[For], scope: Scope) -> Stmt:
    region = _region(body, b, path)
    shape = tuple(_dim(n) for _, n in region)
    local = Buffer(b.name, shape, b.dtype, scope, b.align)
    starts, env = [s for s, _ in region], env_of([*path, *loops(body)])
    moved = map_accesses(
        body,
        b.name,
        lambda idx: (local, tuple(simplify(i - s, env) for i, s in zip(idx, starts, strict=True))),
    )
    return Alloc(local, seq(_shrink(producer, local, region), moved))


def _dim(length: Expr) -> Expr:
    """The dim of a buffer that holds `length` elements."""
    n = simplify(size_bound(length))
    lo = bounds(n).lo
    return n if lo is not None and lo >= 0 else simplify(maximum(n, 0))


def _region(body: Stmt, b: Buffer, path: list[For]) -> Region:
    """The smallest box known to hold every element of `b` that `body` reads, within `b`.

    Reads under a guard may have indices beyond the buffer, which the box leaves out.
    """
    inner, everywhere = _lengths(body), env_of([*path, *loops(body)])
    env, known = env_of(path), extent_facts(path)
    read = [x.indices for x in loads_of(body) if x.buffer.name == b.name]
    places = [tuple(simplify(i, everywhere) for i in indices) for indices in read]
    out: Region = []
    for dim, whole in enumerate(b.shape):
        boxes = {_box(p[dim], inner) for p in places}
        box = boxes.pop() if len(boxes) == 1 else None
        if box is None or not _is_known(box[0], path, env, known):
            out.append((Const(0), whole))
            continue
        start, length = box
        if not any(prove(start + n <= whole, env, known) for n in _at_most(length)):
            length = simplify(minimum(length, whole - start))
        out.append((start, length))
    return out


def _is_known(start: Expr, path: list[For], env: dict[Var, Interval], known: list[Expr]) -> bool:
    """Whether a place can be worked out in front of what is inside the loops, and is not negative.

    Not where a name stands for it that is bound there, nor from data that may not be there.
    """
    if not free_vars(start) <= {x.var for x in path}:
        return False
    for x in sub_exprs(start):
        if isinstance(x, Load):
            for i, n in zip(x.indices, x.buffer.shape, strict=True):
                if not (prove(Const(0) <= i, env, known) and prove(i < n, env, known)):
                    return False
    return prove(Const(0) <= start, env, known)


def _at_most(x: Expr) -> list[Expr]:
    """Expressions that `x` does not exceed: itself, and each side of a minimum."""
    if isinstance(x, Binary) and x.op == "min":
        return [x, *_at_most(x.a), *_at_most(x.b)]
    return [x]


def _lengths(s: Stmt) -> dict[Var, Expr | None]:
    """The length of each loop; None where loops side by side share a name, not a length."""
    out: dict[Var, Expr | None] = {}
    for x in loops(s):
        out[x.var] = x.extent if out.get(x.var, x.extent) == x.extent else None
    return out


def _box(index: Expr, inner: dict[Var, Expr | None]) -> tuple[Expr, Expr] | None:
    """(start, length) of the values of an affine index over the inner loops."""
    start: Expr = index
    total: Expr = Const(1)
    for v, extent in inner.items():
        if not uses(index, v):
            continue
        part = coefficient(start, v)
        if part is None or part[0] < 0 or extent is None:
            return None
        factor, start = part
        total = total + (extent - 1) * factor
        if any(uses(extent, w) for w in inner):
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
    lengths: dict[Var, Expr] = {}
    store_at: list[Expr] = []
    for (start, n), v in zip(region, axes, strict=True):
        if any(x.var == v for x in nest):
            env[v] = simplify(start + v)
            lengths[v] = n
            store_at.append(v)
        elif n == Const(1) and simplify(start - v) == Const(0):
            store_at.append(Const(0))  # the loop is around the use as well
        else:
            raise refuse(
                "compute_at", local.name, f"other iterations of {v.name!r} compute what is read",
                f"choose a loop around {v.name!r}",
            )  # fmt: skip
    ones: dict[Var, Expr] = {v: Const(0) for v, n in lengths.items() if n == Const(1)}
    place = tuple(ones.get(v, v) if isinstance(v, Var) else v for v in store_at)
    env = {v: simplify(substitute(x, ones)) for v, x in env.items()}
    body = map_accesses(substitute_stmt(s, env), local.name, lambda _: (local, place))
    for x in reversed(nest):
        if x.var not in ones:
            body = For(x.var, lengths[x.var], LoopKind.SERIAL, body)
    return body


def _store_axes(producer: Stmt, name: str) -> tuple[Var, ...]:
    for s in sub_stmts(producer):
        if isinstance(s, Store) and s.buffer.name == name:
            vars_ = [i for i in s.indices if isinstance(i, Var)]
            if len(set(vars_)) == len(s.indices):
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


def _producer(step: str, s: Stmt, name: str) -> Stmt:
    """The smallest statement of a sequence that does all the writing to a buffer."""
    writers = [x for x in sub_stmts(s) if isinstance(x, Store | Update)]
    if sum(name in stored_buffers(x) for x in writers) != 1:
        raise refuse(
            step, name, "more than one statement writes it",
            "only a buffer that one store in one loop nest computes can be moved",
        )  # fmt: skip
    while True:
        match s:
            case Alloc(_, body):
                s = body
            case Seq(body):
                s = next(b for b in body if name in stored_buffers(b))
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
    producer = _producer("inline", rest, buffer)
    _require_movable("inline", rest, producer, buffer)
    axes = _store_axes(producer, buffer)
    core: Stmt = producer
    while isinstance(core, For):
        core = core.body
    if not isinstance(core, Store) or core.mask is not None:
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
