"""Torch tensors for running programs: no copy in or out, and operators that run eagerly.

See `tc.device.arrays.Arrays` for what each method is. This module must not compile.
"""

from __future__ import annotations

import ctypes
import operator
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final

import torch

from tc.device.artifact import DimArg, FallbackArg, FallbackCall, StorageArg, TensorInfo
from tc.errors import CompileError, InternalError, TcError, UnsupportedError, describe
from tc.ir.types import DType

DTYPES: Final[Mapping[DType, torch.dtype]] = {
    DType.BOOL: torch.bool,
    DType.I8: torch.int8,
    DType.I16: torch.int16,
    DType.I32: torch.int32,
    DType.I64: torch.int64,
    DType.U8: torch.uint8,
    DType.F16: torch.float16,
    DType.BF16: torch.bfloat16,
    DType.F32: torch.float32,
    DType.F64: torch.float64,
}
_EMPTY: Final = getattr(torch._C._dynamo.guards, "_empty_strided_cpu", None)
View = tuple[int, tuple[int, ...], DType]


class FallbackWarning(UserWarning):
    """An operator of a compiled program runs eagerly."""


class TorchArrays:
    """Tensors in the memory of this host."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def ready(self, array: Any, info: TensorInfo) -> Any:
        """See `Arrays.ready`."""
        if not isinstance(array, torch.Tensor):
            raise _refused(info, f"is of type {type(array).__name__}, not a tensor")
        if array.dtype is not DTYPES[info.dtype]:
            raise _refused(info, f"is of dtype {array.dtype}, the program takes {info.dtype}")
        if array.is_contiguous() and not array.is_neg():
            if array.device.type != "cpu":
                raise _refused(info, f"is on {array.device}, the program runs on the cpu")
            return array
        if array.device.type != "cpu" or array.layout is not torch.strided:
            raise _refused(info, f"is {array.layout} on {array.device}, not dense on the cpu")
        return array.detach().resolve_neg().contiguous()

    # A bound C function: this is on the path of every call, for every tensor.
    address = staticmethod(torch.Tensor.data_ptr)

    def maker(self, shape: tuple[int, ...], dtype: DType) -> Callable[[], Any]:
        """See `Arrays.maker`; past the dispatcher where this PyTorch has such a function."""
        if _EMPTY is None:
            return partial(torch.empty, shape, dtype=DTYPES[dtype])
        strides = accumulate((max(size, 1) for size in shape[:0:-1]), operator.mul, initial=1)
        row_major = tuple(strides)[::-1] if shape else ()
        return partial(_EMPTY, shape, row_major, DTYPES[dtype])

    def identity(self, array: Any) -> Hashable | None:
        """See `Arrays.identity`; a tensor counts its versions, but for those of inference mode."""
        return None if array.is_inference() else (array.data_ptr(), array._version)

    def give_back(self, copy: Any, array: Any) -> None:
        """See `Arrays.give_back`."""
        with torch.no_grad():
            array.copy_(copy)

    def fallback(self, call: FallbackCall, views: Mapping[int, View], dims: Sequence[int]) -> None:
        """See `Arrays.fallback`; warns once for each operator."""
        if call.op not in self._warned:
            self._warned.add(call.op)
            place = f" in {call.origin}" if call.origin else ""
            warnings.warn(
                f"{call.op}{place} is not compiled, it runs eagerly; fallback='error' forbids that",
                FallbackWarning,
                stacklevel=2,
            )
        overload = overload_of(call.op)
        args, kwargs = _arguments(overload, call.args, views, iter(dims))
        with torch.no_grad():
            result = overload(*args, **kwargs)
            results = result if isinstance(result, (tuple, list)) else (result,)
            if len(results) != len(call.outputs):
                raise InternalError(f"{call.op} gave {len(results)} results")
            for value, number in zip(results, call.outputs, strict=True):
                out = tensor_at(*views[number])
                if value.shape != out.shape:
                    raise CompileError(
                        describe(
                            call.op,
                            where=call.origin,
                            why=f"its result has shape {tuple(value.shape)}, which depends on "
                            f"values; {tuple(out.shape)} was expected",
                            way_out="run that part of the model eagerly",
                        )
                    )
                out.copy_(value)


def tensor_at(address: int, shape: tuple[int, ...], dtype: DType) -> torch.Tensor:
    """Memory as a dense tensor, which must not outlive it."""
    count = 1
    for size in shape:
        count *= size
    if not count:
        return torch.empty(shape, dtype=DTYPES[dtype])
    memory = (ctypes.c_char * (count * dtype.bytes)).from_address(address)
    return torch.frombuffer(memory, dtype=DTYPES[dtype]).view(shape)


def overload_of(name: str) -> Any:
    """The operator of torch called "aten.topk.default". Raises CompileError if there is none."""
    parts = name.split(".")
    found: Any = torch.ops
    try:
        if len(parts) != 3 or not all(part.isidentifier() for part in parts):
            raise AttributeError(name)
        for part in parts:
            found = getattr(found, part)
    except AttributeError:
        found = None
    if not isinstance(found, torch._ops.OpOverload):
        raise CompileError(
            describe(
                f"operator {name}",
                why="this version of torch has none of this name",
                way_out="compile the model again with this version",
            )
        )
    return found


def _arguments(
    overload: Any, args: Sequence[FallbackArg], views: Mapping[int, View], dims: Iterator[int]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments, given in the order of the schema."""
    positional: list[Any] = []
    keyword: dict[str, Any] = {}
    for value, parameter in zip(args, overload._schema.arguments, strict=False):
        made = _argument(value, views, dims)
        if parameter.kwarg_only:
            keyword[parameter.name] = made
        else:
            positional.append(made)
    return positional, keyword


def _argument(arg: FallbackArg, views: Mapping[int, View], dims: Iterator[int]) -> Any:
    match arg:
        case StorageArg(number):
            return tensor_at(*views[number])
        case DimArg():
            return next(dims)
        case DType():
            return DTYPES[arg]
        case tuple():
            return [_argument(a, views, dims) for a in arg]
    return arg


def _refused(info: TensorInfo, why: str) -> TcError:
    return TcError(
        describe(
            f"input {info.name}",
            why=why,
            way_out=f"pass a dense {DTYPES[info.dtype]} tensor on the cpu",
        )
    )


def dtype_of(tensor: torch.Tensor) -> DType:
    """The element type of a tensor. Raises UnsupportedError for one that tc lacks."""
    for ours, theirs in DTYPES.items():
        if theirs is tensor.dtype:
            return ours
    raise UnsupportedError(
        describe(
            f"dtype {tensor.dtype}",
            why="tc has no such element type",
            way_out=f"known: {', '.join(map(str, DTYPES.values()))}",
        )
    )
