"""Tensors made of nothing: constants, ranges, identity matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tc import te
from tc.errors import CompileError
from tc.ir.expr import Expr, cast, equal, select, wrap
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F32, F64, I32, I64, DType
from tc.ops.casts import NUMPY
from tc.ops.dims import Dim, at_least, ceil_div, larger, quotient, shape_of, tidy
from tc.ops.promotion import Number, number_as, number_type
from tc.ops.samples import array, ints, sample
from tc.ops.table import Builder, Kind, Sample, operator


def create(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A row of kind CREATE for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.CREATE,
        reference=reference,
        samples=samples,
    )


def filled(name: str, size: Sequence[Dim], value: Number, dtype: DType) -> Tensor:
    """A tensor of one value."""
    return te.compute(shape_of(size), lambda *_: number_as(value, dtype), te.fresh(name))


def _np(dtype: DType | None, default: DType = F32) -> Any:
    return NUMPY[dtype or default]


def _full_ref(size: Any, value: Any, dtype: DType | None = None, *_: object) -> Any:
    return np.full(size, value, _np(dtype, number_type(value)))


@create("full", _full_ref, sample((3, 5), 1.5, None), sample((), 2, None),
        sample((0, 3), True, None), sample((17,), -1, F32), sample((2,), 7.9, I64))  # fmt: skip
def build_full(size: Sequence[Dim], value: Number, dtype: DType | None = None, *_: None) -> Tensor:
    """`value` everywhere; its own type unless one is given."""
    return filled("full", size, value, dtype or number_type(value))


@create("ones", lambda size, dtype=None, *_: np.ones(size, _np(dtype)), sample((3, 5), None),
        sample((), BOOL), sample((4,), I64))  # fmt: skip
def build_ones(size: Sequence[Dim], dtype: DType | None = None, *_: None) -> Tensor:
    """1 everywhere."""
    return filled("ones", size, 1, dtype or F32)


def _zeros_ref(size: Any, dtype: DType | None = None, *_: object) -> Any:
    return np.zeros(size, _np(dtype))


@create("zeros", _zeros_ref, sample((3, 5), None), sample((), I64), sample((0,), BOOL),
        aten=("aten.zeros.default", "aten.empty.memory_format"))  # fmt: skip
def build_zeros(size: Sequence[Dim], dtype: DType | None = None, *_: None) -> Tensor:
    """0 everywhere; what PyTorch leaves uninitialised is 0 too, so that results repeat."""
    return filled("zeros", size, 0, dtype or F32)


@create("scalar_tensor", lambda v, dtype=None, *_: np.asarray(v, _np(dtype)),
        sample(2.5, None), sample(3, I64))  # fmt: skip
def build_scalar_tensor(value: Number, dtype: DType | None = None, *_: None) -> Tensor:
    """A number as a tensor without dims."""
    return filled("scalar", (), value, dtype or F32)


# --- like another tensor


def _like(x: Any, dtype: DType | None) -> Any:
    return x.dtype if dtype is None else NUMPY[dtype]


@create(
    "full_like",
    lambda x, v, dtype=None, *_: np.full(x.shape, v).astype(_like(x, dtype)),
    sample(ints(3, 5), 3, None),
    sample(array(4), -1.5, None),
    sample(array(4), 2, I64),
)
def build_full_like(x: Tensor, value: Number, dtype: DType | None = None, *_: None) -> Tensor:
    """`value` everywhere, in the shape of x."""
    return filled("full", x.shape, value, dtype or x.dtype)


@create("ones_like", lambda x, dtype=None, *_: np.ones(x.shape, _like(x, dtype)),
        sample(ints(3, 5), None), sample(array(4), BOOL))  # fmt: skip
def build_ones_like(x: Tensor, dtype: DType | None = None, *_: None) -> Tensor:
    """1 everywhere, in the shape of x."""
    return filled("ones", x.shape, 1, dtype or x.dtype)


@create("zeros_like", lambda x, dtype=None, *_: np.zeros(x.shape, _like(x, dtype)),
        sample(ints(3, 5), None), sample(array(4), I64),
        aten=("aten.zeros_like.default", "aten.empty_like.default"))  # fmt: skip
def build_zeros_like(x: Tensor, dtype: DType | None = None, *_: None) -> Tensor:
    """0 everywhere, in the shape of x."""
    return filled("zeros", x.shape, 0, dtype or x.dtype)


@create("new_full", lambda x, size, v, dtype=None, *_: np.full(size, v).astype(_like(x, dtype)),
        sample(ints(2), (3, 5), 3, None), sample(array(2), (), 3, BOOL))  # fmt: skip
def build_new_full(
    x: Tensor, size: Sequence[Dim], value: Number, dtype: DType | None = None, *_: None
) -> Tensor:
    """`value` everywhere, in the type of x unless one is given."""
    return filled("full", size, value, dtype or x.dtype)


@create("new_ones", lambda x, size, dtype=None, *_: np.ones(size, _like(x, dtype)),
        sample(ints(2), (), BOOL), sample(array(2), (3, 5), None))  # fmt: skip
def build_new_ones(x: Tensor, size: Sequence[Dim], dtype: DType | None = None, *_: None) -> Tensor:
    """1 everywhere, in the type of x unless one is given."""
    return filled("ones", size, 1, dtype or x.dtype)


@create("new_zeros", lambda x, size, dtype=None, *_: np.zeros(size, _like(x, dtype)),
        sample(ints(2), (3, 5), None), sample(array(2), (4,), I64),
        aten=("aten.new_zeros.default", "aten.new_empty.default"))  # fmt: skip
def build_new_zeros(x: Tensor, size: Sequence[Dim], dtype: DType | None = None, *_: None) -> Tensor:
    """0 everywhere, in the type of x unless one is given."""
    return filled("zeros", size, 0, dtype or x.dtype)


# --- ranges


def _count(start: Number, end: Number, step: Number) -> Dim:
    """How many numbers a range holds; CompileError where it never ends."""
    if not isinstance(step, Expr) and step == 0:
        raise CompileError("arange: step 0; give another")
    if not (isinstance(start, Expr) or isinstance(end, Expr) or isinstance(step, Expr)):
        return max(0, math.ceil((end - start) / step))
    first, last, by = (_whole(v) for v in (start, end, step))
    if isinstance(by, Expr):
        if not at_least(by, 1):
            raise CompileError(f"arange: a step of {by}, of whatever sign; give a number")
        return larger(quotient(tidy(wrap(last) - wrap(first)) + (by - 1), by), 0)
    distance = wrap(last) - wrap(first) if by > 0 else wrap(first) - wrap(last)
    return larger(ceil_div(distance, abs(by)), 0)


def _whole(value: Number) -> Dim:
    """A number of a symbolic range as an integer, however it is written."""
    if isinstance(value, Expr):
        if value.dtype.is_float:
            raise CompileError("arange: an end that is a float made of sizes; give whole ends")
        return value
    if value != int(value):
        raise CompileError(f"arange: a symbolic range with {value}; give whole numbers")
    return int(value)


def ranged(start: Number, end: Number, step: Number, dtype: DType | None) -> Tensor:
    """start, start + step, … below `end`."""
    whole = not any(isinstance(v, float) for v in (start, end, step))
    kind = dtype or (I64 if whole else F32)
    inner = I64 if whole else F64
    first, stride = number_as(start, inner), number_as(step, inner)

    def element(i: Expr) -> Expr:
        place = cast(i, inner)
        scaled = place if step == 1 else place * stride
        return cast(scaled if start == 0 else scaled + first, kind)

    return te.compute((_count(start, end, step),), element, te.fresh("arange"))


def _arange_ref(start: Any, end: Any, step: Any, dtype: DType | None) -> Any:
    whole = all(isinstance(v, int) for v in (start, end, step))
    values = np.arange(start, end, step)
    return values.astype(_np(dtype, I64 if whole else F32))


@create("arange", lambda end, dtype=None, *_: _arange_ref(0, end, 1, dtype),
        sample(5, None), sample(0, None), sample(4.5, None), sample(17, F32))  # fmt: skip
def build_arange(end: Number, dtype: DType | None = None, *_: None) -> Tensor:
    """0, 1, … below `end`."""
    return ranged(0, end, 1, dtype)


@create("arange_start", lambda start, end, dtype=None, *_: _arange_ref(start, end, 1, dtype),
        sample(2, 7, None), sample(-3, 4, F32), sample(0.5, 4, None),
        aten=("aten.arange.start",))  # fmt: skip
def build_arange_start(start: Number, end: Number, dtype: DType | None = None, *_: None) -> Tensor:
    """start, start + 1, … below `end`."""
    return ranged(start, end, 1, dtype)


@create("arange_step", lambda start, end, step=1, dtype=None, *_: _arange_ref(
            start, end, step, dtype),
        sample(2, 17, 3, None), sample(9, -4, -2, I32), sample(0, 1, 0.25, None),
        aten=("aten.arange.start_step",))  # fmt: skip
def build_arange_step(
    start: Number, end: Number, step: Number = 1, dtype: DType | None = None, *_: None
) -> Tensor:
    """start, start + step, … below (or above) `end`."""
    return ranged(start, end, step, dtype)


@create("linspace", lambda start, end, steps, dtype=None, *_: np.linspace(start, end, steps),
        sample(-1.0, 1.0, 7, None), sample(0, 10, 1, None), sample(2, 3, 0, None))  # fmt: skip
def build_linspace(
    start: float, end: float, steps: int, dtype: DType | None = None, *_: None
) -> Tensor:
    """`steps` numbers at equal distances, both ends among them."""
    step = (end - start) / (steps - 1) if steps > 1 else 0.0

    def element(i: Expr) -> Expr:
        front = cast(i, F64) * step + float(start)
        back = float(end) - cast(steps - 1 - i, F64) * step
        return cast(select(i < (steps + 1) // 2, front, back), dtype or F32)

    return te.compute((steps,), element, te.fresh("linspace"))


# --- matrices


def _eye(rows: Dim, columns: Dim, dtype: DType | None) -> Tensor:
    kind = dtype or F32
    return te.compute(
        shape_of((rows, columns)), lambda i, j: cast(equal(i, j), kind), te.fresh("eye")
    )


@create("eye", lambda n, dtype=None, *_: np.eye(n, dtype=_np(dtype)), sample(5, None),
        sample(0, None), sample(3, I64))  # fmt: skip
def build_eye(n: Dim, dtype: DType | None = None, *_: None) -> Tensor:
    """1 on the diagonal of a square, else 0."""
    return _eye(n, n, dtype)


@create("eye_m", lambda n, m, dtype=None, *_: np.eye(n, m, dtype=_np(dtype)), sample(5, 3, None),
        aten=("aten.eye.m",))  # fmt: skip
def build_eye_m(n: Dim, m: Dim, dtype: DType | None = None, *_: None) -> Tensor:
    """1 on the diagonal, else 0."""
    return _eye(n, m, dtype)
