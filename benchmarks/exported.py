"""An exported model called through its C interface, as a program in C would.

The folder's own Makefile builds it; a few lines of C beside it time calls where they cost what they
cost a C program, not ctypes. Must not import tc or torch: what is timed needs neither.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.protocol import Array, UnavailableError, WorkerError

SOURCE = Path(__file__).with_name("exported.c")
LIBRARY = "libbench.so"
MAX_RANK = 8
DTYPES = tuple(
    None if name is None else np.dtype(name)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", None, "float32",
                 "float64")
)  # fmt: skip
"""By the numbers of `model_dtype`; bf16 has none in NumPy."""


class Tensor(ctypes.Structure):
    """`model_tensor`."""

    _fields_ = (
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    )


class TensorInfo(ctypes.Structure):
    """`model_tensor_info`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_char_p),
    )


class Info(ctypes.Structure):
    """`model_info`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("fingerprint", ctypes.c_uint64),
        ("weights_bytes", ctypes.c_uint64),
        ("limits", ctypes.c_int32),
        ("limit_names", ctypes.POINTER(ctypes.c_char_p)),
    )


class Error(ctypes.Structure):
    """`model_error`."""

    _fields_ = (("code", ctypes.c_int), ("text", ctypes.c_char * 256))


def build_library(folder: Path) -> Path:
    """The model of a folder as a shared library, built by gcc -O3 for several threads.

    Raises UnavailableError: no compiler; WorkerError: it refuses.
    """
    gcc, make = shutil.which("gcc"), shutil.which("make")
    if gcc is None or make is None:
        raise UnavailableError("building an exported model needs gcc and make")
    target = folder / LIBRARY
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    commands = (
        [make, "-C", str(folder), jobs, f"CC={gcc}", "THREADS=openmp", "CFLAGS=-O3 -fPIC",
         "libmodel.a"],
        [gcc, "-O3", "-fPIC", "-shared", f"-I{folder}", "-o", str(target), str(SOURCE),
         "-Wl,--whole-archive", str(folder / "libmodel.a"), "-Wl,--no-whole-archive", "-fopenmp",
         "-lm"],
    )  # fmt: skip
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise WorkerError(f"building the exported model: {said[:200]}")
    return target


class Instance:
    """An instance of an exported model, for as much as `limits` say (by name; the rest: most)."""

    def __init__(self, folder: Path, threads: int, limits: Mapping[str, int]) -> None:
        """Raises WorkerError: the model refuses."""
        self._library: Any = ctypes.CDLL(str(folder / LIBRARY))
        self._library.bench_calls.restype = ctypes.c_double
        self._library.model_create.restype = ctypes.c_void_p
        self._library.model_dtype_bytes.restype = ctypes.c_size_t
        self._error = Error()
        about = Info.in_dll(self._library, "model_about")
        known = [about.limit_names[n].decode() for n in range(about.limits)]
        count = len(known) + 2  # behind the sizes: threads, and whether weights are private
        default = self._library.model_default_limits
        default.restype = type("Limits", (ctypes.Structure,), {
            "_fields_": [(f"n{n}", ctypes.c_int64) for n in range(count)]
        })  # fmt: skip
        given = default()
        for n, name in enumerate(known):
            setattr(given, f"n{n}", limits.get(name, getattr(given, f"n{n}")))
        setattr(given, f"n{len(known)}", threads)
        weights = os.fsencode(folder / "weights.bin")
        self._model = ctypes.c_void_p(
            self._library.model_create(weights, ctypes.byref(given), ctypes.byref(self._error))
        )
        if not self._model:
            raise self._refused()
        self.inputs = self._names("model_inputs", 0)
        self.outputs = self._names("model_outputs", 1)

    def _names(self, table: str, of_outputs: int) -> list[str]:
        count = self._library.bench_count(of_outputs)
        infos = (TensorInfo * count).in_dll(self._library, table)
        return [info.name.decode() for info in infos]

    def _refused(self) -> WorkerError:
        return WorkerError(f"the exported model: {self._error.text.decode(errors='replace')}")

    def bind(self, given: Sequence[Array]) -> Call:
        """A call with these inputs, in order. Raises WorkerError: they do not fit."""
        tensors = (Tensor * len(given))()
        held = [np.ascontiguousarray(array) for array in given]
        for tensor, array in zip(tensors, held, strict=True):
            tensor.dtype, tensor.rank = DTYPES.index(array.dtype), array.ndim
            tensor.shape[: array.ndim] = array.shape
            tensor.data, tensor.bytes = array.ctypes.data, array.nbytes
        results = (Tensor * len(self.outputs))()
        if self._library.model_shape(self._model, tensors, results, ctypes.byref(self._error)):
            raise self._refused()
        arrays = []
        for tensor in results:
            dtype = DTYPES[tensor.dtype]
            array = np.empty(tensor.shape[: tensor.rank], dtype or np.uint16)
            tensor.data = array.ctypes.data
            arrays.append(array)
        return Call(self, tensors, results, held, arrays)

    def seconds(self, inputs: Any, outputs: Any, calls: int) -> float:
        """Mean seconds of a call of the C function. Raises WorkerError: it refuses."""
        found: float = self._library.bench_calls(
            self._model, inputs, outputs, ctypes.c_int64(calls), ctypes.byref(self._error)
        )
        if found < 0:
            raise self._refused()
        return found

    def generate(self, ids: Array, new: int) -> Array:
        """`new` ids after the prompt `ids` [length] int64, greedily. Raises WorkerError."""
        made, count = np.empty(new, np.int64), ctypes.c_int64()
        code = self._library.model_generate(
            self._model, ids.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(ids)),
            ctypes.c_int64(new), made.ctypes.data_as(ctypes.c_void_p), ctypes.byref(count),
            ctypes.byref(self._error),
        )  # fmt: skip
        if code:
            raise self._refused()
        return made[: count.value]


class Call:
    """A call whose inputs and outputs lie ready; it holds their memory."""

    def __init__(
        self, instance: Instance, inputs: Any, outputs: Any, held: list[Array], results: list[Array]
    ) -> None:
        self._instance, self._inputs, self._outputs = instance, inputs, outputs
        self._held, self.results = held, results
        self.last = 0.0

    def __call__(self, calls: int = 1) -> list[Array]:
        """Make `calls` calls; the results of the last. `last` is their mean time in seconds."""
        self.last = self._instance.seconds(self._inputs, self._outputs, calls)
        return self.results
