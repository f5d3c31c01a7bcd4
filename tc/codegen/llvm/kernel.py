"""One kernel as a Python function over NumPy arrays: for tests, tutorials and `tc.build`.

Runs all passes, compiles a program of one call, checks the arrays. Models do not go this way: their
programs are made whole by `tc.pipeline`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tc.codegen.abi import Call, Slot
from tc.codegen.cache import ObjectCache
from tc.codegen.llvm.jit import Module, compile_module
from tc.errors import CompileError, describe
from tc.ir.expr import Binary, Const, Expr, Sym
from tc.ir.loop import Buffer, Func
from tc.ir.passes import run_passes
from tc.ir.passes.place_scratch import place_scratch
from tc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8
from tc.target import Target

Array = np.ndarray[Any, np.dtype[Any]]

# bf16, which NumPy lacks, is given and returned as the uint16 of its bits.
NUMPY = {
    BOOL: np.dtype(np.bool_), I8: np.dtype(np.int8), I16: np.dtype(np.int16),
    I32: np.dtype(np.int32), I64: np.dtype(np.int64), U8: np.dtype(np.uint8),
    F16: np.dtype(np.float16), BF16: np.dtype(np.uint16), F32: np.dtype(np.float32),
    F64: np.dtype(np.float64),
}  # fmt: skip


@dataclass(frozen=True)
class CallableKernel:
    """A compiled kernel. `func` is what was given, `flat` what the passes made of it."""

    func: Func
    flat: Func
    module: Module
    scratch_bytes: Expr

    @property
    def llvm_ir(self) -> str:
        """The text given to LLVM."""
        return self.module.llvm_ir

    @property
    def asm(self) -> str:
        """The assembly of the kernel."""
        return self.module.asm

    def __call__(self, *args: Array | int, threads: int = 1) -> None:
        """Run on arrays in the order of `func.params`, then values of `func.symbols`.

        Arrays are C-contiguous, of the parameter's dtype and shape; outputs are written in place.

        Raises:
            CompileError: an argument that does not fit, or a failed Assert of the kernel.
        """
        params, symbols = self.func.params, self.func.symbols
        if len(args) != len(params) + len(symbols):
            raise self._complaint(f"{len(args)} arguments", f"{len(params)} arrays and "
                                  f"{len(symbols)} symbols are expected")  # fmt: skip
        values = {s.name: int(v) for s, v in zip(symbols, args[len(params) :], strict=True)}
        for s in symbols:
            if not s.lo <= values[s.name] <= s.hi:
                raise self._complaint(
                    f"{s.name} = {values[s.name]}", f"not in [{s.lo}, {s.hi}]"
                )  # fmt: skip
        slots = [0] * (Slot.FIRST + len(args))
        for n, (p, a) in enumerate(zip(params, args, strict=False)):
            slots[Slot.FIRST + n] = self._checked(p, a, values)
        slots[Slot.FIRST + len(params) :] = [values[s.name] for s in symbols]
        self._run(slots, evaluate(self.scratch_bytes, values), threads)

    def _run(self, slots: list[int], scratch_bytes: int, threads: int) -> None:
        scratch = np.empty(threads * scratch_bytes + 64, np.uint8)
        error = ctypes.c_int32(0)
        slots[Slot.THREADS] = threads
        slots[Slot.SCRATCH] = -(-scratch.ctypes.data // 64) * 64
        slots[Slot.SCRATCH_BYTES] = scratch_bytes
        slots[Slot.ERROR] = ctypes.addressof(error)
        array = (ctypes.c_int64 * len(slots))(*slots)
        self.module.entry(ctypes.addressof(array))
        if error.value:
            raise self._complaint("a check", self.module.messages[error.value - 1])

    def _checked(self, p: Buffer, a: Array | int, values: dict[str, int]) -> int:
        """The address of an array that fits the parameter."""
        shape = tuple(evaluate(x, values) for x in p.shape)
        if not isinstance(a, np.ndarray):
            raise self._complaint(p.name, f"{type(a).__name__} is given, not an array")
        if a.dtype != NUMPY[p.dtype] or a.shape != shape:
            why = f"{a.dtype}{list(a.shape)} is given, {NUMPY[p.dtype]}{list(shape)} expected"
            raise self._complaint(p.name, why)
        if not a.flags.c_contiguous or (p.name in self.func.outputs and not a.flags.writeable):
            raise self._complaint(p.name, "the array is not contiguous or not writeable")
        if a.size and a.ctypes.data % p.align:  # nothing is read of an empty array
            raise self._complaint(p.name, f"the array is not aligned to {p.align} bytes")
        return a.ctypes.data

    def _complaint(self, what: str, why: str) -> CompileError:
        return CompileError(describe(what, where=f"kernel {self.func.name}", why=why))


def compile_func(func: Func, target: Target, cache: ObjectCache | None = None) -> CallableKernel:
    """Run all passes on a scheduled kernel and compile it.

    Raises:
        InternalError: a schedule that the passes cannot carry out.
        UnsupportedError: a target that this LLVM does not know.
    """
    flat = run_passes(func, target.fuses)
    flat, scratch = place_scratch(flat)
    count, first = len(func.params), int(Slot.FIRST)
    buffers = tuple(range(first, first + count))
    symbols = tuple(range(first + count, first + count + len(func.symbols)))
    module = compile_module([flat], [Call(0, buffers, symbols)], target, cache)
    return CallableKernel(func, flat, module, scratch)


def evaluate(x: Expr, values: dict[str, int]) -> int:
    """The number that an expression over constants and symbols is."""
    match x:
        case Const(value, _):
            return int(value)
        case Sym(name, _, _):
            return values[name]
        case Binary(op, a, b):
            p, q = evaluate(a, values), evaluate(b, values)
            match op:
                case "add":
                    return p + q
                case "sub":
                    return p - q
                case "mul":
                    return p * q
                case "floordiv":
                    return p // q
                case "mod":
                    return p % q
                case "min":
                    return min(p, q)
                case "max":
                    return max(p, q)
    raise CompileError(describe(str(x), why="not an expression over sizes alone"))


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any], align: int = 64) -> Array:
    """An array whose memory begins at a multiple of `align` bytes."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + align, np.uint8)
    # Not a slice of `raw`: an empty slice begins where its array does.
    return np.ndarray(tuple(shape), dtype, raw, offset=-raw.ctypes.data % align)
