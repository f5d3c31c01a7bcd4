"""Inlining among the tensors of one kernel: fewer and larger expressions, no work done twice.

A tensor that merely renames places, or is a few operations, is put where it is read. One that is
read at a single point goes there too, its value bound by a `Let` where it occurs more than once.
A reduction is inlined only into what is pointwise in its axes, as the epilogue of a product.
Everything else stays a tensor of the kernel, for the schedule to place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tc.frozen import frozen
from tc.ir.expr import Binary, Const, Expr, Let, Read, Reduce, Select, Unary, Var
from tc.ir.interval import Interval
from tc.ir.simplify import simplify
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import bodies, topological
from tc.ir.visit import children, free_vars, map_expr, sub_exprs, substitute

TRIVIAL = 10  # nodes of a body that may be computed again wherever it is read
_COSTLY = frozenset(["div", "pow", "floordiv", "mod", "atan2", "fmod"])


@frozen
class Use:
    """One read of a tensor: by whom, where, under which axes, and in what."""

    reader: Tensor
    indices: tuple[Expr, ...]
    scope: tuple[Var, ...]
    reduced: bool
    guarded: bool


def inlined(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs over as few tensors; names of axes depend on the expressions alone."""
    before = -1
    while (now := len(topological(outputs))) != before:
        before, outputs = now, _once(outputs)
    return outputs


def _once(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    kept: dict[str, Tensor] = {}
    order = topological(outputs)
    names = {t.name for t in outputs}
    gone: dict[str, Compute] = {}
    for number, t in enumerate(order):
        new = _rewritten(t, kept, gone, number)
        kept[t.name] = new
        if t.name not in names and isinstance(new, Compute):
            uses = [u for o in order[number + 1 :] for u in uses_of(o, t.name)]
            if not new.message and _may_inline(new, uses):
                gone[t.name] = new
    return tuple(kept[t.name] for t in outputs)


# --- who reads what


def uses_of(t: Tensor, name: str) -> Iterator[Use]:
    """Every read of the tensor called `name` by `t`."""
    if isinstance(t, Placeholder):
        return
    axes = t.axes  # type: ignore[attr-defined]  # all but placeholders have axes
    if isinstance(t, Scatter) and t.base.name == name:
        yield Use(t, (), (), True, True)
    for body in bodies(t):
        yield from _uses(body, t, name, axes, False, False)


def _uses(
    x: Expr, t: Tensor, name: str, scope: tuple[Var, ...], reduced: bool, guarded: bool
) -> Iterator[Use]:
    if isinstance(x, Read) and x.tensor.name == name:
        yield Use(t, x.indices, scope, reduced, guarded)
    if isinstance(x, Reduce):
        scope, reduced = (*scope, *x.axes), True
    for n, kid in enumerate(children(x)):
        inside = guarded or (isinstance(x, Select) and n > 0)
        yield from _uses(kid, t, name, scope, reduced, inside)


def reads_in_place(use: Use) -> bool:
    """Whether each element is read once, at the point of its reader, in the reader's order."""
    places, axes = _places(use)
    return not use.reduced and places == axes


def keeps_rows(use: Use) -> bool:
    """Whether what says at which row the reader is, all axes but its last, is part of a place.

    It may be shifted, as slices do, but not taken apart.
    """
    axes = use.reader.axes[:-1]  # type: ignore[attr-defined]  # all but placeholders have axes
    return all(_is_shifted(i) or not free_vars(i).intersection(axes) for i in use.indices)


def _is_shifted(place: Expr) -> bool:
    if isinstance(place, Binary) and place.op in ("add", "sub") and isinstance(place.b, Const):
        place = place.a
    return isinstance(place, Var)


def _reads_once(use: Use) -> bool:
    """As `reads_in_place`, in any order of the axes."""
    places, axes = _places(use)
    return not use.reduced and len(places) == len(axes) and set(places) == set(axes)


def _places(use: Use) -> tuple[list[Expr], list[Var]]:
    """The places read, and the axes around, without those of a single point."""
    sizes = dict(zip(use.reader.axes, use.reader.shape, strict=True))  # type: ignore[attr-defined]
    single = {v for v in use.scope if sizes.get(v) == Const(1)}
    places = [i for i in use.indices if i != Const(0) and i not in single]
    return places, [v for v in use.scope if v not in single]


def _may_inline(t: Compute, uses: list[Use]) -> bool:
    if not uses or any(not u.indices and u.guarded and u.reduced for u in uses):
        return not uses
    has_reduce = any(isinstance(x, Reduce) for x in sub_exprs(t.body))
    if not has_reduce and is_trivial(t.body):
        return True
    first = uses[0]
    if any(u.reader.name != first.reader.name or u.indices != first.indices for u in uses):
        return False
    if not isinstance(first.reader, Compute):
        return False
    if has_reduce:
        return all(map(_reads_once, uses))
    if len(uses) > 1:
        # The one value stands before all uses, so it must exist also where no guard lets any read.
        return all(map(_reads_once, uses)) and any(_is_anywhere(u, t) for u in uses)
    return _never_again(first)


def _is_anywhere(use: Use, t: Compute) -> bool:
    """Whether the place of a read exists at every point of its reader."""
    sizes = dict(zip(use.reader.axes, use.reader.shape, strict=True))  # type: ignore[attr-defined]
    pairs = zip(use.indices, t.shape, strict=True)
    return not use.guarded or all(i == Const(0) or sizes.get(i) == n for i, n in pairs)


def _never_again(use: Use) -> bool:
    """Whether no element is computed twice: every axis around has a say in the place."""
    used = frozenset().union(*map(free_vars, use.indices))
    sizes = dict(zip(use.reader.axes, use.reader.shape, strict=True))  # type: ignore[attr-defined]
    return all(v in used or sizes.get(v) == Const(1) for v in use.scope)


def is_trivial(body: Expr) -> bool:
    """A few cheap operations, or another place however it is worked out."""
    if isinstance(body, Read):
        return not _is_gather(body)
    for size, x in enumerate(sub_exprs(body), 1):
        if size > TRIVIAL or isinstance(x, Reduce) or _is_gather(x):
            return False
        if isinstance(x, Unary) and x.op not in ("neg", "not", "abs"):
            return False
        if getattr(x, "op", None) in _COSTLY and x.dtype.is_float:
            return False
    return True


def checks_data(body: Expr) -> bool:
    """Whether computing it checks data: an index that is read, or a divisor that is."""
    return any(_is_gather(x) or _divides_by_data(x) for x in sub_exprs(body))


def _divides_by_data(x: Expr) -> bool:
    if not isinstance(x, Binary) or x.op not in ("floordiv", "mod") or not x.dtype.is_int:
        return False
    return any(isinstance(n, Read) for n in sub_exprs(x.b))


def _is_gather(x: Expr) -> bool:
    return isinstance(x, Read) and any(isinstance(n, Read) for i in x.indices for n in sub_exprs(i))


# --- rewriting


def _rewritten(
    t: Tensor, kept: Mapping[str, Tensor], gone: Mapping[str, Compute], number: int
) -> Tensor:
    """The tensor over what is kept, with canonical names of axes, simplified."""
    if isinstance(t, Placeholder):
        return t
    match t:
        case Compute(name, axes, shape, body, message):
            new, env = _fresh(axes, number)
            body = _body(body, env, new, shape, kept, gone, number)
            return Compute(name, new, shape, body, message)
        case Scan(name, axes, shape, dim, monoid, value):
            new, env = _fresh(axes, number)
            value = _body(value, env, new, shape, kept, gone, number)
            return Scan(name, new, shape, dim, monoid, value)
        case Scatter(name, base, axes, extents, indices, value, monoid, mask, in_place):
            new, env = _fresh(axes, number)
            parts = [*indices, value] if mask is None else [*indices, value, mask]
            done = [_body(x, env, new, extents, kept, gone, number) for x in parts]
            n = len(indices)
            guard = None if mask is None else done[n + 1]
            at = tuple(done[:n])
            return Scatter(
                name, kept[base.name], new, extents, at, done[n], monoid, guard, in_place
            )
    return t


def _fresh(axes: tuple[Var, ...], number: int) -> tuple[tuple[Var, ...], dict[Var, Expr]]:
    new = tuple(Var(f"i{n}_{number}") for n in range(len(axes)))
    return new, dict(zip(axes, new, strict=True))


def _body(
    body: Expr,
    env: Mapping[Var, Expr],
    axes: tuple[Var, ...],
    shape: tuple[Expr, ...],
    kept: Mapping[str, Tensor],
    gone: Mapping[str, Compute],
    number: int,
) -> Expr:
    body = substitute(body, env)
    counts: dict[str, int] = {}
    for x in sub_exprs(body):
        if isinstance(x, Read):
            counts[x.tensor.name] = counts.get(x.tensor.name, 0) + 1
    bound: dict[str, tuple[Var, Expr]] = {}

    def fn(x: Expr) -> Expr | None:
        if not isinstance(x, Read):
            return None
        name = x.tensor.name
        if name not in gone:
            return Read(kept[name], x.indices)
        inner = gone[name]
        value = substitute(inner.body, dict(zip(inner.axes, x.indices, strict=True)))
        if counts[name] == 1 or is_trivial(inner.body):
            return value
        var, _ = bound.setdefault(name, (Var(f"x{len(bound)}_{number}", inner.dtype), value))
        return var

    body = map_expr(body, fn)
    # A value may read another that is bound, so those bound first stand outermost.
    for var, value in reversed(list(bound.values())):
        body = Let(var, value, body)
    return _tidy(_numbered(body, number), axes, shape)


def _numbered(body: Expr, number: int) -> Expr:
    """The body with its reductions' axes called by their order of appearance."""
    env: dict[Var, Expr] = {}
    for x in sub_exprs(body):
        if isinstance(x, Reduce):
            for v in x.axes:
                env.setdefault(v, Var(f"k{len(env)}_{number}"))

    def fn(x: Expr) -> Expr | None:
        if isinstance(x, Var):
            return env.get(x)
        if isinstance(x, Reduce):
            axes = tuple(env.get(v, v) for v in x.axes)
            return Reduce(x.monoid, axes, x.extents, x.values, x.result)  # type: ignore[arg-type]
        return None

    return map_expr(body, fn)


def _tidy(body: Expr, axes: tuple[Var, ...], shape: tuple[Expr, ...]) -> Expr:
    """Simplified by what is known of the axes."""
    places = list(zip(axes, shape, strict=True))
    for x in sub_exprs(body):
        if isinstance(x, Reduce):
            places += zip(x.axes, x.extents, strict=True)
    distinct = dict(places)
    known = [v < n for v, n in distinct.items()]
    return simplify(body, {v: Interval(0, None) for v in distinct}, known)
