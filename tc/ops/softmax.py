"""Softmax and log-softmax: the maximum taken out, each exponential evaluated once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import F32, F64, DType
from tc.ops import references as ref
from tc.ops.dims import axes_of
from tc.ops.promotion import compute_type
from tc.ops.reductions import along, folded, rowwise
from tc.ops.samples import array, ints, sample


def _statistics(
    x: Tensor, axes: tuple[int, ...], inner: DType, result: Callable[[Expr], Expr]
) -> tuple[Tensor, Tensor, Tensor]:
    """The maximum, exp(x - maximum) and `result` of its sum, along `axes`."""

    def fold_max(value: Expr, ks: tuple[te.ReduceAxis, ...]) -> Expr:
        value = cast(value, inner)
        return te.max(value, ks) if ks else value

    top = folded("softmax_max", x, axes, True, fold_max)

    def exponential(*index: Expr) -> Expr:
        return te.unary("exp_nonpos", cast(x[index], inner) - along(top, index, axes))

    terms = te.compute(x.shape, exponential, te.fresh("softmax_exp"))
    total = folded("softmax_sum", terms, axes, True, lambda v, k: result(te.sum(v, k) if k else v))
    return top, terms, total


def _kind(name: str, x: Tensor, dtype: DType | None) -> DType:
    """The type of the result; PyTorch has none for integers."""
    if dtype is None and not x.dtype.is_float:
        raise UnsupportedError(f"{name}: of {x.dtype}; cast it to a float type")
    return dtype or x.dtype


def softmax(x: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x - max) / Σ exp(x - max) along a dim."""
    kind = _kind("softmax", x, dtype)
    axes = axes_of(dim, x.rank, "softmax")
    inner = compute_type(kind)
    # One division for each row, and the sum is never less than 1.
    _, terms, share = _statistics(x, axes, inner, lambda total: Const(1, inner) / total)

    def element(*index: Expr) -> Expr:
        return cast(terms[index] * along(share, index, axes), kind)

    return te.compute(x.shape, element, te.fresh("softmax"))


def log_softmax(x: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """x - max - log Σ exp(x - max) along a dim."""
    kind = _kind("log_softmax", x, dtype)
    inner = compute_type(kind)
    axes = axes_of(dim, x.rank, "log_softmax")
    top, _, shift = _statistics(x, axes, inner, te.log)

    def element(*index: Expr) -> Expr:
        value = cast(x[index], inner) - along(top, index, axes)
        return cast(value - along(shift, index, axes), kind)

    return te.compute(x.shape, element, te.fresh("log_softmax"))


_SAMPLES = (
    sample(array(3, 5), -1, None),
    sample(array(2, 17, 3), 1, None),
    sample(array(4, 33, low=-90, high=90), -1, None),
    sample(array(0, 3), 1, None),
    sample(array(3, 5), 0, F64),
    sample(array(7, dtype="bf16"), 0, F32),
    sample(array(), 0, None),
)


def _drop(fn: Any) -> Any:
    return lambda x, dim, *_: fn(x, dim)


@rowwise("softmax", _drop(ref.softmax), *_SAMPLES, sample(ints(3, 5), 1, F32),
         aten=("aten.softmax.int",))  # fmt: skip
def build_softmax(x: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """Softmax along a dim, of x cast to `dtype` where given."""
    return softmax(x, dim, dtype)


@rowwise("log_softmax", _drop(ref.log_softmax), *_SAMPLES, aten=("aten.log_softmax.int",))
def build_log_softmax(x: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """Log-softmax along a dim, of x cast to `dtype` where given."""
    return log_softmax(x, dim, dtype)


_CORE = (sample(array(3, 5), -1, False), sample(array(2, 17, 3), 1, False))


@rowwise("softmax_core", _drop(ref.softmax), *_CORE,
         aten=("aten._softmax.default",))  # fmt: skip
def build_softmax_core(x: Tensor, dim: int, _half_to_float: bool = False) -> Tensor:
    """Softmax along a dim."""
    return softmax(x, dim)


@rowwise("log_softmax_core", _drop(ref.log_softmax), *_CORE, aten=("aten._log_softmax.default",))
def build_log_softmax_core(x: Tensor, dim: int, _half_to_float: bool = False) -> Tensor:
    """Log-softmax along a dim."""
    return log_softmax(x, dim)
