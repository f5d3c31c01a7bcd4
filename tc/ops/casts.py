"""Conversions between element types, and the operators that do nothing in inference."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import cast
from tc.ir.tensor import Tensor
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from tc.ops.dims import stretched
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, Operator, Sample, operator, register

NUMPY: Final = {
    BOOL: np.bool_, I8: np.int8, I16: np.int16, I32: np.int32, I64: np.int64, U8: np.uint8,
    F16: np.float16, BF16: np.float32, F32: np.float32, F64: np.float64,
}  # fmt: skip


def cast_tensor(x: Tensor, dtype: DType | None) -> Tensor:
    """x with elements of that type; x itself where nothing changes."""
    if dtype is None or x.dtype is dtype:
        return x
    return te.compute(x.shape, lambda *i: cast(x[i], dtype), te.fresh("cast"))


def copy_of(x: Tensor, name: str = "copy") -> Tensor:
    """The same elements again."""
    return te.compute(x.shape, lambda *i: x[i], te.fresh(name))


def _to(x: Tensor, dtype: DType | None) -> Tensor:
    return copy_of(x) if dtype in (None, x.dtype) else cast_tensor(x, dtype)


def _as_numpy(x: np.ndarray, dtype: DType | None) -> np.ndarray:
    return x if dtype is None else x.astype(NUMPY[dtype])


_NONE4 = (False, False, None)


def _cast_samples(*rest: Any, before: tuple[Any, ...] = ()) -> tuple[Sample, ...]:
    pairs = (
        (array(3, 5), I64), (array(17), F64), (ints(17, high=3), BOOL), (array(16), BOOL),
        (ints(5, high=2, dtype="bool"), F32), (ints(15, low=-9, high=9), F32),
        (ints(4, low=-9, high=9), I32), (array(17), F16), (array(17), BF16), (array(0, 3), I32),
        (array(), F64), (array(4), F32), (array(4, dtype="f16"), F32), (array(4), None),
    )  # fmt: skip
    return tuple(sample(x, *before, t, *rest) for x, t in pairs)


@operator(
    "to_dtype",
    aten=("aten.to.dtype",),
    kind=Kind.POINTWISE,
    reference=lambda x, dtype, *_: _as_numpy(x, dtype),
    samples=tuple(s for s in _cast_samples(*_NONE4) if s.args[1] is not None),
)
def build_to_dtype(x: Tensor, dtype: DType, *_: object) -> Tensor:
    """x as `dtype`."""
    return _to(x, dtype)


@operator(
    "to_device",
    aten=("aten.to.device",),
    kind=Kind.POINTWISE,
    reference=lambda x, _, dtype, *rest: _as_numpy(x, dtype),
    samples=(sample(ints(3, 5, high=3), None, BOOL, *_NONE4),),
)
def build_to_device(x: Tensor, _device: None, dtype: DType, *_: object) -> Tensor:
    """x as `dtype`; there is one device."""
    return _to(x, dtype)


@operator(
    "to_dtype_layout",
    aten=("aten.to.dtype_layout", "aten._to_copy.default"),
    kind=Kind.POINTWISE,
    reference=lambda x, dtype=None, *_: _as_numpy(x, dtype),
    samples=_cast_samples(),
)
def build_to_copy(x: Tensor, dtype: DType | None = None, *_: object) -> Tensor:
    """x as `dtype`, or as it is."""
    return _to(x, dtype)


@operator(
    "type_as",
    aten=("aten.type_as.default", "aten.to.other"),
    kind=Kind.POINTWISE,
    reference=lambda x, other, *_: x.astype(other.dtype),
    samples=(sample(ints(3, 5), array(2)), sample(array(17), ints(1, dtype="i32"))),
)
def build_type_as(x: Tensor, other: Tensor, *_: object) -> Tensor:
    """x in the element type of `other`."""
    return _to(x, other.dtype)


@operator(
    "copy",
    aten=("aten.copy.default",),
    kind=Kind.POINTWISE,
    reference=lambda x, source, *_: np.broadcast_to(source, x.shape).astype(x.dtype),
    samples=(sample(ints(3, 5), array(5), False), sample(array(17), array(), False)),
)
def build_copy(x: Tensor, source: Tensor, _non_blocking: bool = False) -> Tensor:
    """`source` in the shape and element type of x."""
    return te.compute(
        x.shape, lambda *i: cast(stretched(source, x.shape, i), x.dtype), te.fresh("copy")
    )


def _identity(x: Tensor, *_: object) -> Tensor:
    return copy_of(x)


def _enter_identity(name: str, aten: tuple[str, ...], *samples: Sample) -> None:
    row = Operator(name, aten, Kind.VIEW, _identity, _same, samples)
    register(row)


def _same(x: np.ndarray, *_: object) -> np.ndarray:
    return x


_enter_identity("clone", ("aten.clone.default",), sample(array(3, 5), None), sample(array(), None))
_enter_identity("contiguous", ("aten.contiguous.default",), sample(array(3, 5)))
_enter_identity(
    "alias",
    ("aten.alias.default", "aten.detach.default", "aten.alias_copy.default",
     "aten.detach_copy.default", "aten.lift_fresh.default", "aten.lift_fresh_copy.default",
     "aten.lift.default"),
    sample(array(3, 5)),
    sample(ints(0, 3)),
)  # fmt: skip


def inference_only(name: str, train: bool | None) -> None:
    """UnsupportedError where an operator is asked to do what only training needs."""
    if train:
        raise UnsupportedError(f"{name}: in training mode; call model.eval() first")


@operator(
    "dropout",
    aten=("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"),
    kind=Kind.VIEW,
    reference=_same,
    samples=(sample(array(3, 5), 0.1, False), sample(array(3), 0.0, True)),
)
def build_dropout(x: Tensor, p: float, train: bool) -> Tensor:
    """x itself: nothing is dropped in inference."""
    inference_only("dropout", train and p > 0)
    return copy_of(x)


@operator(
    "native_dropout",
    aten=("aten.native_dropout.default",),
    kind=Kind.POINTWISE,
    reference=lambda x, p, train: (x, np.ones(x.shape, np.bool_)),
    samples=(sample(array(3, 5), 0.1, False),),
)
def build_native_dropout(x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """x and a mask of ones."""
    inference_only("native_dropout", train and p > 0)
    ones = te.compute(x.shape, lambda *i: te.const(True, BOOL), te.fresh("mask"))
    return copy_of(x), ones
