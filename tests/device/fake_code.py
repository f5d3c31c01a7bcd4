"""Object code made of Python functions: what runs an artifact can be tested without a compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from tc.device.artifact import (
    ERROR,
    PROFILE,
    Artifact,
    KernelInfo,
    Place,
    Storage,
    SymbolInfo,
    TensorInfo,
    entries,
)
from tc.ir.types import F32

# (addresses of the buffers, values of the symbols) -> what to put into the error slot.
Kernel = Callable[[Sequence[int], Sequence[int]], int | None]


def floats(address: int, *shape: int) -> np.ndarray:
    """The memory of a dense fp32 tensor, empty where it has no elements."""
    size = int(np.prod(shape))
    if not size:
        return np.zeros(shape, np.float32)
    memory = (ctypes.c_char * (4 * size)).from_address(address)
    return np.frombuffer(memory, np.float32).reshape(shape)


def functions(artifact: Artifact, kernels: Sequence[Kernel]) -> dict[str, Callable[[int], object]]:
    """What a code generator would make of the artifact's entries."""

    def function(calls: Sequence) -> Callable[[int], object]:
        def run(address: int) -> None:
            table = (ctypes.c_int64 * 1000).from_address(address)
            for n, call in enumerate(calls):
                error = kernels[call.kernel](
                    [table[s] for s in call.buffers], [table[s] for s in call.symbols]
                )
                if error:
                    ctypes.c_int32.from_address(table[ERROR]).value = error
                if table[PROFILE]:  # of the first thread alone: the runtime gave no other
                    stamps = (ctypes.c_int64 * (2 * len(calls))).from_address(table[PROFILE])
                    stamps[2 * n] = 1000 * (n + 1)
                    stamps[2 * n + 1] = stamps[2 * n] + 100 * (n + 1)

        return run

    found = entries(len(artifact.storages), artifact.prepare, artifact.main)
    return {entry.name: function(entry.calls) for entry in found}


def kernel(name: str, *symbols: str) -> KernelInfo:
    return KernelInfo(name, f"def {name}(): pass", "", symbols, 0, 0, 0)


def tensor(name: str, *shape: int | str) -> TensorInfo:
    return TensorInfo(name, F32, shape)


def storage(place: Place, number: int, *shape: int | str) -> Storage:
    return Storage(place, number, F32, shape)


N = SymbolInfo("n", 0, 1000)
