"""Two kernels that show what a machine can do: an FMA loop in registers and a streaming sum.

They are written as LLVM text because their point is to be exactly these instructions: the FMA loop
has enough independent accumulators to hide the latency of the instruction, the sum reads memory
once in order. Both are compiled for the same target as programs are. This module must not time
anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import llvmlite.binding as llvm

from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, describe
from tc.frozen import frozen
from tc.target import Target

_SUM_ACCUMULATORS = 8
_MOST_ACCUMULATORS = 24  # 4 pipes with a latency of 6, more than any processor known needs


@frozen
class Kernels:
    """The compiled kernels; calling one releases the interpreter lock while it runs.

    Attributes:
        fma: runs so many iterations of the FMA loop.
        flops_per_iteration: floating-point operations of one iteration; an FMA counts as two.
        sum: adds up fp32 numbers: (address, size in bytes) -> sum. The size is a multiple of
            `block_bytes`; the memory must be readable, and stay so.
        block_bytes: what one iteration of the sum reads.
        llvm_ir: the text of both.
    """

    fma: Callable[[int], None]
    flops_per_iteration: int
    sum: Callable[[int, int], float]
    block_bytes: int
    llvm_ir: str


def build(target: Target) -> Kernels:
    """Compile the kernels for `target`, which this machine must be able to run.

    Raises:
        CompileError: this machine cannot run code for the target, or LLVM cannot compile it.
    """
    check_runs_here(target)
    lanes = target.vector_lanes(32)
    count = accumulators(target)
    text = f"{_fma_ir(lanes, count)}\n{_sum_ir(lanes)}"
    try:
        engine = _compile(text, target)
    except RuntimeError as error:
        raise CompileError(
            describe(
                "measuring kernels",
                where=f"target {target}",
                why=str(error).strip(),
                way_out="use the target 'host'",
            )
        ) from error
    fma = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(
        engine.get_function_address("probe_fma")
    )
    total = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("probe_sum")
    )
    block = 4 * lanes * _SUM_ACCUMULATORS

    def run_fma(iterations: int) -> None:
        # The state belongs to this call, for several threads run the loop at once.
        state = (ctypes.c_float * ((count + 2) * lanes))(*([0.5] * lanes), *([1.0] * lanes))
        fma(iterations, ctypes.addressof(state))

    def run_sum(address: int, size: int) -> float:
        if size % block:
            raise ValueError(f"the size {size} is no multiple of {block} bytes")
        return float(total(address, size // 4)) if engine else 0.0  # the closure keeps the code

    return Kernels(run_fma, 2 * lanes * count, run_sum, block, text)


def accumulators(target: Target) -> int:
    """How many independent accumulators the FMA loop has: at least 10, and no spills."""
    return max(10, min(_MOST_ACCUMULATORS, target.vector_registers - 4))


def _compile(text: str, target: Target) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text)
    module.triple = target.llvm_triple
    module.verify()
    machine = llvm.Target.from_triple(target.llvm_triple).create_target_machine(
        cpu=target.llvm_cpu, features=target.llvm_features, opt=3, jit=True
    )
    engine = llvm.create_mcjit_compiler(module, machine)  # takes the machine over
    engine.finalize_object()
    return engine


def _fma_ir(lanes: int, count: int) -> str:
    """``acc[j] = acc[j] * a + b`` for every j, n times; a, b and acc lie in this order at %io.

    The accumulators start from memory that the compiler does not know, and end there, so that
    none is merged with another or left out. `fmuladd` is an FMA wherever the target has one.
    """
    vector = f"<{lanes} x float>"
    step = 4 * lanes
    lines = [f"define void @probe_fma(i64 %n, ptr %io) {{\nentry:\n  %a = load {vector}, ptr %io"]
    for name, place in (("b", 1), *((f"s{j}", j + 2) for j in range(count))):
        lines.append(f"  %p{name} = getelementptr i8, ptr %io, i64 {step * place}")
        lines.append(f"  %{name} = load {vector}, ptr %p{name}, align 4")
    lines[0] += ", align 4"
    lines.append("  br label %loop\nloop:\n  %i = phi i64 [ 0, %entry ], [ %next, %loop ]")
    for j in range(count):
        lines.append(f"  %x{j} = phi {vector} [ %s{j}, %entry ], [ %y{j}, %loop ]")
    for j in range(count):
        lines.append(
            f"  %y{j} = call {vector} @llvm.fmuladd.v{lanes}f32("
            f"{vector} %x{j}, {vector} %a, {vector} %b)"
        )
    lines.append("  %next = add i64 %i, 1\n  %more = icmp slt i64 %next, %n")
    lines.append("  br i1 %more, label %loop, label %exit\nexit:")
    lines += [f"  store {vector} %y{j}, ptr %ps{j}, align 4" for j in range(count)]
    lines.append("  ret void\n}")
    lines.append(f"declare {vector} @llvm.fmuladd.v{lanes}f32({vector}, {vector}, {vector})\n")
    return "\n".join(lines)


def _sum_ir(lanes: int) -> str:
    """The sum of n floats at %x, n a multiple of lanes times the accumulators."""
    vector, step = f"<{lanes} x float>", lanes * _SUM_ACCUMULATORS
    lines = [
        "define float @probe_sum(ptr %x, i64 %n) {\nentry:\n  %any = icmp sgt i64 %n, 0",
        "  br i1 %any, label %loop, label %none\nloop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
    ]
    for j in range(_SUM_ACCUMULATORS):
        lines.append(f"  %x{j} = phi {vector} [ zeroinitializer, %entry ], [ %y{j}, %loop ]")
    lines.append("  %p = getelementptr float, ptr %x, i64 %i")
    for j in range(_SUM_ACCUMULATORS):
        lines.append(f"  %p{j} = getelementptr float, ptr %p, i64 {j * lanes}")
        lines.append(f"  %v{j} = load {vector}, ptr %p{j}, align 4")
        lines.append(f"  %y{j} = fadd {vector} %x{j}, %v{j}")
    lines.append(f"  %next = add i64 %i, {step}\n  %more = icmp slt i64 %next, %n")
    lines.append("  br i1 %more, label %loop, label %exit\nexit:")
    total = "%y0"
    for j in range(1, _SUM_ACCUMULATORS):
        lines.append(f"  %t{j} = fadd {vector} {total}, %y{j}")
        total = f"%t{j}"
    reduce = f"@llvm.vector.reduce.fadd.v{lanes}f32"
    lines.append(f"  %r = call reassoc float {reduce}(float 0.0, {vector} {total})")
    lines.append("  ret float %r\nnone:\n  ret float 0.0\n}")
    lines.append(f"declare float {reduce}(float, {vector})\n")
    return "\n".join(lines)
