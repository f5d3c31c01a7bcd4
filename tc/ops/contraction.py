"""Contractions: products summed over axes, each one tensor with its natural axes.

Half-precision factors are multiplied and summed in f32. Nothing here chooses loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, cast
from tc.ir.tensor import Shape, Tensor
from tc.ir.types import DType, promote
from tc.ops.dims import ZERO, Dim, broadcast, known, stretched
from tc.ops.promotion import compute_type
from tc.ops.samples import array, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator


def contraction(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A row of kind CONTRACTION for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.CONTRACTION,
        reference=reference,
        samples=samples,
    )


def check_sizes(a: Expr, b: Expr, op: str) -> None:
    """CompileError where two sizes that are summed over together are known to differ."""
    x, y = known(a), known(b)
    if x is not None and y is not None and x != y:
        raise CompileError(f"{op}: sums over {x} and {y} elements; the sizes must be equal")


def sum_over(extent: Dim, dtype: DType, fn: Callable[[Expr], Sequence[Expr]]) -> Expr:
    """Σ over one axis of the product of the factors that `fn` gives, in the type for `dtype`."""
    k = te.reduce_axis(extent)
    return te.sum(times(fn(k), compute_type(dtype)), k)


def times(factors: Sequence[Expr], dtype: DType) -> Expr:
    """The product of the factors, each cast to `dtype` first."""
    out = cast(factors[0], dtype)
    for f in factors[1:]:
        out = out * cast(f, dtype)
    return out


def _linear_ref(x: Any, w: Any, b: Any = None) -> Any:
    y = x @ w.T
    return y if b is None else y + b


@contraction(
    "linear",
    _linear_ref,
    sample(array(2, 3, 8), array(5, 8), array(5)),
    sample(array(1, 17), array(16, 17), None),
    sample(array(8), array(5, 8), array(5)),
    sample(array(0, 3, 8), array(5, 8), array(5)),
    sample(array(3, 0), array(4, 0), array(4)),
    sample(array(3, 8), array(8), None),
    sample(array(3, 8, dtype="bf16"), array(5, 8, dtype="bf16"), array(5, dtype="bf16")),
)
def build_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[..., n] = Σ_k x[..., k] weight[n, k] + bias[n]."""
    check_sizes(x.shape[-1], weight.shape[-1], "linear")
    dtype = promote(x.dtype, weight.dtype)
    outer = x.rank - 1
    shape = (*x.shape[:-1], *weight.shape[:-1])
    depth = weight.shape[-1] if known(weight.shape[-1]) is not None else x.shape[-1]

    def element(*index: Expr) -> Expr:
        row, column = index[:outer], index[outer:]
        total = sum_over(depth, dtype, lambda k: (x[(*row, k)], weight[(*column, k)]))
        if bias is not None:
            total = total + cast(bias[column] if bias.rank else bias[()], total.dtype)
        return cast(total, dtype)

    return te.compute(shape, element, te.fresh("linear"))


def product_of(a: Tensor, b: Tensor, name: str = "matmul") -> Tensor:
    """a @ b with the rules of matmul for vectors and stacks of matrices."""
    if a.rank == 0 or b.rank == 0:
        raise CompileError(f"{name}: a scalar has no matrix product; multiply with mul")
    depth = a.shape[-1]
    other = b.shape[-2] if b.rank > 1 else b.shape[0]
    check_sizes(depth, other, name)
    if known(other) is not None:
        depth = other
    dtype = promote(a.dtype, b.dtype)
    batch = broadcast(name, a.shape[:-2], b.shape[:-2])
    rows: Shape = a.shape[-2:-1] if a.rank > 1 else ()
    columns: Shape = b.shape[-1:] if b.rank > 1 else ()

    def element(*index: Expr) -> Expr:
        outer = index[: len(batch)]
        row = index[len(batch) : len(batch) + len(rows)]
        column = index[len(batch) + len(rows) :]
        at_a = _batch_index(a, batch, outer)
        at_b = _batch_index(b, batch, outer)
        total = sum_over(depth, dtype, lambda k: (a[(*at_a, *row, k)], b[(*at_b, k, *column)]))
        return cast(total, dtype)

    return te.compute((*batch, *rows, *columns), element, te.fresh(name))


def _batch_index(t: Tensor, batch: Shape, index: Sequence[Expr]) -> tuple[Expr, ...]:
    """The leading indices of `t`, at 0 where its size of 1 stretches."""
    dims = t.shape[:-2]
    skip = len(batch) - len(dims)
    return tuple(
        ZERO if known(s) == 1 and known(batch[skip + n]) != 1 else index[skip + n]
        for n, s in enumerate(dims)
    )


@contraction(
    "matmul",
    np.matmul,
    sample(array(3, 8), array(8, 5)),
    sample(array(2, 3, 8), array(2, 8, 5)),
    sample(array(2, 4, 3, 8), array(2, 4, 8, 17)),
    sample(array(2, 1, 3, 8), array(4, 8, 5)),
    sample(array(8), array(8)),
    sample(array(8), array(8, 5)),
    sample(array(3, 8), array(8)),
    sample(array(2, 3, 8), array(8)),
    sample(array(8), array(2, 8, 5)),
    sample(array(2, 3, 8), array(8, 5)),
    sample(array(0, 8), array(8, 5)),
    sample(array(3, 0), array(0, 5)),
    sample(ints(3, 4), ints(4, 5)),
)
def build_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b: of vectors, matrices and stacks of matrices that broadcast."""
    return product_of(a, b)


@contraction("mm", np.matmul, sample(array(3, 8), array(8, 5)), sample(array(1, 17), array(17, 16)))
def build_mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices."""
    return product_of(a, b, "mm")


@contraction("bmm", np.matmul, sample(array(2, 3, 8), array(2, 8, 5)),
             sample(array(0, 3, 8), array(0, 8, 5)))  # fmt: skip
def build_bmm(a: Tensor, b: Tensor) -> Tensor:
    """The products of two stacks of matrices."""
    return product_of(a, b, "bmm")


@contraction("mv", np.matmul, sample(array(3, 8), array(8)))
def build_mv(a: Tensor, b: Tensor) -> Tensor:
    """A matrix times a vector."""
    return product_of(a, b, "mv")


@contraction("dot", np.dot, sample(array(17), array(17)), aten=("aten.dot.default",))
def build_dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_k a[k] b[k]."""
    return product_of(a, b, "dot")


@contraction("outer", np.outer, sample(array(3), array(5)),
             aten=("aten.outer.default", "aten.ger.default"))  # fmt: skip
def build_outer(a: Tensor, b: Tensor) -> Tensor:
    """a[i] b[j]."""
    dtype = promote(a.dtype, b.dtype)

    def element(i: Expr, j: Expr) -> Expr:
        return cast(times((a[i], b[j]), compute_type(dtype)), dtype)

    return te.compute((*a.shape, *b.shape), element, te.fresh("outer"))


def _added(name: str, base: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float) -> Tensor:
    """beta * base + alpha * (a @ b), the base broadcast."""
    check_sizes(a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[-1], name)
    dtype = promote(promote(a.dtype, b.dtype), base.dtype)
    inner = compute_type(dtype)
    plain = product_of(a, b)
    depth = a.shape[-1] if known(b.shape[a.rank - 2]) is None else b.shape[a.rank - 2]

    def element(*index: Expr) -> Expr:
        row, column = index[: a.rank - 1], index[a.rank - 1 :]
        outer = index[: a.rank - 2]
        total = sum_over(depth, dtype, lambda k: (a[(*row, k)], b[(*outer, k, *column)]))
        if alpha != 1:
            total = total * Const(alpha, inner)
        if beta == 0:
            return cast(total, dtype)
        start = cast(stretched(base, plain.shape, index), inner)
        return cast(total + (start if beta == 1 else start * Const(beta, inner)), dtype)

    return te.compute(plain.shape, element, te.fresh(name))


def _added_ref(base: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
    return (0 if beta == 0 else beta * base) + alpha * (a @ b)


@contraction(
    "addmm",
    _added_ref,
    sample(array(5), array(3, 8), array(8, 5), 1, 1),
    sample(array(3, 5), array(3, 8), array(8, 5), 0.5, 2.0),
    sample(array(1, 5), array(3, 8), array(8, 5), 0, 1),
)
def build_addmm(base: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * base + alpha * (a @ b)."""
    return _added("addmm", base, a, b, beta, alpha)


@contraction(
    "baddbmm",
    _added_ref,
    sample(array(2, 3, 5), array(2, 3, 8), array(2, 8, 5), 1, 1),
    sample(array(3, 1), array(2, 3, 8), array(2, 8, 5), 0.5, 2.0),
)
def build_baddbmm(base: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * base + alpha * (a @ b) for stacks of matrices."""
    return _added("baddbmm", base, a, b, beta, alpha)


@contraction("addmv", _added_ref, sample(array(3), array(3, 8), array(8), 1, 1))
def build_addmv(base: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * base + alpha * (a @ b) for a vector b."""
    return _added("addmv", base, a, b, beta, alpha)
