"""What running a program needs to know of the caller's arrays, and that knowledge for NumPy.

A frontend gives the same for its own tensors. This module must not import any framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from tc.device.arena import ALIGN
from tc.device.artifact import FallbackCall, TensorInfo
from tc.errors import TcError, UnsupportedError, describe
from tc.ir.types import DType

NUMPY_DTYPES: Final[Mapping[DType, Any]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.U8: np.dtype(np.uint8),
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
}


class Arrays(Protocol):
    """Arrays of one framework. All methods are on the path of every call."""

    def ready(self, array: Any, info: TensorInfo) -> Any:
        """The array itself if it is dense and row-major, else a copy that is.

        Raises TcError: no array of this framework, or of another element type than `info` says.
        """

    def address(self, array: Any) -> int:
        """Where the first element of a ready array lies."""

    def maker(self, shape: tuple[int, ...], dtype: DType) -> Callable[[], Any]:
        """What gives fresh memory for a result at each call, on a boundary of `ALIGN` bytes.

        Its content is undefined.
        """

    def identity(self, array: Any) -> Hashable | None:
        """Equal for two ready arrays only if they are the same memory with the same content.

        None where that cannot be told.
        """

    def give_back(self, copy: Any, array: Any) -> None:
        """Write what the program left in `copy` (of `ready`) to the caller's own array."""

    def fallback(
        self,
        call: FallbackCall,
        views: Mapping[int, tuple[int, tuple[int, ...], DType]],
        dims: Sequence[int],
    ) -> None:
        """Run an operator eagerly on memory: storage -> (address, shape, dtype).

        `dims` are the values of the `DimArg`s in its arguments, in order.
        """


class NumpyArrays:
    """NumPy arrays; there is nothing eager to fall back to."""

    def ready(self, array: Any, info: TensorInfo) -> Any:
        """See `Arrays.ready`."""
        wanted = NUMPY_DTYPES.get(info.dtype)
        if not isinstance(array, np.ndarray):
            raise TcError(
                describe(
                    f"input {info.name}",
                    why=f"is of type {type(array).__name__}, not a NumPy array",
                    way_out="pass numpy.asarray(...) of it",
                )
            )
        if array.dtype != wanted:
            raise TcError(
                describe(
                    f"input {info.name}",
                    why=f"is of dtype {array.dtype}, the program takes {info.dtype}",
                    way_out=f"pass it with .astype({str(wanted)!r})"
                    if wanted
                    else "pass torch tensors",
                )
            )
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array
        return np.array(array, order="C", copy=True)

    def address(self, array: Any) -> int:
        """See `Arrays.address`."""
        return int(array.__array_interface__["data"][0])

    def maker(self, shape: tuple[int, ...], dtype: DType) -> Callable[[], Any]:
        """See `Arrays.maker`; UnsupportedError for a type that NumPy lacks."""
        kind = NUMPY_DTYPES.get(dtype)
        if kind is None:
            raise UnsupportedError(
                describe(
                    f"result of dtype {dtype}",
                    why="NumPy has no such type",
                    way_out="pass torch tensors, then the result is one",
                )
            )
        # NumPy aligns to 16 bytes only; a kernel's packed operand must lie as one of torch does.
        size = math.prod(shape) * kind.itemsize

        def empty() -> Any:
            memory = np.empty(size + ALIGN, np.uint8)
            start = -int(memory.__array_interface__["data"][0]) % ALIGN
            return memory[start : start + size].view(kind).reshape(shape)

        return empty

    def identity(self, array: Any) -> Hashable | None:  # noqa: ARG002  (the protocol's)
        """None: NumPy does not say when an array is written to."""
        return None

    def give_back(self, copy: Any, array: Any) -> None:
        """See `Arrays.give_back`."""
        np.copyto(array, copy)

    def fallback(
        self,
        call: FallbackCall,
        views: Mapping[int, tuple[int, tuple[int, ...], DType]],  # noqa: ARG002  (the protocol's)
        dims: Sequence[int],  # noqa: ARG002  (the protocol's)
    ) -> None:
        """Refuse: UnsupportedError."""
        raise UnsupportedError(
            describe(
                f"operator {call.op}",
                where=call.origin,
                why="it runs eagerly in PyTorch, which is not loaded",
                way_out="import torch and pass torch tensors",
            )
        )
