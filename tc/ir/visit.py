"""Walking and rewriting trees: the one place that knows the children of every node.

A rewriting function gives None for "unchanged", and nodes without a change stay the same object,
so that identity tells whether anything happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import is_
from typing import Final

from tc.errors import InternalError
from tc.ir.expr import (
    Binary,
    Bitcast,
    Broadcast,
    Cast,
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
    Unary,
    Var,
)
from tc.ir.loop import Alloc, Assert, Buffer, For, Func, If, Prefetch, Seq, Stmt, Store, Update, seq

# Classes without children, and those of them without variables: `type(x) in LEAVES` takes a third
# of the time of `isinstance(x, Const | Var | Sym)`, and every pass asks it of every node.
LEAVES: Final = frozenset((Const, Var, Sym))
CLOSED: Final = frozenset((Const, Sym))
_NONE: Final[frozenset[Var]] = frozenset()

ExprFn = Callable[[Expr], Expr | None]
StmtFn = Callable[[Stmt], Stmt | None]


def children(x: Expr) -> tuple[Expr, ...]:
    """The sub-expressions of `x`, in printed order."""
    # Most nodes are of these, and a match tries one class after the other.
    if type(x) in LEAVES:
        return ()
    if isinstance(x, Binary):
        return (x.a, x.b)
    if isinstance(x, Load):
        return x.indices if x.mask is None else (*x.indices, x.mask)
    match x:
        case Const() | Var() | Sym():
            return ()
        case Unary(_, a) | Cast(a, _) | Bitcast(a, _) | Broadcast(a, _) | LaneReduce(_, a):
            return (a,)
        case Ramp(a, b, _) | Let(_, a, b):
            return (a, b)
        case Fma(a, b, c) | Select(a, b, c) | Dot(a, b, c):
            return (a, b, c)
        case Read(_, indices):
            return indices
        case Reduce(_, _, extents, values, result):
            return (*extents, *values, result)
    raise InternalError(f"children: {type(x).__name__} is not a node of tc.ir.expr")


def with_children(x: Expr, new: tuple[Expr, ...]) -> Expr:
    """`x` with other sub-expressions, in the order of `children`."""
    if isinstance(x, Binary):
        return Binary(x.op, new[0], new[1])
    match x:
        case Unary(op, _):
            return Unary(op, new[0])
        case Cast(_, dtype):
            return Cast(new[0], dtype)
        case Bitcast(_, dtype):
            return Bitcast(new[0], dtype)
        case Broadcast(_, width):
            return Broadcast(new[0], width)
        case LaneReduce(op, _):
            return LaneReduce(op, new[0])
        case Ramp(_, _, width):
            return Ramp(new[0], new[1], width)
        case Let(var, _, _):
            return Let(var, new[0], new[1])
        case Fma():
            return Fma(*new)
        case Dot():
            return Dot(*new)
        case Select():
            return Select(*new)
        case Load(buffer, indices, mask):
            n = len(indices)
            return Load(buffer, new[:n], None if mask is None else new[n])
        case Read(tensor, _):
            return Read(tensor, new)
        case Reduce(monoid, axes, extents, values, _):
            n, m = len(extents), len(extents) + len(values)
            return Reduce(monoid, axes, new[:n], new[n:m], new[m])
    raise InternalError(f"with_children: {type(x).__name__} has no children")


def map_expr(x: Expr, fn: ExprFn) -> Expr:
    """Rewrite bottom-up: children first, then `fn` on the node made of the new children."""
    if isinstance(x, Binary):  # most nodes are, but for leaves
        a, b = map_expr(x.a, fn), map_expr(x.b, fn)
        if a is not x.a or b is not x.b:
            x = Binary(x.op, a, b)
    elif kids := children(x):
        new = tuple([map_expr(k, fn) for k in kids])
        if not all(map(is_, kids, new)):
            x = with_children(x, new)
    out = fn(x)
    return x if out is None else out


def map_stmt(s: Stmt, expr: ExprFn | None = None, stmt: StmtFn | None = None) -> Stmt:
    """Rewrite bottom-up: every expression by `expr`, then every statement by `stmt`."""
    on = None if expr is None else (lambda x: map_expr(x, expr))
    return _map_stmt(s, on, stmt)


def rewrite_exprs(s: Stmt, on: Callable[[Expr], Expr]) -> Stmt:
    """Replace every maximal expression x of the statement by `on(x)`."""
    return _map_stmt(s, on, None)


def _map_stmt(s: Stmt, on: Callable[[Expr], Expr] | None, stmt: StmtFn | None) -> Stmt:
    new = _around(s, stmt) if on is None else _rebuild(s, on, stmt)
    if stmt is None:
        return new
    out = stmt(new)
    return new if out is None else out


def _around(s: Stmt, stmt: StmtFn | None) -> Stmt:
    """`s` with the statements inside rewritten, and every expression as it is."""
    match s:
        case For(var, extent, kind, body):
            b = _map_stmt(body, None, stmt)
            return s if b is body else For(var, extent, kind, b)
        case Seq(body):
            news = tuple([_map_stmt(b, None, stmt) for b in body])
            return s if all(map(is_, body, news)) else seq(*news)
        case If(cond, then, other):
            t = _map_stmt(then, None, stmt)
            o = None if other is None else _map_stmt(other, None, stmt)
            return s if t is then and o is other else If(cond, t, o)
        case Alloc(buffer, body):
            b = _map_stmt(body, None, stmt)
            return s if b is body else Alloc(buffer, b)
    return s


def _rebuild(s: Stmt, on: Callable[[Expr], Expr], stmt: StmtFn | None) -> Stmt:
    match s:
        case For(var, extent, kind, body):
            e, b = on(extent), _map_stmt(body, on, stmt)
            return s if e is extent and b is body else For(var, e, kind, b)
        case Seq(body):
            news = tuple([_map_stmt(b, on, stmt) for b in body])
            if all(map(is_, body, news)):
                return s
            return seq(*news)
        case If(cond, then, other):
            c, t = on(cond), _map_stmt(then, on, stmt)
            o = None if other is None else _map_stmt(other, on, stmt)
            return s if c is cond and t is then and o is other else If(c, t, o)
        case Alloc(buffer, body):
            shape = _map_all(buffer.shape, on)
            b = _map_stmt(body, on, stmt)
            if shape is not buffer.shape:
                new = Buffer(buffer.name, shape, buffer.dtype, buffer.scope, buffer.align)
                return Alloc(new, replace_buffer(b, buffer.name, new))
            return s if b is body else Alloc(buffer, b)
        case Store(buffer, indices, value, mask):
            i, v = _map_all(indices, on), on(value)
            m = None if mask is None else on(mask)
            if i is indices and v is value and m is mask:
                return s
            return Store(buffer, i, v, m)
        case Update(monoid, buffers, indices, values):
            i, vs = _map_all(indices, on), _map_all(values, on)
            return s if i is indices and vs is values else Update(monoid, buffers, i, vs)
        case Assert(cond, message):
            c = on(cond)
            return s if c is cond else Assert(c, message)
        case Prefetch(buffer, indices, near):
            i = _map_all(indices, on)
            return s if i is indices else Prefetch(buffer, i, near)
    raise InternalError(f"map_stmt: {type(s).__name__} is not a node of tc.ir.loop")


def _map_all(xs: tuple[Expr, ...], on: Callable[[Expr], Expr]) -> tuple[Expr, ...]:
    new = tuple([on(x) for x in xs])
    return xs if all(map(is_, xs, new)) else new


def substitute(x: Expr, env: Mapping[Var, Expr]) -> Expr:
    """`x` with variables replaced. Names are unique, so no capture can happen."""
    return _substituted(x, env) if env else x


def substitute_stmt(s: Stmt, env: Mapping[Var, Expr]) -> Stmt:
    """`s` with variables replaced in every expression."""
    return rewrite_exprs(s, lambda x: _substituted(x, env)) if env else s


def _substituted(x: Expr, env: Mapping[Var, Expr]) -> Expr:
    if isinstance(x, Var):
        return env.get(x, x)
    if free_vars(x).isdisjoint(env):
        return x
    kids = children(x)
    new = tuple([_substituted(k, env) for k in kids])
    return x if all(map(is_, kids, new)) else with_children(x, new)


def sub_exprs(x: Expr) -> Iterator[Expr]:
    """`x` and everything below it, parents first."""
    todo = [x]  # nested generators would hand each node through all levels above it
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Binary):
            todo += (node.b, node.a)
        elif type(node) not in LEAVES:
            todo += children(node)[::-1]


def sub_stmts(s: Stmt) -> Iterator[Stmt]:
    """`s` and every statement below it, parents first."""
    todo = [s]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Store):  # as most are where loops are unrolled
            continue
        match node:
            case For(body=body) | Alloc(body=body):
                todo.append(body)
            case Seq(body=stmts):
                todo.extend(stmts[::-1])
            case If(_, then, other):
                if other is not None:
                    todo.append(other)
                todo.append(then)


def own_exprs(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that stand in `s` itself, not in statements below it."""
    match s:
        case For(_, extent, _, _):
            return (extent,)
        case If(cond, _, _) | Assert(cond, _):
            return (cond,)
        case Alloc(buffer, _):
            return buffer.shape
        case Store(_, indices, value, mask):
            return (*indices, value) if mask is None else (*indices, value, mask)
        case Update(_, _, indices, values):
            return (*indices, *values)
        case Prefetch(_, indices):
            return indices
    return ()


def exprs_of(s: Stmt) -> Iterator[Expr]:
    """Every expression node anywhere in `s`."""
    for inner in sub_stmts(s):
        for x in own_exprs(inner):
            yield from sub_exprs(x)


def distinct_exprs_of(s: Stmt) -> Iterator[Expr]:
    """As `exprs_of`, but what is shared comes once."""
    seen: set[int] = set()
    for inner in sub_stmts(s):
        todo = list(own_exprs(inner)[::-1])
        while todo:
            node = todo.pop()
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                if type(node) not in LEAVES:
                    todo += children(node)[::-1]


def bound_names(s: Stmt) -> set[Var]:
    """What loops and `Let` bind in `s`; it means nothing in front of it."""
    loops = {x.var for x in sub_stmts(s) if isinstance(x, For)}
    return loops | {x.var for x in distinct_exprs_of(s) if isinstance(x, Let)}


def loads_of(s: Stmt) -> Iterator[Load]:
    """Every load anywhere in `s`."""
    return (x for x in exprs_of(s) if isinstance(x, Load))


def free_vars(x: Expr) -> frozenset[Var]:
    """The variables of `x` that nothing inside it binds."""
    if type(x) in CLOSED:
        return _NONE
    try:
        return x._free
    except AttributeError:
        found = _free_vars(x)
        object.__setattr__(x, "_free", found)
        return found


def _free_vars(x: Expr) -> frozenset[Var]:
    match x:
        case Var():
            return frozenset((x,))
        case Let(var, value, body):
            return free_vars(value) | (free_vars(body) - {var})
        case Reduce(monoid, axes, extents, values, result):
            inner = _NONE.union(*map(free_vars, values)) - set(axes)
            bound = free_vars(result) - set(monoid.left)
            return inner.union(bound, *map(free_vars, extents))
    kids = [found for k in children(x) if (found := free_vars(k))]
    return kids[0] if len(kids) == 1 else _NONE.union(*kids)


def uses(x: Expr, var: Var) -> bool:
    """Whether `x` depends on `var`."""
    return var in free_vars(x)


def replace_buffer(s: Stmt, name: str, new: Buffer) -> Stmt:
    """Every access of the buffer called `name` goes to `new` with the same indices."""
    return map_accesses(s, name, lambda indices: (new, indices))


def map_accesses(
    s: Stmt, name: str, fn: Callable[[tuple[Expr, ...]], tuple[Buffer, tuple[Expr, ...]]]
) -> Stmt:
    """Every load, store and update of buffer `name` goes where `fn(indices)` says."""
    return _move(s, lambda b, i: fn(i) if b.name == name else (b, i))


def move_buffers(
    s: Stmt,
    new: Mapping[str, Buffer],
    fn: Callable[[tuple[Expr, ...]], tuple[Expr, ...]],
) -> Stmt:
    """Every access of a buffer named in `new` goes to the new one, at `fn(indices)`."""
    return _move(s, lambda b, i: (new[b.name], fn(i)) if b.name in new else (b, i))


Place = tuple[Buffer, tuple[Expr, ...]]


def _move(s: Stmt, at: Callable[[Buffer, tuple[Expr, ...]], Place]) -> Stmt:
    def expr(x: Expr) -> Expr | None:
        if not isinstance(x, Load):
            return None
        buffer, indices = at(x.buffer, x.indices)
        same = buffer is x.buffer and indices is x.indices
        return None if same else Load(buffer, indices, x.mask)

    def stmt(x: Stmt) -> Stmt | None:
        match x:
            case Store(buffer, indices, value, mask):
                new, place = at(buffer, indices)
                same = new is buffer and place is indices
                return None if same else Store(new, place, value, mask)
            case Update(monoid, buffers, indices, values):
                moved = [at(b, indices) for b in buffers]
                place = moved[0][1]
                if any(p != place for _, p in moved):
                    raise InternalError("move: the states of a fold share their indices")
                news = tuple(b for b, _ in moved)
                same = place is indices and all(map(is_, news, buffers))
                return None if same else Update(monoid, news, place, values)
            case Prefetch(buffer, indices, near):
                return Prefetch(*at(buffer, indices), near)
        return None

    return map_stmt(s, expr, stmt)


def with_body(func: Func, body: Stmt) -> Func:
    """`func` with another body."""
    if body is func.body:
        return func
    return Func(func.name, func.params, func.symbols, func.outputs, body)
