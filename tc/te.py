"""Writing tensor expressions: the public names of `tc.te`.

    M, K, N = te.sym("M"), 768, 3072
    A, B = te.placeholder((M, K)), te.placeholder((K, N))
    k = te.reduce_axis(K)
    C = te.compute((M, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k))

Shapes are integers or integer expressions over symbols. Nothing is computed here. `i < n` is an
expression and `te.equal(i, j)` is one; `i == j` asks Python whether two are written alike.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from tc.errors import CompileError
from tc.frozen import frozen
from tc.ir import monoid as monoids
from tc.ir.expr import (
    Binary,
    Const,
    Expr,
    ExprLike,
    Fma,
    Reduce,
    Sym,
    Unary,
    Var,
    binary,
    equal,
    maximum,
    minimum,
    not_bool,
    unary,
    wrap,
)
from tc.ir.expr import cast as convert
from tc.ir.expr import select as choose
from tc.ir.monoid import Monoid
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Shape, Tensor
from tc.ir.tensor_walk import bodies, reads
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from tc.ir.visit import free_vars, sub_exprs
from tc.schedule.apply import Scheduled

__all__ = [
    "BF16", "BOOL", "F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8",
    "Binary", "Compute", "Const", "DType", "Expr", "ExprLike", "Fma", "Monoid", "Placeholder",
    "ReduceAxis", "Scan", "Scatter", "Shape", "Sym", "Tensor", "Unary", "Var",
    "all", "any", "argmax", "argmin", "binary", "cast", "compute", "const", "dtype", "equal",
    "erf", "exp", "fresh", "log", "max", "maximum", "min", "minimum", "placeholder", "prod",
    "reduce", "reduce_axis", "rsqrt", "scan", "scatter", "schedule", "select", "shape_of",
    "sigmoid", "sqrt", "sum", "sym", "tanh", "unary", "where", "wrap",
]  # fmt: skip

DimLike = Expr | int
_names = itertools.count()
_ONE = Const(1)
_MOST = 1 << 48  # elements: more than any address space holds


def fresh(prefix: str) -> str:
    """A name that no other tensor or axis of this process has."""
    return f"{prefix}_{next(_names)}"


def dtype(name: str | DType) -> DType:
    """The element type called `name`, such as "f32"; CompileError lists the known names."""
    return _element_type(name)


def _element_type(name: str | DType) -> DType:
    try:
        return DType(name) if isinstance(name, str) else name
    except ValueError:
        known = ", ".join(t.value for t in DType)
        raise CompileError(f"dtype {name!r}: no such element type; known are {known}") from None


def sym(name: str, lo: int = 1, hi: int = 1 << 31) -> Sym:
    """A symbolic dim with inclusive bounds; one compiled kernel serves every value in them."""
    if not name.isidentifier() or not 0 <= lo <= hi:
        raise CompileError(f"sym({name!r}, {lo}, {hi}): needs an identifier and 0 <= lo <= hi")
    return Sym(name, lo, hi)


def const(value: float | bool, dtype: str | DType = F32) -> Const:
    """A number of that element type."""
    return Const(value, _element_type(dtype))


def cast(x: ExprLike, dtype: str | DType) -> Expr:
    """`x` converted to that element type; CompileError where there is none of this name."""
    return convert(not_bool(x), _element_type(dtype))


def shape_of(shape: Sequence[DimLike]) -> Shape:
    """The sizes as expressions; CompileError for one that is none: it must be in [0, 2**48)."""
    if isinstance(shape, Expr | int | str):
        raise CompileError(f"shape {shape!r}: is no sequence of sizes; write (n,)")
    sizes: Sequence[Any] = shape
    for size in sizes:
        whole = isinstance(size, Integral) and not isinstance(size, bool)
        if not isinstance(size, Expr) and not (whole and 0 <= size < _MOST):
            raise CompileError(
                f"shape {tuple(shape)}: {size!r} is no size; give whole numbers from 0 to "
                f"{_MOST - 1}, or te.sym"
            )
    return tuple(wrap(d if isinstance(d, Expr) else int(d)) for d in shape)


def placeholder(
    shape: Sequence[DimLike], dtype: str | DType = F32, name: str | None = None
) -> Placeholder:
    """An input of that shape and element type."""
    return Placeholder(name or fresh("p"), shape_of(shape), _element_type(dtype))


@frozen
class ReduceAxis(Var):
    """A reduction variable together with its extent."""

    extent: Expr = _ONE

    __hash__ = Var.__hash__
    __eq__ = Var.__eq__


def reduce_axis(extent: DimLike, name: str = "k") -> ReduceAxis:
    """An axis to reduce over; usable as an index inside `sum` and its kin."""
    return ReduceAxis(fresh(name), I64, 1, *shape_of((extent,)))


def compute(
    shape: Sequence[DimLike], fn: Callable[..., ExprLike], name: str | None = None
) -> Compute:
    """The tensor whose element at (i, j, …) is `fn(i, j, …)`."""
    dims = shape_of(shape)
    axes = _axes(fn, len(dims))
    body = not_bool(fn(*axes))
    return Compute(name or fresh("t"), axes, dims, wrap(body))


def _axes(fn: Callable[..., object], rank: int) -> tuple[Var, ...]:
    """Axes called as the parameters of `fn`, numbered so that no two tensors share one."""
    names = [
        p.name
        for p in inspect.signature(fn).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(names) > rank:
        raise CompileError(
            f"compute: the function takes {len(names)} indices, the shape has {rank}"
        )
    names += [f"i{n}" for n in range(len(names), rank)]
    return tuple(Var(fresh(n)) for n in names)


Axis = ReduceAxis | Sequence[ReduceAxis]


def reduce(
    monoid: Monoid,
    values: Sequence[ExprLike],
    axis: Axis,
    result: Callable[..., Expr] | None = None,
) -> Expr:
    """Fold over `axis` with any monoid; `result` maps the final states to one expression."""
    axes = (axis,) if isinstance(axis, ReduceAxis) else axis
    if not isinstance(axes, Sequence) or {ReduceAxis}.union(map(type, axes)) != {ReduceAxis}:
        raise CompileError(f"axis={axis!r}: give te.reduce_axis(n), or a tuple of some")
    if len(set(axes)) < len(axes):
        raise CompileError(
            f"axis {axes[0].name} and others: one stands there twice; give each once"
        )
    lifted = tuple(wrap(v, left) for v, left in zip(values, monoid.left, strict=True))
    final = monoid.left[0] if result is None else result(*monoid.left)
    plain = tuple(Var(a.name) for a in axes)
    return Reduce(monoid, plain, tuple(a.extent for a in axes), lifted, final)


def sum(x: ExprLike, axis: Axis) -> Expr:
    value = wrap(x)
    return reduce(monoids.sum_of(value.dtype), (value,), axis)


def prod(x: ExprLike, axis: Axis) -> Expr:
    value = wrap(x)
    return reduce(monoids.prod_of(value.dtype), (value,), axis)


def max(x: ExprLike, axis: Axis) -> Expr:
    value = wrap(x)
    return reduce(monoids.max_of(value.dtype), (value,), axis)


def min(x: ExprLike, axis: Axis) -> Expr:
    value = wrap(x)
    return reduce(monoids.min_of(value.dtype), (value,), axis)


def any(x: Expr, axis: Axis) -> Expr:
    return reduce(monoids.any_of(), (x,), axis)


def all(x: Expr, axis: Axis) -> Expr:
    return reduce(monoids.all_of(), (x,), axis)


def argmax(x: Expr, axis: ReduceAxis) -> Expr:
    """The first index of the greatest value; NaN counts as greatest."""
    return reduce(monoids.argmax_of(x.dtype), (x, Var(axis.name)), axis, lambda v, i: i)


def argmin(x: Expr, axis: ReduceAxis) -> Expr:
    """The first index of the least value; NaN counts as least."""
    return reduce(monoids.argmin_of(x.dtype), (x, Var(axis.name)), axis, lambda v, i: i)


def scan(
    shape: Sequence[DimLike],
    fn: Callable[..., Expr],
    dim: int,
    monoid: Monoid | None = None,
    name: str | None = None,
) -> Scan:
    """The running fold (a sum unless said otherwise) of `fn(i, …)` along `dim`."""
    dims = shape_of(shape)
    rank = len(dims)
    if not -rank <= dim < rank:
        raise CompileError(f"scan along dim {dim}: the shape has {rank} dims; count from 0")
    axes = _axes(fn, rank)
    value = fn(*axes)
    fold = monoids.sum_of(value.dtype) if monoid is None else monoid
    return Scan(name or fresh("t"), axes, dims, dim % rank, fold, value)


def scatter(
    base: Tensor,
    extents: Sequence[DimLike],
    fn: Callable[..., tuple[Sequence[ExprLike], Expr]],
    monoid: Monoid | None = None,
    mask: Callable[..., Expr] | None = None,
    name: str | None = None,
) -> Scatter:
    """`base` with out[indices] = value, or folded in, for each point; `fn` gives both."""
    dims = shape_of(extents)
    axes = _axes(fn, len(dims))
    indices, value = fn(*axes)
    where_ = None if mask is None else mask(*axes)
    at = tuple(wrap(i) for i in indices)
    return Scatter(name or fresh("t"), base, axes, dims, at, value, monoid, where_)


def schedule(
    outputs: Tensor | Sequence[Tensor], inputs: Sequence[Placeholder] | None = None
) -> Scheduled:
    """Tensors for one kernel and no step yet: `te.schedule(C).tile("i", "j", 8, 32)`.

    `inputs` are the kernel's arguments in order; default: in order of first use.

    Raises:
        CompileError: what no loops can be made of.
    """
    computed = (outputs,) if isinstance(outputs, Tensor) else outputs
    _check_outputs(computed)
    read = _check_tensors(computed)
    for p in read if inputs is not None else ():
        if p not in (inputs or ()):
            raise CompileError(f"schedule: {p.name} is read, but is not among the inputs; add it")
    return Scheduled(tuple(computed), None if inputs is None else tuple(inputs))


def _check_outputs(outputs: Sequence[Tensor]) -> None:
    listed = isinstance(outputs, Sequence) and len(outputs) > 0
    for t in outputs if listed else (None,):
        if not isinstance(t, Tensor):
            raise CompileError(f"schedule({outputs!r}): is no tensor; give what te.compute made")
        if isinstance(t, Placeholder):
            raise CompileError(f"schedule: output {t.name} is an input; copy it with a compute")
    if len({t.name for t in outputs}) < len(outputs):
        raise CompileError("schedule: an output stands there twice; give each once")


def _check_tensors(outputs: Sequence[Tensor]) -> list[Placeholder]:
    """The inputs that are read, after a look at every tensor on the way."""
    found: dict[str, Tensor] = {}
    symbols: dict[str, Sym] = {}
    left = list(outputs)
    while left:
        t = left.pop()
        known = found.setdefault(t.name, t)
        if known is not t:
            if known != t:
                raise CompileError(f"tensor {t.name}: two are called that; give each its own name")
            continue
        left += [read.tensor for read in reads(t)]
        left += [t.base] if isinstance(t, Scatter) else []
        _check_bodies(t)
        for x in (e for size in (*t.shape, *bodies(t)) for e in sub_exprs(size)):
            if isinstance(x, Sym) and symbols.setdefault(x.name, x) != x:
                raise CompileError(f"symbol {x.name}: has two sets of bounds; make it once")
    return [t for t in found.values() if isinstance(t, Placeholder)]


def _check_bodies(t: Tensor) -> None:
    own = frozenset(t.axes) if isinstance(t, Compute | Scan | Scatter) else frozenset()
    for x in bodies(t):
        for var in sorted(v.name for v in free_vars(x) - own):
            raise CompileError(
                f"tensor {t.name}: {var} is an index of nothing around it; reduce over it with "
                "axis=, or take an index of the function"
            )
    for read in reads(t):
        for i in read.indices:
            if not i.dtype.is_int:
                said = f"tensor {t.name}: an index of {read.tensor.name} is of {i.dtype}"
                raise CompileError(f"{said}; te.cast it to i64")


def select(cond: Expr, then: ExprLike, other: ExprLike) -> Expr:
    """`then if cond else other`, which of the two is decided for each element."""
    return choose(wrap(not_bool(cond)), then, other)


where = select


def exp(x: ExprLike) -> Expr:
    return unary("exp", wrap(x))


def log(x: ExprLike) -> Expr:
    return unary("log", wrap(x))


def sqrt(x: ExprLike) -> Expr:
    return unary("sqrt", wrap(x))


def rsqrt(x: ExprLike) -> Expr:
    return unary("rsqrt", wrap(x))


def tanh(x: ExprLike) -> Expr:
    return unary("tanh", wrap(x))


def erf(x: ExprLike) -> Expr:
    return unary("erf", wrap(x))


def sigmoid(x: ExprLike) -> Expr:
    return unary("sigmoid", wrap(x))
